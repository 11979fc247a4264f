"""Letter patterns as small multiples: the mean spectrogram of a letter minus that of all letters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.reporting.geometry import Tick, frequency_ticks, lag_ticks
from asr_introspect.reporting.pictures import limit_of, picture
from asr_introspect.reporting.run import Patterns, Run
from asr_introspect.reporting.words import fixed, hertz, letter_name, milliseconds

FEWEST = 10
"""Groups with fewer instances are listed, not drawn."""

ENOUGH = 20
"""Groups with fewer instances do not decide the limits of the colours."""

NEAR_SECONDS = 0.2
"""How far from the found frame the strongest place of a pattern is looked for *(choice)*."""


@dataclass(frozen=True)
class PatternView:
    """One letter: its pattern, the mean it was taken from, and how strong it is.

    ``outside`` marks space and apostrophe, which do not enter the mean over letters.
    """

    name: str
    count: int
    outside: bool
    pattern: str
    mean: str
    ratio: str
    strongest: str


@dataclass(frozen=True)
class PatternsView:
    """All letters with the limits of their colours, in standard deviations of the normalised log-Mel."""

    letters: tuple[PatternView, ...]
    left_out: tuple[str, ...]
    pattern_limit: str
    mean_limit: str
    time_ticks: tuple[Tick, ...]
    frequency_ticks: tuple[Tick, ...]
    anchor: float
    ratio: str
    frames: int
    bands: int


def patterns_view(run: Run) -> PatternsView | None:
    """The letter patterns, or None where the run has none or no letter is frequent enough."""
    stored = run.patterns
    if stored is None:
        return None
    counts = stored.count.max(axis=1).astype(int) if stored.count.ndim == 2 else stored.count.astype(int)
    named = range(len(stored.groups))
    kept = [g for g in named if counts[g] >= FEWEST]
    inside = [g for g in kept if stored.groups[g] not in (" ", "'")]
    if not inside:
        return None
    grand = _mean_of_known(stored.mean[inside])
    patterns = stored.mean - grand
    frequent = [g for g in inside if counts[g] >= ENOUGH] or inside
    pattern_limit = limit_of(patterns[frequent], 0.998)
    mean_limit = limit_of(stored.mean[frequent], 0.998)
    letters = tuple(
        PatternView(
            name=letter_name(stored.groups[g]),
            count=int(counts[g]),
            outside=g not in inside,
            pattern=picture(patterns[g][::-1], -pattern_limit, pattern_limit, "RdBu_r", levels=49),
            mean=picture(stored.mean[g][::-1], -mean_limit, mean_limit, "RdBu_r", levels=33),
            ratio=fixed(_size(grand) / _size(patterns[g]), 1),
            strongest=strongest(stored, patterns[g]),
        )
        for g in sorted(kept, key=lambda g: (g not in inside, stored.groups[g]))
    )
    frames = stored.mean.shape[2]
    middle = float(np.median([_size(grand) / _size(patterns[g]) for g in inside]))
    return PatternsView(
        letters=letters,
        left_out=_left_out(run, [f"{stored.groups[g]} ({counts[g]})" for g in named if g not in kept]),
        pattern_limit=fixed(pattern_limit),
        mean_limit=fixed(mean_limit),
        time_ticks=lag_ticks(-stored.anchor, frames, stored.frame_seconds),
        frequency_ticks=frequency_ticks(stored.frequencies),
        anchor=round(100 * (stored.anchor + 0.5) / frames, 2),
        ratio=fixed(middle, 1),
        frames=frames,
        bands=stored.mean.shape[1],
    )


def _left_out(run: Run, listed: list[str]) -> tuple[str, ...]:
    """Letters that are too rare, with their counts, as the run's profiles list them or as counted here."""
    rare = [text for text in run.left_out if not text.startswith("<blank>")] or listed
    names = [text.rpartition(" ") for text in rare]
    return tuple(f"{letter_name(name)} {count}" for name, _, count in names)


def strongest(stored: Patterns, pattern: np.ndarray) -> str:
    """Where a pattern is largest near the found frame, in words: its value, the frequency, the time."""
    near = round(NEAR_SECONDS / stored.frame_seconds)
    sizes = np.nan_to_num(np.abs(pattern))
    sizes[:, np.abs(np.arange(sizes.shape[1]) - stored.anchor) > near] = -1
    band, frame = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
    value = pattern[band, frame]
    rounded = float(f"{stored.frequencies[band]:.2g}")
    when = milliseconds(1000 * (frame - stored.anchor) * stored.frame_seconds)
    return f"{fixed(float(value), 2, sign=True)} at {hertz(rounded)}, {when}"


def _mean_of_known(means: np.ndarray) -> np.ndarray:
    """The mean over groups ``(G, ...)`` of what is finite; NaN where no group has anything."""
    known = np.isfinite(means)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, means, 0.0).sum(axis=0) / known.sum(axis=0))


def _size(values: np.ndarray) -> float:
    """The Euclidean length of what is finite; tiny instead of zero, so that ratios stay numbers."""
    return max(float(np.sqrt(np.nansum(np.square(values)))), 1e-12)
