"""What a pass gathered over a corpus: what every further part of a run works from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_introspect.errors import UsageError
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import Rows
from asr_introspect.introspection.profiles import Reduction


@dataclass(frozen=True)
class Draws:
    """How many draws the evidence of a run rests on; fewer are quicker and blunter.

    Parameters
    ----------
    rotations
        Rotations of label sequences, for the thresholds of patterns and the null of silhouettes.
    resamples
        Resamples of speakers or utterances, for the intervals of silhouettes.
    letters
        About so many letters are compared by the ways of aligning them: utterances are drawn until they
        hold them.
    """

    rotations: int = 1000
    resamples: int = 200
    letters: int = 2000

    def __post_init__(self) -> None:
        if min(self.rotations, self.resamples, self.letters) < 1:
            raise UsageError("draws: at least one rotation, one resample and one letter")


@dataclass(frozen=True)
class Gathered:
    """The outcome of a pass, and where a run's further parts write.

    Parameters
    ----------
    plan, rows
        What was computed, and its rows of utterances and instances.
    work
        The folder with ``moments.h5``.
    folder
        The run folder.
    control
        What stands beside the recogniser: ``untrained``, or None.
    draws
        How many draws the evidence rests on.
    reductions
        Ways of taking time out of profiles that are clustered too.
    """

    plan: Pass
    rows: Rows
    work: Path
    folder: Path
    seed: int
    control: str | None = None
    draws: Draws = Draws()
    reductions: tuple[Reduction, ...] = ()

    @functools.cached_property
    def sound(self) -> str:
        """What letters lag behind: the ``phone`` they spell where that is known of any, else ``alignment``,
        their span in the forced alignment.
        """
        return "phone" if np.isfinite(self.rows.sounds["spoken"]).any() else "alignment"

    @property
    def middle(self) -> np.ndarray:
        """Seconds of the middle of each letter's sound, NaN where it is not known, ``(letters,)``."""
        return self.rows.sounds["spoken" if self.sound == "phone" else "aligned"]
