"""Which alignment is right: how well letters' windows agree when they are moved by one method or another.

Aligning by activation makes even noise peak at the anchor. Hence group means come from the *other* half of
the utterances, and every table has its controls: a random position, and the position found for another
letter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.random import generator

DRAWS = 1000


@dataclass(frozen=True)
class Agreement:
    """How well windows of one group agree across halves of the utterances.

    ``explained`` is the share of variance that the group's mean of the other half explains, with a 95 %
    bootstrap over utterances in ``low`` and ``high``; ``correlation`` the mean correlation of two windows of
    a group in different halves; ``count`` the windows that could be used.
    """

    count: int
    explained: float
    low: float
    high: float
    correlation: float
    errors: np.ndarray
    totals: np.ndarray


def cut_windows(rows: np.ndarray, position: np.ndarray, first: int, positions: int) -> np.ndarray:
    """Windows ``(N, P, C)`` of one utterance's activations ``(T, C)``; missing cells are NaN."""
    index = position[:, None] + first + np.arange(positions)
    inside = (index >= 0) & (index < len(rows))
    return np.where(inside[..., None], rows[index.clip(0, len(rows) - 1)], np.nan)


def halves(utterance: np.ndarray, seed: int) -> np.ndarray:
    """In which half each instance's utterance is, ``(N,)`` of 0 and 1, drawn by seed."""
    names, rows = np.unique(utterance, return_inverse=True)
    dealt = generator(seed, "halves of the utterances").permutation(len(names)) % 2
    return np.asarray(dealt[rows])


def agreement(
    windows: np.ndarray, group: np.ndarray, utterance: np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """The agreement of windows ``(N, P, C)`` within groups; missing cells (NaN) are left out.

    Variance is about each channel's mean over all windows, which no alignment can better. A mean of n windows
    has noise of its own: a group without any structure gives ``-1 / n``, so compare methods, not with 0.
    Instances whose group the other half lacks are left out.
    """
    half = halves(utterance, seed)
    known = np.isfinite(windows).reshape(len(windows), int(np.prod(windows.shape[1:])))
    filled = (windows - np.nanmean(windows, axis=(0, 1)) if len(windows) else windows).reshape(known.shape)
    filled = np.where(known, filled, 0.0)
    names, rows = np.unique(utterance, return_inverse=True)
    errors, totals = np.zeros(len(names)), np.zeros(len(names))
    used = 0
    for label in np.unique(group):
        sides = [np.flatnonzero((half == side) & (group == label)) for side in (0, 1)]
        if min(map(len, sides)) == 0:
            continue
        used += len(sides[0]) + len(sides[1])
        for own, others in (sides, sides[::-1]):
            count = known[others].sum(0)
            mean = filled[others].sum(0, dtype=np.float64) / np.maximum(count, 1)
            cells = known[own] & (count > 0)
            np.add.at(errors, rows[own], (np.square(filled[own] - mean) * cells).sum(1))
            np.add.at(totals, rows[own], (np.square(filled[own]) * cells).sum(1, dtype=np.float64))
    nothing = float("nan")
    if used == 0 or not totals.sum() > 0:
        return Agreement(used, nothing, nothing, nothing, nothing, errors, totals)
    low, high = explained_interval(errors, totals, seed=seed, draws=draws)
    explained = float(1 - errors.sum() / totals.sum())
    return Agreement(used, explained, low, high, _correlation(filled, known, half, group), errors, totals)


def explained_interval(
    errors: np.ndarray, totals: np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % bootstrap interval of ``1 - sum(errors) / sum(totals)``, utterances drawn; NaN for one
    utterance.
    """
    some = totals > 0  # an utterance without a usable letter is no draw
    if some.sum() < 2:
        return float("nan"), float("nan")
    times = _times(int(some.sum()), seed, draws)
    low, high = np.quantile(1 - (times @ errors[some]) / (times @ totals[some]), [0.025, 0.975])
    return float(low), float(high)


def explained_difference(
    first: Agreement, second: Agreement, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float, float]:
    """By how much more the first explains, with its 95 % interval: the same utterances are drawn for both."""
    difference = first.explained - second.explained
    some = (first.totals > 0) & (second.totals > 0)
    if some.sum() < 2:
        return difference, float("nan"), float("nan")
    times = _times(int(some.sum()), seed, draws)
    drawn = [1 - (times @ each.errors[some]) / (times @ each.totals[some]) for each in (first, second)]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return difference, float(low), float(high)


def _times(count: int, seed: int, draws: int) -> np.ndarray:
    return generator(seed, "agreement bootstrap", count).multinomial(
        count, np.full(count, 1 / count), size=draws
    )


def _correlation(filled: np.ndarray, known: np.ndarray, half: np.ndarray, group: np.ndarray) -> float:
    """The mean Pearson correlation of pairs of windows of one group in different halves, by their unit
    vectors.

    A missing cell counts as its window's mean *(choice)*.
    """
    means = filled.sum(1) / np.maximum(known.sum(1), 1)
    centred = np.where(known, filled - means[:, None], 0.0)
    norms = np.linalg.norm(centred, axis=1)
    units = centred / np.where(norms > 0, norms, 1.0)[:, None]
    total, pairs = 0.0, 0
    for label in np.unique(group):
        sides = [units[(half == side) & (group == label)] for side in (0, 1)]
        total += float(sides[0].sum(0) @ sides[1].sum(0))
        pairs += len(sides[0]) * len(sides[1])
    return total / pairs if pairs else float("nan")
