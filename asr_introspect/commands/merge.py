"""``asr-introspect merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Common, Overwrite
from asr_introspect.commands.introspect import show
from asr_introspect.experiments.merge import merge as merge_shards


def merge(
    out: Annotated[Path, Parameter(help="The run folder to make.")],
    parts: Annotated[list[Path], Parameter(help="The folders of all shards, in any order.")],
    *,
    overwrite: Overwrite = False,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Make one run of the shards that introspect --shard i/n made, on one machine or on several.

    The numbers are those of one pass over the whole corpus: equal to 1e-12, and to the bit for the same
    shards. Checkpoint and corpus must lie where the shards found them.

    Example: asr-introspect merge runs/all runs/part1 runs/part2
    """
    show(merge_shards(out, parts, overwrite=overwrite))
