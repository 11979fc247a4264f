"""Which alignment is right: how well the windows of a group agree, placed by one method or another.

Aligning by activation makes even noise peak at the anchor. Hence group means come from the *other* half of
the utterances, the mean over all groups stands beside them, and every table has controls: a random position,
the position found for another letter, and the one found on a scrambled spectrogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.compiled import CONTRACTED, compiled
from asr_introspect.errors import UsageError
from asr_introspect.introspection.bootstrap import (
    Interval,
    by_utterance,
    interval,
    ratio_interval,
    utterance_weights,
)
from asr_introspect.random import generator


@dataclass(frozen=True)
class Agreement:
    """How well windows of one group agree across halves of the utterances.

    Parameters
    ----------
    count
        The windows that could be used: their group is in the other half, too.
    explained
        Share of variance (about each channel's mean) that the group's mean of the other half explains. A mean
        of n windows has noise of its own: without any structure it is ``-1 / n``, not 0.
    signal
        The share that means without noise would explain: products of windows with the group's mean of the
        other half over the windows' squares. Not biased by n.
    average
        The share that the mean over all groups explains: what is due to being *some* letter.
    correlation
        Mean Pearson correlation of two windows of a group in different halves; not biased by n.
    errors, totals, speakers
        Per utterance the two sums of squares whose ratio ``1 - explained`` is, ``(U,)``, and who said it.
    """

    count: int
    explained: Interval
    signal: Interval
    average: float
    correlation: Interval
    errors: np.ndarray
    totals: np.ndarray
    speakers: np.ndarray


def cut_windows(rows: np.ndarray, position: np.ndarray, first: int, positions: int) -> np.ndarray:
    """Windows ``(N, P, C)`` of one utterance's activations ``(T, C)``; missing cells are NaN.

    Parameters
    ----------
    position
        Where each window stands, ``(N,)``; it is the positions ``position + first`` and the next ones.
    """
    index = position[:, None] + first + np.arange(positions)
    inside = (index >= 0) & (index < len(rows))
    return np.where(inside[..., None], rows[index.clip(0, len(rows) - 1)], np.nan)


def halves(utterances: int, seed: int) -> np.ndarray:
    """In which half each utterance is, ``(U,)`` of 0 and 1, drawn by seed."""
    return np.asarray(generator(seed, "halves of the utterances").permutation(utterances) % 2)


class HalfMeans:
    """The agreement of windows that are never all in memory: three passes over the same activations.

    Pass 1 (:meth:`add`) sums windows per group and half, pass 2 (:meth:`compare`) holds each window against
    the means of the other half, pass 3 (:meth:`correlate`) its direction against those of the other half,
    which only the interval of the correlation needs. Sums are float32 after a constant per channel.

    Parameters
    ----------
    groups
        How many there are.
    half
        Of each utterance, ``(U,)``; see :func:`halves`.
    first, positions, channels
        A window at position ``q`` is the positions ``q + first`` to ``q + first + positions - 1``.
    """

    def __init__(self, groups: int, half: np.ndarray, first: int, positions: int, channels: int) -> None:
        self.groups, self.half, self.first, self.positions = groups, half, first, positions
        self.sums = np.zeros((2 * groups, positions, channels), np.float32)
        self.count = np.zeros((2 * groups, positions), np.int64)
        self.windows = np.zeros(2 * groups, np.int64)
        self.centre: np.ndarray | None = None
        self.channel = np.zeros(channels, np.float32)
        self.grand = np.zeros((2, positions, channels), np.float32)
        self.directions = np.zeros_like(self.sums[:0])
        self.errors, self.totals, self.averages, self.shared = np.zeros((4, len(half)))
        self.pairs, self.products = np.zeros((2, len(half)))

    def add(self, rows: np.ndarray, position: np.ndarray, group: np.ndarray, utterance: int) -> None:
        """Pass 1: windows of one utterance.

        Parameters
        ----------
        rows
            Its activations ``(T, C)``, float32.
        position, group
            Of each window, ``(N,)``.
        utterance
            Which of the utterances it is.
        """
        if self.centre is None:
            self.centre = rows.mean(0, dtype=np.float64).astype(np.float32)
        places = self._places(rows, position)
        slot = self.half[utterance] * self.groups + group
        weight = np.ones(len(slot), np.float32)
        _accumulate(rows, places, slot, self.centre, weight, np.zeros_like(weight), self.sums)
        for each, (_, low, high) in zip(slot, places.T, strict=True):
            self.count[each, low:high] += 1
        np.add.at(self.windows, slot, 1)

    def compare(self, rows: np.ndarray, position: np.ndarray, group: np.ndarray, utterance: int) -> None:
        """Pass 2, with the same windows."""
        if not len(self.directions):
            self._close()
        places = self._places(rows, position)
        half = int(self.half[utterance])
        other = (1 - half) * self.groups + group
        error, average, shared, total, middle, norm = _held_against(
            rows, places, other, self.channel, self.sums, self.count, self.grand[1 - half]
        )
        self.errors[utterance] += error.sum()
        self.averages[utterance] += average.sum()
        self.shared[utterance] += shared.sum()
        self.totals[utterance] += total.sum()
        slot, weight = half * self.groups + group, _inverse(norm)
        _accumulate(rows, places, slot, self.channel, weight, middle.astype(np.float32), self.directions)

    def correlate(self, rows: np.ndarray, position: np.ndarray, group: np.ndarray, utterance: int) -> None:
        """Pass 3, with the same windows."""
        places = self._places(rows, position)
        other = (1 - int(self.half[utterance])) * self.groups + group
        products = _along(rows, places, other, self.channel, self.directions)
        self.products[utterance] += products.sum()
        self.pairs[utterance] += self.windows[other].sum()

    def agreement(self, speakers: Sequence[str] | np.ndarray, *, seed: int = 0) -> Agreement:
        """The result; ``speakers`` ``(U,)`` says over what intervals are drawn."""
        speakers = np.asarray(speakers, object).astype(str)
        halved = self.windows.reshape(2, self.groups)
        used = int(halved[:, (halved > 0).all(0)].sum())
        if not self.totals.sum() > 0:
            nothing = Interval(*(float("nan"),) * 3)
            return Agreement(
                used, nothing, nothing, nothing.value, nothing, self.errors, self.totals, speakers
            )
        left = ratio_interval(self.errors, self.totals, speakers, seed=seed)
        return Agreement(
            used,
            Interval(1 - left.value, 1 - left.high, 1 - left.low),
            self._signal(speakers, seed),
            float(1 - self.averages.sum() / self.totals.sum()),
            self._correlation(speakers, seed),
            self.errors,
            self.totals,
            speakers,
        )

    def _signal(self, speakers: np.ndarray, seed: int) -> Interval:
        """Every product is of two halves: to first order a draw is twice its weighted sum less the whole."""
        some = self.totals > 0
        shared, totals = self.shared[some], self.totals[some]
        weights = utterance_weights(speakers[some], seed=seed)
        drawn = None if weights is None else (2 * (weights @ shared) - shared.sum()) / (weights @ totals)
        return interval(float(shared.sum() / totals.sum()), drawn)

    def _correlation(self, speakers: np.ndarray, seed: int) -> Interval:
        """The mean over pairs. Each product counts in both of its utterances: to first order in the weights
        a draw is their weighted sum less half of the whole.
        """
        some = self.pairs > 0
        products, pairs = self.products[some], self.pairs[some]
        weights = utterance_weights(speakers[some], seed=seed)
        drawn = None
        if weights is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn = (weights @ products - products.sum() / 2) / (weights @ pairs - pairs.sum() / 2)
        return interval(float(products.sum() / pairs.sum()), drawn)

    def _places(self, rows: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Row of each window's first position, and first and end of the positions that exist, ``(3, N)``."""
        begin = np.asarray(position) + self.first
        low = (-begin).clip(0, self.positions)
        high = (len(rows) - begin).clip(0, self.positions)
        return np.stack([begin, low, high]).astype(np.int64)

    def _close(self) -> None:
        """Sums become means about each channel's mean over all windows."""
        assert self.centre is not None
        total = self.sums.sum((0, 1), dtype=np.float64) / max(self.count.sum(), 1)
        self.channel = (self.centre + total).astype(np.float32)
        shift = self.channel - self.centre
        known = self.count[..., None]
        for half in (0, 1):
            own = slice(half * self.groups, (half + 1) * self.groups)
            cells = known[own].sum(0)
            summed = self.sums[own].sum(0, dtype=np.float64) - cells * shift
            self.grand[half] = summed / np.maximum(cells, 1)
        self.sums -= known * shift
        self.sums /= np.maximum(known, 1)
        self.directions = np.zeros_like(self.sums)


def agreement(
    windows: np.ndarray,
    group: np.ndarray,
    utterance: np.ndarray,
    speaker: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> Agreement:
    """The agreement of windows ``(N, P, C)`` within groups, by :class:`HalfMeans`.

    Parameters
    ----------
    windows
        Missing cells are NaN: whole positions, at the beginning or the end of a window.
    group, utterance, speaker
        Of each window, ``(N,)``; without speakers one is taken to have said all.

    Raises
    ------
    UsageError
        Cells are missing elsewhere.
    """
    count, positions, channels = windows.shape
    known = np.isfinite(windows).all(2)
    begins = np.diff(known.astype(np.int8), axis=1, prepend=0) == 1
    if (np.isfinite(windows).any(2) != known).any() or (begins.sum(1) > 1).any():
        raise UsageError("missing cells must be whole positions at the beginning or the end of a window")
    names, slots = np.unique(group, return_inverse=True)
    rows, speakers = by_utterance(utterance, speaker)
    means = HalfMeans(len(names), halves(len(speakers), seed), 0, positions, channels)
    filled = np.ascontiguousarray(windows, np.float32)
    for take in (means.add, means.compare, means.correlate):
        for n in range(count):
            there = np.flatnonzero(known[n])
            if len(there):
                first, last = int(there[0]), int(there[-1]) + 1
                take(filled[n, first:last], np.array([-first]), slots[n : n + 1], int(rows[n]))
    return means.agreement(speakers, seed=seed)


def explained_difference(first: Agreement, second: Agreement, *, seed: int = 0) -> Interval:
    """By how much more the first explains; the same utterances are drawn for both.

    Raises
    ------
    UsageError
        They are not of the same utterances.
    """
    if not np.array_equal(first.speakers, second.speakers):
        raise UsageError("only agreements over the same utterances can be compared")
    some = (first.totals > 0) & (second.totals > 0)
    weights = utterance_weights(first.speakers[some], seed=seed)
    drawn = None
    if weights is not None:
        one, two = ((weights @ each.errors[some]) / (weights @ each.totals[some]) for each in (first, second))
        drawn = two - one
    return interval(first.explained.value - second.explained.value, drawn)


def _inverse(norm: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(norm > 0, 1 / np.where(norm > 0, norm, 1), 0), np.float32)


# ------------------------------------------------------------------------------- loops over windows' cells


def _sum_windows(
    rows: np.ndarray,
    places: np.ndarray,
    slot: np.ndarray,
    centre: np.ndarray,
    weight: np.ndarray,
    offset: np.ndarray,
    sums: np.ndarray,
) -> None:
    """``sums[slot] += weight * (window - centre - offset)``."""
    for n in range(len(slot)):
        for p in range(places[1, n], places[2, n]):
            row = rows[places[0, n] + p]
            total = sums[slot[n], p]
            for c in range(len(row)):
                total[c] += weight[n] * (row[c] - centre[c] - offset[n])


def _windows_held_against(
    rows: np.ndarray,
    places: np.ndarray,
    other: np.ndarray,
    centre: np.ndarray,
    means: np.ndarray,
    count: np.ndarray,
    grand: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per window the sums of squares about its group's mean and about the grand mean, the product with the
    group's mean, and the sum of squares, over positions that the group's mean has; and mean and norm (about
    that mean) over all its cells."""
    error, average, total = np.zeros(len(other)), np.zeros(len(other)), np.zeros(len(other))
    along, middle, norm = np.zeros(len(other)), np.zeros(len(other)), np.zeros(len(other))
    for n in range(len(other)):
        summed = squared = 0.0
        cells = 0
        for p in range(places[1, n], places[2, n]):
            row, mean, shared = rows[places[0, n] + p], means[other[n], p], grand[p]
            one = two = three = four = five = np.float32(0)
            for c in range(len(row)):
                value = row[c] - centre[c]
                one += value
                two += value * value
                three += (value - mean[c]) ** 2
                four += (value - shared[c]) ** 2
                five += value * mean[c]
            summed, squared, cells = summed + float(one), squared + float(two), cells + len(row)
            if count[other[n], p] > 0:
                total[n] += two
                error[n] += three
                average[n] += four
                along[n] += five
        middle[n] = summed / max(cells, 1)
        norm[n] = np.sqrt(max(squared - summed * middle[n], 0.0))
    return error, average, along, total, middle, norm


def _windows_along(
    rows: np.ndarray, places: np.ndarray, other: np.ndarray, centre: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Per window the product of its direction with the sum of directions of its group in the other half."""
    found = np.zeros(len(other))
    for n in range(len(other)):
        summed = squared = product = shared = 0.0
        cells = 0
        for p in range(places[1, n], places[2, n]):
            row, direction = rows[places[0, n] + p], directions[other[n], p]
            one = two = three = four = np.float32(0)
            for c in range(len(row)):
                value = row[c] - centre[c]
                one += value
                two += value * value
                three += value * direction[c]
                four += direction[c]
            summed, squared, cells = summed + float(one), squared + float(two), cells + len(row)
            product, shared = product + float(three), shared + float(four)
        middle = summed / max(cells, 1)
        norm = np.sqrt(max(squared - summed * middle, 0.0))
        if norm > 0:
            found[n] = (product - middle * shared) / norm
    return found


SUMS = CONTRACTED | {"reassoc"}
"""Sums over channels may be taken several at a time: float32 rounding, the same in every run."""


_accumulate = compiled(_sum_windows, SUMS)
_held_against = compiled(_windows_held_against, SUMS)
_along = compiled(_windows_along, SUMS)
