"""Intervals: whole speakers drawn where there are ten or more, else utterances within each speaker.

Instances of one utterance are not independent, and neither are utterances of one speaker. With few speakers
an interval over utterances within speakers holds for these speakers only, and is called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.random import generator
from asr_introspect.recogniser.scoring import ENOUGH_SPEAKERS

DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % percentile interval; ``low`` and ``high`` are NaN where nothing can be drawn."""

    value: float
    low: float
    high: float

    def holds(self, null: float) -> bool:
        """Whether it cannot tell the value from ``null``; an interval that is not known cannot."""
        return not (self.low > null or self.high < null)

    def times(self, factor: float) -> Interval:
        """In another unit."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def utterance_weights(
    speakers: Sequence[str] | np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> np.ndarray | None:
    """How often each utterance is drawn, ``(draws, U)`` int64; None where there is nothing to draw.

    Parameters
    ----------
    speakers
        Who said each utterance, ``(U,)``. From ten speakers on whole speakers are drawn with replacement,
        below that utterances within each speaker; the same speakers give the same draws.
    """
    names, rows = np.unique(np.asarray(speakers, object).astype(str), return_inverse=True)
    random = generator(seed, "bootstrap over utterances", len(rows), len(names))
    if len(names) >= ENOUGH_SPEAKERS:
        drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        return np.asarray(drawn[:, rows])
    if len(rows) == len(names):  # every speaker has one utterance, which would always be drawn
        return None
    weights = np.empty((draws, len(rows)), np.int64)
    for speaker in range(len(names)):
        own = np.flatnonzero(rows == speaker)
        weights[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return weights


def drawn_over(speakers: Sequence[str] | np.ndarray) -> str:
    """What :func:`utterance_weights` draws, in words."""
    enough = len(set(map(str, speakers))) >= ENOUGH_SPEAKERS
    return "speakers" if enough else "utterances within speakers"


def interval(value: float, drawn: np.ndarray | None) -> Interval:
    """A value with the middle 95 % of what it is in the draws, ``(draws,)``."""
    if drawn is None or not np.isfinite(drawn).any():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def ratio_interval(
    top: np.ndarray, bottom: np.ndarray, speakers: Sequence[str] | np.ndarray, *, seed: int = 0
) -> Interval:
    """``sum(top) / sum(bottom)`` over utterances, ``(U,)`` each, with its interval.

    Utterances with nothing below are left out: they would be no draw.
    """
    some = bottom > 0
    if not some.any():
        return Interval(*(float("nan"),) * 3)
    top, bottom = top[some], bottom[some]
    weights = utterance_weights(np.asarray(speakers, object)[some], seed=seed)
    drawn = None if weights is None else (weights @ top) / (weights @ bottom)
    return interval(float(top.sum() / bottom.sum()), drawn)


def by_utterance(utterance: np.ndarray, speaker: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Of instances ``(N,)`` the row of each one's utterance ``(N,)``, and who said each utterance ``(U,)``.

    Parameters
    ----------
    utterance, speaker
        Per instance; without speakers one is taken to have said all.
    """
    _, first, rows = np.unique(utterance, return_index=True, return_inverse=True)
    names = np.full(len(first), "") if speaker is None else np.asarray(speaker)[first].astype(str)
    return rows.reshape(-1), names
