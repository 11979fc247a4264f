"""The main job on the speech and with the recogniser that come with the package."""

from __future__ import annotations

from pathlib import Path

from asr_introspect.corpus.reading import alignments_folder
from asr_introspect.corpus.records import Corpus
from asr_introspect.experiments.gathered import Draws
from asr_introspect.experiments.introspect import Introspection, introspect
from asr_introspect.experiments.phones import AUTO, can_align
from asr_introspect.progress import say
from asr_introspect.resources import bundled

DEMO_DRAWS = Draws(rotations=200, resamples=100, letters=500)
"""A fifth and a quarter of what ``introspect`` takes: the demo is to end within three minutes."""


def demo(
    out: Path | str | None = None,
    corpus: Path | str | Corpus | None = None,
    *,
    alignments: Path | str | None = None,
    lexicon: Path | str | None = None,
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
) -> Introspection:
    """:func:`introspect` with the bundled recogniser, on the bundled demo corpus unless another is given.

    Where no alignments are named and none lie with the corpus, PocketSphinx makes them if it is installed.
    What an earlier demo left in the folder is replaced; one that was stopped is gone on with.

    Raises
    ------
    IntrospectError
        As :func:`introspect`.
    """
    if corpus is None:
        corpus = bundled("demo")
        say("speech: the bundled demo corpus, two synthetic voices")
    unaligned = isinstance(corpus, Corpus) or alignments_folder(corpus) is None
    if alignments is None and unaligned and can_align():
        alignments = AUTO
    return introspect(
        corpus,
        None,
        out,
        alignments=alignments,
        lexicon=lexicon,
        device=device,
        seed=seed,
        max_utterances=max_utterances,
        overwrite=True,
        draws=DEMO_DRAWS,
    )
