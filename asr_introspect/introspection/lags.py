"""By how much letters lag or lead their sound: medians with intervals by a bootstrap over utterances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.random import generator

DRAWS = 1000
DECIMALS = 6
CELLS = 4_000_000
"""Weights held at once."""


@dataclass(frozen=True)
class Lag:
    """Lags of one group in milliseconds; positive: the letter comes after its sound.

    ``low`` and ``high`` are the 95 % bootstrap interval of the median, NaN where one utterance has them all.
    """

    count: int
    median: float
    low: float
    high: float
    mean: float


def lag(milliseconds: np.ndarray, utterance: np.ndarray, *, seed: int = 0, draws: int = DRAWS) -> Lag:
    """The median lag of instances ``(N,)``, whole utterances drawn with replacement for its interval."""
    count = len(milliseconds)
    if count == 0:
        return Lag(0, *(float("nan"),) * 4)
    order = np.argsort(milliseconds, kind="stable")
    # Times are multiples of 5 ms but for rounding, which must not decide whether an interval holds zero.
    values = milliseconds[order].round(DECIMALS)
    _, rows = np.unique(utterance[order], return_inverse=True)
    utterances = int(rows.max()) + 1
    middle, mean = float(np.median(values)), float(values.mean())
    if utterances < 2:
        return Lag(count, middle, float("nan"), float("nan"), mean)
    random = generator(seed, "lag bootstrap", utterances)
    times = random.multinomial(utterances, np.full(utterances, 1 / utterances), size=draws)
    medians = np.empty(draws)
    at_once = max(1, CELLS // count)
    for first in range(0, draws, at_once):
        weights = times[first : first + at_once][:, rows].cumsum(1)
        total = weights[:, -1:]
        lower = values[np.minimum((weights * 2 < total).sum(1), count - 1)]
        upper = values[np.minimum((weights * 2 <= total).sum(1), count - 1)]
        medians[first : first + at_once] = (lower + upper) / 2
    low, high = np.quantile(medians, [0.025, 0.975])
    return Lag(count, middle, float(low), float(high), mean)
