"""The offset table by itself: without profiles, for a comparison of recognisers or of phone alignments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_introspect.corpus.alignment_files import find_alignments
from asr_introspect.corpus.manifest import corpus_sha256
from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, model_hash
from asr_introspect.experiments.pass_labels import Labelling
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.run_lags import letter_lags, write_lags
from asr_introspect.experiments.run_offsets import (
    MOST_LETTERS,
    OFFSET_COLUMNS,
    OffsetRow,
    offset_csv_row,
    offset_table,
)
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.files import run_folder
from asr_introspect.introspection.lags import Lag
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, forward_pass


@dataclass(frozen=True)
class OffsetComparison:
    """Rows of the offset table, and of the lags (method, layer, group, lag) of the emissions, all letters
    of the drawn utterances.
    """

    rows: tuple[OffsetRow, ...]
    lags: tuple[tuple[str, str, str, Lag], ...]


def offsets(
    corpus: Path | str | Corpus,
    alignments: Path | str,
    checkpoint: Path | str | Recogniser | None = None,
    out: Path | str | None = None,
    *,
    most: int = MOST_LETTERS,
    max_utterances: int | None = None,
    device: str = "auto",
    seed: int = 0,
) -> OffsetComparison:
    """The offset table of a recogniser on a corpus with phone alignments; the same as ``introspect`` writes.

    Parameters
    ----------
    out
        A folder for ``offset_table.csv``, ``lags.csv`` and ``run.json``.
    most
        About so many letters.
    max_utterances
        So many utterances go through the recogniser, drawn by seed, one of each speaker in turn.

    Raises
    ------
    IntrospectError
        Corpus, alignments or checkpoint cannot be used, or no letter has a sound.
    """
    recogniser = as_recogniser(checkpoint, device)
    speech = as_corpus(corpus)
    utterances = in_turn(speech.utterances, max_utterances, seed)
    phones = find_alignments(alignments, utterances).alignments
    plan = Pass(recogniser, utterances, phones, gradient=False)
    labelling = Labelling(plan, range(len(utterances)))
    skipped: list[Skipped] = []
    for forward in forward_pass(
        recogniser, utterances, layers=[INPUT], skipped=skipped, what="letters and their sounds"
    ):
        labelling.add(forward)
    rows = all_rows(plan, [labelling.rows(skipped)])
    middle = rows.sounds["spoken"]
    table = offset_table(plan, rows, middle, seed, most=most)
    if not table:
        raise IntrospectError(f"no letter of two utterances has a sound in {alignments}")
    speakers = np.array([str(record["speaker"]) for record in rows.utterances], object)
    lags = letter_lags(
        rows.letters, {}, middle, speakers[rows.letters.utterance], plan.layout, recogniser, seed
    )
    if out is not None:
        path = None if isinstance(checkpoint, Recogniser) or checkpoint is None else Path(checkpoint)
        identity = {"checkpoint": model_hash(recogniser, path), "corpus": corpus_sha256(speech)}
        settings = {"alignments": str(alignments), "most": most, "max_utterances": max_utterances}
        with run_folder(out, "offsets", settings, identity, seed=seed) as folder:
            write_csv(folder / "offset_table.csv", OFFSET_COLUMNS, [offset_csv_row(row) for row in table])
            write_lags(folder / "lags.csv", lags, "phone")
    return OffsetComparison(tuple(table), tuple(lags))


def in_turn(utterances: Sequence[Utterance], most: int | None, seed: int) -> tuple[Utterance, ...]:
    """So many utterances, drawn by seed, one of each speaker in turn; in the order of the corpus."""
    if most is None or most >= len(utterances):
        return tuple(utterances)
    order = generator(seed, "utterances of a comparison of offsets").permutation(len(utterances))
    turn: dict[str, int] = {}
    ranked = []
    for place in order.tolist():
        speaker = utterances[place].speaker
        turn[speaker] = turn.get(speaker, 0) + 1
        ranked.append((turn[speaker], speaker, place))
    return tuple(utterances[place] for place in sorted(place for *_, place in sorted(ranked)[:most]))
