"""``asr-introspect introspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from asr_introspect.commands.common import (
    Checkpoint,
    Common,
    CorpusPath,
    Device,
    MaxUtterances,
    Overwrite,
    Seed,
)
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.errors import UsageError
from asr_introspect.experiments.gathered import Draws
from asr_introspect.experiments.introspect import Introspection
from asr_introspect.experiments.introspect import introspect as introspect_corpus
from asr_introspect.progress import say

Alignments = Annotated[
    Path | None,
    Parameter(
        help="When phones are spoken: a file or folder of TextGrids, CTM or JSON (seen from names and "
        "contents), or auto: PocketSphinx aligns English speech (extra phones) and its TextGrids are kept in "
        "OUT/alignments. If not given, the folder alignments of the corpus where there is one. Without any "
        "there are no phonemes."
    ),
]
Lexicon = Annotated[
    Path | None,
    Parameter(
        help="With --alignments auto: pronunciations of rare words, lines of a word and its ARPAbet phones."
    ),
]


def introspect(
    *,
    corpus: CorpusPath,
    out: Annotated[Path, Parameter(help="The run folder; report.html in it is the page to look at.")],
    checkpoint: Checkpoint = None,
    alignments: Alignments = None,
    lexicon: Lexicon = None,
    device: Device = "auto",
    seed: Seed = 0,
    max_utterances: MaxUtterances = None,
    overwrite: Overwrite = False,
    shard: Annotated[
        str | None,
        Parameter(
            help="i/n: only the pass over the i-th of n parts of the corpus, for several machines; merge "
            "then makes one run of all n."
        ),
    ] = None,
    labels: Annotated[
        list[Literal["letters-aligned", "phonemes-stressed"]] | None,
        Parameter(
            help="Profiles of further labels beside emitted letters and phonemes: letters-aligned, every "
            "letter of the transcript where the forced alignment puts it; phonemes-stressed, phones with "
            "their stress."
        ),
    ] = None,
    table: Annotated[
        list[Path] | None,
        Parameter(
            help="Profiles of your own labels: a CSV or TSV file whose first line names the columns "
            "utterance, time (seconds) and label; may be given several times. They are called like the file."
        ),
    ] = None,
    splits: Annotated[
        list[Literal["right", "speaker", "sex", "next", "previous", "phone", "stress"]] | None,
        Parameter(
            help="Also make profiles of parts of each group: right and wrong letters (C|right), speakers, "
            "sexes, what follows or went before (C|before I, C|after S), the phone that a letter spells "
            "(C|S, C|K), the stress of a vowel; the page then shows in which layers the parts differ. Each "
            "part takes as much disk as the whole; parts by neighbours, phones and stress need 10 instances "
            "in the transcripts."
        ),
    ] = None,
    sketches: Annotated[
        bool,
        Parameter(
            help="Keep a sketch of each instance (256 numbers a layer): distances are then cross-validated "
            "between halves of the utterances and have intervals and a second null. --no-sketches saves the "
            "space: 0.8 GB for an hour of speech, at most that."
        ),
    ] = True,
    control: Annotated[
        Literal["untrained"] | None,
        Parameter(
            help="untrained: the depth curve also of a network of the same shape with initial weights, at "
            "the recogniser's own instances; takes a second pass."
        ),
    ] = None,
    weights: Annotated[
        list[Literal["gradient", "gradient-activation", "relevance"]] | None,
        Parameter(
            help="Also make saliency-adjusted profiles of emitted letters: activation times the size of its "
            "gradient, gradient times activation, LRP relevance, each normalised per letter. The first two "
            "together take about twice as long as finding where letters lie, the third somewhat more."
        ),
    ] = None,
    reductions: Annotated[
        list[Literal["mean", "maximum", "sorted"]] | None,
        Parameter(
            help="Also cluster profiles without time: their mean or maximum over positions, or all positions "
            "sorted by size, of each group's mean window."
        ),
    ] = None,
    draws: Draws = Draws(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Look inside a recogniser with a corpus: the main job, from speech to report.

    Where each emitted letter lies by its gradient at every layer; letter patterns (mean aligned spectrograms
    less the average letter); activation profiles of letters and phonemes at all layers and their clustering,
    with evidence; the relevance of every letter of one utterance; error rates. One pass, in memory that does
    not grow with the corpus. Writes report.html, findings.json, profiles.h5, patterns.h5, clusters.h5,
    relevance.h5 and tables (CSV) to the run folder.

    Stopped by Ctrl-C or a kill, the same command goes on where it was and ends with the same numbers. Bad
    items are skipped, counted and named at the end and in skipped.csv.

    Examples:

    asr-introspect introspect --corpus LibriSpeech/test-clean --alignments TextGrids --out runs/clean

    asr-introspect introspect --corpus speech --out runs/parts --splits phone right --table breaths.csv
    """
    show(
        introspect_corpus(
            corpus,
            checkpoint,
            out,
            alignments=alignments,
            lexicon=lexicon,
            device=device,
            seed=seed,
            max_utterances=max_utterances,
            overwrite=overwrite,
            shard=None if shard is None else as_shard(shard),
            splits=splits or (),
            labels=labels or (),
            tables=table or (),
            sketches=sketches,
            control=control,
            weights=weights or (),
            reductions=reductions or (),
            draws=draws,
        )
    )


def as_shard(text: str) -> tuple[int, int]:
    """``"2/4"`` as (2, 4)."""
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"a shard is i/n, for example 1/4, not {text!r}")
    return int(parts[0]), int(parts[1])


def show(found: Introspection) -> None:
    """Prints the findings and, as the last line, the page; what was skipped goes to stderr."""
    say_skipped(found.skipped)
    say(
        f"{found.utterances:,} utterances, {found.letters:,} letters, {found.phonemes:,} phonemes; "
        f"{len(found.skipped):,} skipped"
    )
    for finding in found.findings:
        print(finding.sentence)
    print(found.report or found.folder)
