"""By how much letters lag or lead their sound: medians and spreads, with intervals clustered by utterance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.introspection.bootstrap import (
    DRAWS,
    Interval,
    by_utterance,
    interval,
    utterance_weights,
)

DECIMALS = 6
CELLS = 4_000_000
"""Weights held at once."""


@dataclass(frozen=True)
class Lag:
    """Lags of one group in milliseconds; positive: the letter comes after its sound.

    ``low`` and ``high`` are the 95 % interval of the median (over speakers, or utterances within speakers:
    :mod:`bootstrap`), NaN where there is nothing to draw. ``spread``: standard deviation.
    """

    count: int
    median: float
    low: float
    high: float
    mean: float
    spread: Interval


def lag(
    milliseconds: np.ndarray,
    utterance: np.ndarray,
    speaker: np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Lag:
    """The lag of instances: where a letter was found minus the middle of its sound.

    Parameters
    ----------
    milliseconds, utterance, speaker
        Of each instance, ``(N,)``; without speakers one is taken to have said all.
    """
    count = len(milliseconds)
    nothing = float("nan")
    if count == 0:
        return Lag(0, *(nothing,) * 4, Interval(*(nothing,) * 3))
    order = np.argsort(milliseconds, kind="stable")
    # Times are multiples of 5 ms but for rounding, which must not decide whether an interval holds zero.
    values = np.asarray(milliseconds, np.float64)[order].round(DECIMALS)
    rows, speakers = by_utterance(np.asarray(utterance)[order], None if speaker is None else speaker[order])
    weights = utterance_weights(speakers, seed=seed, draws=draws)
    middle = interval(float(np.median(values)), None if weights is None else _medians(values, rows, weights))
    drawn = None if weights is None else _deviations(values, rows, weights)
    return Lag(
        *(count, middle.value, middle.low, middle.high, float(values.mean())),
        interval(float(values.std()), drawn),
    )


def _medians(values: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of ascending values in each draw, ``(draws,)``."""
    medians = np.empty(len(weights))
    at_once = max(1, CELLS // len(values))
    for first in range(0, len(weights), at_once):
        times = weights[first : first + at_once][:, rows].cumsum(1)
        total = times[:, -1:]
        lower = values[np.minimum((times * 2 < total).sum(1), len(values) - 1)]
        upper = values[np.minimum((times * 2 <= total).sum(1), len(values) - 1)]
        medians[first : first + at_once] = (lower + upper) / 2
    return medians


def _deviations(values: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The standard deviation in each draw, ``(draws,)``."""
    centred = values - values.mean()
    count, total, square = (
        weights @ np.bincount(rows, each, weights.shape[1])
        for each in (np.ones_like(values), centred, np.square(centred))
    )
    return np.asarray(np.sqrt(np.maximum(square / count - np.square(total / count), 0)))
