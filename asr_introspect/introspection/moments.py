"""Count, mean and M2 of aligned windows per group, channel and position: one pass, exact, mergeable.

Per batch the windows of a group are summed where they lie in the batch's activations, position by position,
in float64 and after a constant per channel has been taken off: without that a unit of mean 100 and deviation
0.01 would lose its variance to rounding. Sums become moments once per part of a pass; two parts are merged by
the formula of Chan, Golub and LeVeque (1979).

*(choice)* Summing windows directly is equal to the product of label trains and activations in the frequency
domain, and faster at any density of instances that speech has: neighbouring windows of one group share the
accumulators, which stay in the first cache, so that each window costs one read of its activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from asr_introspect.errors import UsageError


@dataclass(frozen=True)
class Moments:
    """Moments of windows: count ``(G, P)``, mean and M2 ``(G, C, P)``, all float64 but the count (int64).

    Positions outside the utterance are missing: each position has its own count. Where a count is 0, mean and
    M2 are 0.
    """

    groups: tuple[str, ...]
    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """``M2 / count``, ``(G, C, P)``; NaN where the count is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.count[:, None] > 0, self.m2 / self.count[:, None], np.nan)

    def means(self) -> np.ndarray:
        """The mean, NaN where the count is 0."""
        return np.where(self.count[:, None] > 0, self.mean, np.nan)


def empty(groups: tuple[str, ...], channels: int, positions: int) -> Moments:
    """The moments of nothing."""
    shape = (len(groups), positions, channels)
    return Moments(
        groups,
        np.zeros((len(groups), positions), np.int64),
        np.zeros(shape).transpose(0, 2, 1),
        np.zeros(shape).transpose(0, 2, 1),
    )


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of both parts together.

    With the parts in the same order the same bits; the order itself, and how a whole is cut into parts,
    matter at the level of float64 rounding only.

    Raises
    ------
    UsageError
        The parts have other groups or shapes.
    """
    if first.groups != second.groups or first.mean.shape != second.mean.shape:
        raise UsageError("moments of different groups or layers cannot be merged")
    count = first.count + second.count
    share = second.count / np.maximum(count, 1)  # an empty part has mean 0, share 0 or 1: nothing is lost
    difference = second.mean - first.mean
    mean = first.mean + difference * share[:, None]
    m2 = first.m2 + second.m2 + np.square(difference) * (first.count * share)[:, None]
    return Moments(first.groups, count, mean, m2)


class Sums:
    """Sums and sums of squares of windows about a constant per channel; what one part of a pass fills.

    Parameters
    ----------
    groups
        Names; a window's group is an index into them.
    centre
        The constant taken off each channel, ``(C,)`` float64.
    first, positions
        A window at position ``q`` is the positions ``q + first`` to ``q + first + positions - 1``.
    """

    def __init__(self, groups: tuple[str, ...], centre: np.ndarray, first: int, positions: int) -> None:
        self.groups = groups
        self.centre = np.asarray(centre, np.float64)
        self.first = first
        self.positions = positions
        # Channels last: a position's channels lie side by side, as in the rows that are added.
        shape = (len(groups), positions, len(self.centre))
        self.sums, self.squares = np.zeros(shape), np.zeros(shape)
        self.count = np.zeros((len(groups), positions), np.int64)

    def add(
        self, rows: np.ndarray, item: np.ndarray, position: np.ndarray, lengths: np.ndarray, group: np.ndarray
    ) -> None:
        """Adds windows of a batch.

        Parameters
        ----------
        rows
            Activations ``(B, T, C)``, float32 or float64, contiguous.
        item, position, group
            Per window its row in the batch, the position it stands at, its group, ``(N,)``.
        lengths
            Valid positions of each item, ``(B,)``.
        """
        if len(item) == 0:
            return
        order = np.argsort(group, kind="stable")
        edges = np.searchsorted(group[order], np.arange(len(self.groups) + 1))
        begin = position[order] + self.first
        windows = np.stack(
            [
                item[order] * rows.shape[1] + begin,
                (-begin).clip(0, self.positions),
                (lengths[item[order]] - begin).clip(0, self.positions),
            ]
        ).astype(np.int64)
        flat = rows.reshape(-1, rows.shape[2])
        _add_windows(flat, windows, edges, self.centre, self.sums, self.squares, self.count)

    def moments(self) -> Moments:
        """The moments of what was added; the arrays are those of this object, which is used up."""
        count = self.count[:, :, None]
        some = np.maximum(count, 1)
        shift = self.sums / some
        self.squares -= self.sums * shift
        np.maximum(self.squares, 0, out=self.squares)
        shift += np.where(count > 0, self.centre, 0)
        return Moments(self.groups, self.count, shift.transpose(0, 2, 1), self.squares.transpose(0, 2, 1))


def _windows_added(
    rows: np.ndarray,
    windows: np.ndarray,
    edges: np.ndarray,
    centre: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    count: np.ndarray,
) -> None:
    """``windows`` ``(3, N)``: first row, first and end of the valid positions; ``edges``: where groups
    begin.
    """
    groups, positions, channels = sums.shape
    for group in range(groups):
        for position in range(positions):
            total = sums[group, position]
            square = squares[group, position]
            for k in range(edges[group], edges[group + 1]):
                if windows[1, k] <= position < windows[2, k]:
                    row = rows[windows[0, k] + position]
                    count[group, position] += 1
                    for channel in range(channels):
                        value = row[channel] - centre[channel]
                        total[channel] += value
                        square[channel] += value * value


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, kept on disk where there is a folder for it."""
    # contract: a multiplication and an addition may be one instruction; the order of sums stays as written.
    try:
        return numba.njit(function, cache=True, nogil=True, fastmath={"contract"})  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(function, nogil=True, fastmath={"contract"})  # type: ignore[no-any-return]


_add_windows = _compiled(_windows_added)


def in_threads(jobs: Mapping[Any, Callable[[], None]], threads: int) -> None:
    """Runs independent jobs, the machine code of which lets other threads run."""
    if threads <= 1:
        for job in jobs.values():
            job()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(job) for job in jobs.values()]:
            done.result()
