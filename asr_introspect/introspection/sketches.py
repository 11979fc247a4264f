"""Sketches: the aligned window of an instance folded into 256 numbers per layer.

Each cell of a window is added, with a seeded random sign, to a seeded random bin (a count sketch: Charikar,
Chen & Farach-Colton 2002). Folding is linear, so that the mean of sketches is the sketch of the mean, and
inner products, and with them distances, are estimated without bias: a squared distance with a relative
standard deviation of about ``sqrt(2 / 256)``, 9 %.

Windows overlap: neighbouring positions share most of their cells. So an utterance is folded at all of its
positions at once, bin by bin over time, which the processor does many positions at a time, and the windows of
letters and phonemes, moved or not, are then looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.compiled import compiled
from asr_introspect.introspection.cones import Cone
from asr_introspect.random import generator

BINS = 256
"""So many numbers a window becomes; layers of at most so many cells are kept whole."""
_BLOCK = 512
_TOP = 15


@dataclass(frozen=True)
class Sketches:
    """Sketches of windows of one layer, as they are stored.

    A row's values are scaled by a power of two of its own, so that its largest lies from 2^14 to 2^15:
    nothing overflows float16 (65,504), and what is up to 2^28 times smaller than the largest keeps all
    11 bits.

    Parameters
    ----------
    values
        ``(N, D)`` float16.
    exponent
        The powers of two to multiply with, ``(N,)`` int16.
    mean
        The mean of all cells of the window, ``(N,)`` float32: what centring takes off, for correlations.
    """

    values: np.ndarray
    exponent: np.ndarray
    mean: np.ndarray

    def __len__(self) -> int:
        return len(self.exponent)

    def decoded(self) -> np.ndarray:
        """The sketches in the unit of the activations, ``(N, D)`` float32."""
        return np.asarray(self.values.astype(np.float32) * _power(self.exponent)[:, None])


def encoded(folded: np.ndarray, mean: np.ndarray) -> Sketches:
    """Sketches ``(N, D)`` float32 and their windows' means ``(N,)`` as they are stored."""
    largest = np.abs(folded).max(1, initial=0.0)
    _, power = np.frexp(np.where(np.isfinite(largest), largest, 1.0))
    exponent = np.where(largest > 0, (power - _TOP).clip(-120, 120), 0).astype(np.int16)
    scaled = folded * _power(-exponent)[:, None]
    return Sketches(scaled.astype(np.float16), exponent, mean.astype(np.float32))


def _power(exponent: np.ndarray) -> np.ndarray:
    """Powers of two, which multiply without rounding, ``(N,)`` float32."""
    return np.asarray(np.ldexp(np.float32(1), exponent.astype(np.int32)))


@dataclass(frozen=True)
class Fold:
    """Which bin each cell of a window goes to, with which sign; cells in the order of their bins.

    Parameters
    ----------
    channel, position, sign
        Per cell, ``(C * P,)``.
    edges
        Where the cells of each bin begin, ``(D + 1,)``.
    first, positions
        A window at position ``q`` is the positions ``q + first`` to ``q + first + positions - 1``.
    """

    channel: np.ndarray
    position: np.ndarray
    sign: np.ndarray
    edges: np.ndarray
    first: int
    positions: int
    channels: int

    @property
    def cells(self) -> int:
        """How many cells a window has."""
        return self.channels * self.positions

    @property
    def ones(self) -> np.ndarray:
        """The sketch of a window of ones, ``(D,)`` float64."""
        bins = len(self.edges) - 1
        return np.bincount(np.repeat(np.arange(bins), np.diff(self.edges)), self.sign, bins)

    def at_all_positions(self, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sketch of the window at each position of an utterance, ``(T, D)``, and its mean, ``(T,)``.

        Parameters
        ----------
        activations
            ``(C, T)`` of one utterance, valid positions only. A cell outside takes its channel's mean over
            the utterance.
        """
        signal = np.asarray(activations, np.float32)
        means = signal.mean(1, dtype=np.float64)
        before, after = -self.first, self.positions - 1 + self.first
        edge = means.astype(np.float32)[:, None]
        padded = np.concatenate(
            [np.repeat(edge, before, 1), signal, np.repeat(edge, after, 1)], axis=1, dtype=np.float32
        )
        folded = np.zeros((len(self.edges) - 1, signal.shape[1]), np.float32)
        _fold(np.ascontiguousarray(padded), self.channel, self.position, self.sign, self.edges, folded)
        along = np.concatenate([[0.0], padded.sum(0, dtype=np.float64).cumsum()])
        return folded.T, (along[self.positions :] - along[: -self.positions]) / self.cells


def fold(cone: Cone, channels: int, seed: int) -> Fold:
    """The bins and signs of a layer, drawn by seed; a layer of at most 256 cells stays whole."""
    cells = channels * cone.positions
    if cells <= BINS:
        bins, sign = np.arange(cells), np.ones(cells, np.float32)
    else:
        random = generator(seed, f"sketch of {cone.layer}", channels, cone.positions)
        bins = random.integers(0, BINS, cells)
        sign = random.choice(np.array([-1.0, 1.0], np.float32), cells)
    # Cells are numbered channel by channel: within a bin, neighbours in memory come one after the other.
    order = np.argsort(bins, kind="stable")
    edges = np.searchsorted(bins[order], np.arange(min(cells, BINS) + 1))
    channel, position = np.divmod(order, cone.positions)
    return Fold(
        channel.astype(np.int32),
        position.astype(np.int32),
        sign[order].astype(np.float32),
        edges.astype(np.int64),
        cone.first,
        cone.positions,
        channels,
    )


def frame_fold(channels: int) -> Fold:
    """Not a sketch but what a classical frame classifier sees: means of the input about the anchor.

    Sixteen frames (160 ms) in pairs, channels in at most 32 bands of neighbours: at most 256 numbers
    *(choice)*.
    """
    band = np.arange(channels) * min(32, channels) // channels
    channel, position = (each.reshape(-1) for each in np.mgrid[:channels, :16])
    bins = band[channel] * 8 + position // 2
    order = np.argsort(bins, kind="stable")
    count = np.bincount(bins)
    return Fold(
        channel[order].astype(np.int32),
        position[order].astype(np.int32),
        (1 / count[bins[order]]).astype(np.float32),
        np.concatenate([[0], count.cumsum()]).astype(np.int64),
        -8,
        16,
        channels,
    )


def _folded(
    padded: np.ndarray,
    channel: np.ndarray,
    position: np.ndarray,
    sign: np.ndarray,
    edges: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds the cells of each bin, four at a time, over a stretch of positions that stays in the cache."""
    bins, length = out.shape
    for first in range(0, length, _BLOCK):
        end = min(first + _BLOCK, length)
        for b in range(bins):
            target = out[b, first:end]
            k = edges[b]
            while k + 4 <= edges[b + 1]:
                one = padded[channel[k], first + position[k] : end + position[k]]
                two = padded[channel[k + 1], first + position[k + 1] : end + position[k + 1]]
                three = padded[channel[k + 2], first + position[k + 2] : end + position[k + 2]]
                four = padded[channel[k + 3], first + position[k + 3] : end + position[k + 3]]
                for t in range(end - first):
                    target[t] += (
                        sign[k] * one[t]
                        + sign[k + 1] * two[t]
                        + sign[k + 2] * three[t]
                        + sign[k + 3] * four[t]
                    )
                k += 4
            while k < edges[b + 1]:
                one = padded[channel[k], first + position[k] : end + position[k]]
                for t in range(end - first):
                    target[t] += sign[k] * one[t]
                k += 1


_fold = compiled(_folded)
