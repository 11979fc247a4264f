"""``asr-introspect evaluate``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import (
    Checkpoint,
    Common,
    CorpusPath,
    DecoderName,
    Device,
    LanguageModel,
    MaxUtterances,
    Seed,
)
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.experiments.evaluate import Evaluation
from asr_introspect.experiments.evaluate import evaluate as evaluate_corpus
from asr_introspect.experiments.evaluate_phonemes import PhonemeEvaluation, evaluate_phonemes
from asr_introspect.progress import printable
from asr_introspect.recogniser.beam import BeamConfig
from asr_introspect.recogniser.scoring import ErrorRate
from asr_introspect.resources import checkpoint_or_reference


def evaluate(
    *,
    corpus: CorpusPath,
    checkpoint: Checkpoint = None,
    decoder: DecoderName = "greedy",
    language_model: LanguageModel = None,
    beam: BeamConfig = BeamConfig(),  # noqa: B008 - frozen
    device: Device = "auto",
    seed: Seed = 0,
    max_utterances: MaxUtterances = None,
    alignments: Annotated[
        Path | None,
        Parameter(help="For a phoneme net: the phone alignments that it is scored against."),
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="Write a CSV with each utterance's hypothesis and edits to this file.")
    ] = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Measure the letter and word error of a recogniser on a corpus, for all and for each speaker.

    Prints a row per speaker and, as the last line, one JSON object with utterances, seconds,
    letter_error_rate and word_error_rate (fractions), their 95 % bootstrap intervals and the counts. Edits
    are counted over reference characters, spaces and apostrophes included, and summed. With ten speakers or
    more the interval is over speakers; with fewer it is over utterances within speakers, and holds for these
    speakers only.

    With --alignments, the phoneme error of a phoneme net against their phones, stress stripped, greedy.

    --decoder beam --language-model letters.arpa shows what a language model adds to the recogniser alone.

    Example: asr-introspect evaluate --corpus LibriSpeech/test-clean
    """
    if alignments is not None:
        scored = evaluate_phonemes(
            corpus,
            checkpoint_or_reference(checkpoint),
            alignments,
            device=device,
            seed=seed,
            max_utterances=max_utterances,
            out=out,
        )
        _show(scored, phoneme_table(scored))
        return
    found = evaluate_corpus(
        corpus,
        checkpoint,
        decoder=decoder,
        language_model=language_model,
        beam=beam,
        device=device,
        seed=seed,
        max_utterances=max_utterances,
        out=out,
    )
    _show(found, table(found))


def _show(found: Evaluation | PhonemeEvaluation, rows: str) -> None:
    """Prints the table and, as the last line, the figures; what was skipped goes to stderr."""
    say_skipped(found.skipped)
    print(rows)
    print(json.dumps(found.summary(), ensure_ascii=False, allow_nan=False))


def table(found: Evaluation) -> str:
    """A row per speaker and one for all; rates in percent with their intervals."""
    heads = ("speaker", "sex", "utterances", "seconds", "letter error %", "word error %")
    rows = [
        (
            printable(each.speaker) or "(unnamed)",
            each.sex,
            str(each.utterances),
            f"{each.seconds:.0f}",
            _percent(each.letter_error),
            _percent(each.word_error),
        )
        for each in found.speakers
    ]
    total = (str(len(found.utterances)), f"{found.seconds:.0f}")
    rows.append(("all", "", *total, _percent(found.letter_error), _percent(found.word_error)))
    return _aligned((heads, *rows), 2)


def phoneme_table(found: PhonemeEvaluation) -> str:
    """A row per speaker and one for all; rates in percent with their intervals."""
    heads = ("speaker", "phonemes", "phoneme error %")
    rows = [
        (printable(name) or "(unnamed)", str(rate.length), _percent(rate))
        for name, rate in (*found.speakers.items(), ("all", found.phoneme_error))
    ]
    return _aligned((heads, *rows), 1)


def _aligned(rows: Sequence[tuple[str, ...]], names: int) -> str:
    """Rows as text in columns: ``names`` columns to the left, counts to the right, rates to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rates = [column for column, head in enumerate(rows[0]) if head.endswith("%")]

    def cell(column: int, text: str) -> str:
        left = column < names or column in rates
        return text.ljust(widths[column]) if left else text.rjust(widths[column])

    return "\n".join("  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() for row in rows)


def _percent(rate: ErrorRate) -> str:
    shown = f"{100 * rate.rate:5.1f}"
    return shown if math.isnan(rate.low) else f"{shown} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
