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
from asr_introspect.experiments.pass_rows import Rows, all_rows
from asr_introspect.experiments.run_lags import letter_lags, write_lags
from asr_introspect.experiments.run_offsets import (
    MOST_LETTERS,
    OFFSET_COLUMNS,
    OffsetRow,
    offset_csv_row,
    offset_tables,
)
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.files import run_folder
from asr_introspect.introspection.lags import Lag
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, forward_pass


@dataclass(frozen=True)
class OffsetComparison:
    """The offset table with one account of the phones, and the lags of the emissions (method, layer, group,
    lag), of all letters that it knows.
    """

    rows: tuple[OffsetRow, ...]
    lags: tuple[tuple[str, str, str, Lag], ...]


def offsets(
    corpus: Path | str | Corpus,
    alignments: Sequence[Path | str],
    checkpoint: Path | str | Recogniser | None = None,
    out: Sequence[Path | str] = (),
    *,
    most: int = MOST_LETTERS,
    max_utterances: int | None = None,
    device: str = "auto",
    seed: int = 0,
) -> list[OffsetComparison]:
    """The offset table of a recogniser on a corpus, with each of several phone alignments.

    The tables are those of ``introspect``, all on the same letters: those whose sound every alignment knows.

    Parameters
    ----------
    alignments, out
        Places of phone alignments, and for each a folder for ``offset_table.csv``, ``lags.csv`` and
        ``run.json``; without ``out`` nothing is written.
    most
        About so many letters.
    max_utterances
        So many utterances go through the recogniser, drawn by seed, one of each speaker in turn.

    Raises
    ------
    IntrospectError
        Corpus, alignments or checkpoint cannot be used, or no letters of two utterances have a sound.
    """
    recogniser = as_recogniser(checkpoint, device)
    speech = as_corpus(corpus)
    utterances = in_turn(speech.utterances, max_utterances, seed)
    middles: dict[str, np.ndarray] = {}
    for number, place in enumerate(alignments):
        plan = Pass(recogniser, utterances, find_alignments(place, utterances).alignments, gradient=False)
        rows = letters_of(plan)
        middles[str(number)] = rows.sounds["spoken"]
    tables = offset_tables(plan, rows, middles, seed, most=most)
    if not all(tables.values()):
        places = ", ".join(map(str, alignments))
        raise IntrospectError(f"no letters of two utterances have a sound in {places}")
    speakers = np.array([str(record["speaker"]) for record in rows.utterances], object)
    found = []
    for middle, table in zip(middles.values(), tables.values(), strict=True):
        speaker = speakers[rows.letters.utterance]
        lags = letter_lags(rows.letters, {}, middle, speaker, plan.layout, recogniser, seed)
        found.append(OffsetComparison(tuple(table), tuple(lags)))
    path = None if isinstance(checkpoint, Recogniser) or checkpoint is None else Path(checkpoint)
    identity = {"checkpoint": model_hash(recogniser, path), "corpus": corpus_sha256(speech)}
    for place, folder, each in zip(alignments, out, found, strict=bool(out)):
        settings = {"alignments": str(place), "most": most, "max_utterances": max_utterances}
        with run_folder(folder, "offsets", settings, identity, seed=seed):
            cells = [offset_csv_row(row) for row in each.rows]
            write_csv(Path(folder) / "offset_table.csv", OFFSET_COLUMNS, cells)
            write_lags(Path(folder) / "lags.csv", each.lags, "phone")
    return found


def letters_of(plan: Pass) -> Rows:
    """What is written, and when it sounds: one forward pass."""
    labelling = Labelling(plan, range(len(plan.utterances)))
    skipped: list[Skipped] = []
    for forward in forward_pass(
        *(plan.recogniser, plan.utterances),
        layers=[INPUT],
        batch_seconds=plan.batch_seconds,
        skipped=skipped,
        what="letters and their sounds",
    ):
        labelling.add(forward)
    return all_rows(plan, [labelling.rows(skipped)])


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
