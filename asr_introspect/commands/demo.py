"""``asr-introspect demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Common, Device, MaxUtterances, Seed
from asr_introspect.commands.introspect import Alignments, Lexicon, show
from asr_introspect.experiments.demo import demo as run_demo


def demo(
    *,
    out: Annotated[Path, Parameter(help="The run folder; what an earlier demo left in it is replaced.")],
    corpus: Annotated[
        Path | None,
        Parameter(
            help="Other speech than the demo corpus: a folder, table or manifest, as introspect takes it."
        ),
    ] = None,
    alignments: Alignments = None,
    lexicon: Lexicon = None,
    device: Device = "auto",
    seed: Seed = 0,
    max_utterances: MaxUtterances = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """See what this program does: introspect with the bundled recogniser and speech, in a few minutes.

    Ten minutes of two synthetic voices, made for this purpose, go through the main job. The last line printed
    is the page to open. With --corpus the same is done for your own speech; where no phone alignments lie
    with it and the extra phones is installed, PocketSphinx makes them.

    Example: asr-introspect demo --out runs/demo
    """
    show(
        run_demo(
            out,
            corpus,
            alignments=alignments,
            lexicon=lexicon,
            device=device,
            seed=seed,
            max_utterances=max_utterances,
        )
    )
