"""Count, mean and M2 of aligned windows per group, channel and position: one pass, exact, mergeable.

The windows of a slice of a corpus are summed a layer at a time, in float64 and after a constant per channel
has been taken off: without that a unit of mean 100 and deviation 0.01 would lose its variance to rounding.
Sums become moments once per slice; two parts are merged by the formula of Chan, Golub and LeVeque (1979).

*(choice)* Windows are summed directly. That is equal to the product of label trains and activations in the
frequency domain, and several times faster at the density of instances that speech has (FIGURES.md): a tile of
few channels and some minutes of speech, once converted, centred and padded with zeros, stays in the second
cache, and so do the sums of all groups over it, so that a cell of a window costs one load and two additions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_introspect.compiled import compiled
from asr_introspect.errors import UsageError

TILE = 16
"""Channels summed together."""
ROWS = 8192
"""Positions of a tile: with :data:`TILE` channels in float64 they fill half of a second cache of 2 MB."""


@dataclass(frozen=True)
class Moments:
    """Moments of windows: count ``(G, P)``, mean and M2 ``(G, C, P)``, all float64 but the count (int64).

    Positions outside the utterance are missing: each position has its own count. Where a count is 0, mean and
    M2 are 0. A position's channels lie side by side in memory.
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


@dataclass(frozen=True)
class Activations:
    """One batch at one layer: values ``(B, C, T)`` and the valid positions of each item, ``(B,)``."""

    values: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class WindowSet:
    """Windows at one layer, grouped.

    Parameters
    ----------
    groups
        Names.
    batch, item
        Per window its batch and its row there, ``(N,)``.
    position
        Where it stands: at position ``q`` it covers ``q + first`` to ``q + first + positions - 1``.
    group
        Its group, an index into ``groups``.
    """

    groups: tuple[str, ...]
    batch: np.ndarray
    item: np.ndarray
    position: np.ndarray
    group: np.ndarray


def together(parts: Sequence[WindowSet]) -> WindowSet:
    """The windows of several batches as one set; their groups are the same."""
    joined = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("batch", "item", "position", "group")
    )
    return WindowSet(parts[0].groups, *joined)


def empty(groups: tuple[str, ...], channels: int, positions: int) -> Moments:
    """The moments of nothing."""
    mean, m2 = (np.zeros((len(groups), positions, channels)).transpose(0, 2, 1) for _ in range(2))
    return Moments(groups, np.zeros((len(groups), positions), np.int64), mean, m2)


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
    merged = empty(first.groups, first.mean.shape[1], first.mean.shape[2])
    np.add(first.count, second.count, out=merged.count)
    parts = [
        [each.count, _channels_last(each.mean), _channels_last(each.m2)] for each in (first, second, merged)
    ]
    _merge(*parts[0], *parts[1], *parts[2])
    return merged


def _channels_last(values: np.ndarray) -> np.ndarray:
    """``(G, C, P)`` as ``(G, P, C)``, contiguous; mostly no copy."""
    return np.ascontiguousarray(values.transpose(0, 2, 1))


def window_moments(
    batches: Sequence[Activations],
    sets: Sequence[WindowSet],
    first: int,
    positions: int,
    *,
    centre: np.ndarray | None = None,
    threads: int = 1,
) -> list[Moments]:
    """The moments of each set of windows over the batches of one layer.

    The same bits at any number of threads.

    Parameters
    ----------
    first, positions
        What a window covers; see :class:`WindowSet`.
    centre
        The constant taken off each channel, ``(C,)``; the mean over the first batch if not given.
    """
    channels = batches[0].values.shape[1]
    centre = _mean(batches[0]) if centre is None else np.asarray(centre, np.float64)
    places = _Places.of(batches, positions)
    placed = [_placed(places, each, first, positions) for each in sets]
    found = [empty(each.groups, channels, positions) for each in sets]
    for each, moments in zip(placed, found, strict=True):
        moments.count[:] = each.count

    def sum_tile(channel: int) -> None:
        own = min(TILE, channels - channel)
        tile = np.empty((places.rows, TILE))
        sums = [np.zeros((*moments.count.shape, 2, TILE)) for moments in found]
        for block, (begin, end) in enumerate(places.blocks):
            tile[:] = 0
            for batch, item, row in zip(
                *(each[begin:end] for each in (places.batch, places.item, places.row)), strict=True
            ):
                values = batches[batch].values[item, channel : channel + own]
                _fill(values, int(batches[batch].lengths[item]), centre[channel:], tile, row)
            for windows, total in zip(placed, sums, strict=True):
                _add(tile, windows.row, windows.edges[block], total)
        for moments, total in zip(found, sums, strict=True):
            part = (
                _channels_last(each)[:, :, channel : channel + own] for each in (moments.mean, moments.m2)
            )
            _finish(total, moments.count, centre[channel:], *part)

    jobs = {channel: functools.partial(sum_tile, channel) for channel in range(0, channels, TILE)}
    in_threads(jobs, threads)
    return found


def _mean(batch: Activations) -> np.ndarray:
    """The mean over valid positions, ``(C,)``."""
    valid = [values[:, :length] for values, length in zip(batch.values, batch.lengths, strict=True)]
    total = sum(each.sum(1, dtype=np.float64) for each in valid)
    return np.asarray(total / max(1, sum(each.shape[1] for each in valid)))


@dataclass(frozen=True)
class _Places:
    """Where the items of all batches lie in the tile.

    Parameters
    ----------
    batch, item, length, row, block
        Per item its batch, its row there, its positions, the row of the tile at which position 0 lies, and
        its block: items of one block lie in the tile at the same time.
    blocks
        First and end of each block's items.
    before
        Per batch the items before it.
    rows
        How many rows the tile needs.
    """

    batch: np.ndarray
    item: np.ndarray
    length: np.ndarray
    row: np.ndarray
    block: np.ndarray
    blocks: list[tuple[int, int]]
    before: np.ndarray
    rows: int

    @classmethod
    def of(cls, batches: Sequence[Activations], gap: int) -> _Places:
        """Items one after another, ``gap`` rows of zeros before, between and after them."""
        items = [len(each.lengths) for each in batches]
        length = np.concatenate([np.asarray(each.lengths, np.int64) for each in batches])
        row, block, blocks = np.zeros(len(length), np.int64), np.zeros(len(length), np.int64), []
        begin, at, rows = 0, gap, 0
        for number, positions in enumerate(length):
            if number > begin and at + positions + gap > ROWS:
                blocks.append((begin, number))
                begin, at = number, gap
            row[number], block[number] = at, len(blocks)
            at += int(positions) + gap
            rows = max(rows, at)
        blocks.append((begin, len(length)))
        batch = np.repeat(np.arange(len(batches)), items)
        before = np.cumsum([0, *items])[:-1]
        item = np.arange(len(length)) - before[batch]
        return cls(batch, item, length, row, block, blocks, before, rows)


@dataclass(frozen=True)
class _Placed:
    """Windows in the tile: the row each begins at, by block and group; ``edges`` ``(blocks, G + 1)``."""

    row: np.ndarray
    edges: np.ndarray
    count: np.ndarray


def _placed(places: _Places, windows: WindowSet, first: int, positions: int) -> _Placed:
    """Where windows begin in the tile, and how many are inside their utterance at each position."""
    number = places.before[windows.batch] + windows.item
    length = places.length[number]
    # A window that misses its utterance lies in the zeros beside it.
    begin = (windows.position + first).clip(-positions, length)
    groups = len(windows.groups)
    bins = groups * (positions + 1)
    inside = [(-begin).clip(0, positions), (length - begin).clip(0, positions)]
    starts, ends = (np.bincount(windows.group * (positions + 1) + edge, minlength=bins) for edge in inside)
    count = np.cumsum((starts - ends).reshape(groups, positions + 1), axis=1)[:, :positions]
    cell = places.block[number] * groups + windows.group
    order = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[order], np.arange(len(places.blocks) * groups + 1))
    edges = np.stack([bounds[i * groups : (i + 1) * groups + 1] for i in range(len(places.blocks))])
    return _Placed((places.row[number] + begin)[order], edges, count)


@compiled
def _fill(values: np.ndarray, length: int, centre: np.ndarray, tile: np.ndarray, row: int) -> None:
    """Writes an item's channels ``(c, T)`` into the tile's columns, centred."""
    for position in range(length):
        for channel in range(values.shape[0]):
            tile[row + position, channel] = values[channel, position] - centre[channel]


@compiled
def _add(tile: np.ndarray, rows: np.ndarray, edges: np.ndarray, totals: np.ndarray) -> None:
    """Adds windows to sums and sums of squares ``(G, P, 2, TILE)``; ``edges``: where groups begin.

    Four windows at a time, so that the sums are loaded and stored a quarter as often.
    """
    groups, positions = totals.shape[0], totals.shape[1]
    for group in range(groups):
        begin, end = edges[group], edges[group + 1]
        fours = begin + (end - begin) // 4 * 4
        for position in range(positions):
            total = totals[group, position].reshape(-1)
            for k in range(begin, fours, 4):
                row0, row1 = rows[k] + position, rows[k + 1] + position
                row2, row3 = rows[k + 2] + position, rows[k + 3] + position
                for c in range(TILE):
                    v0, v1, v2, v3 = tile[row0, c], tile[row1, c], tile[row2, c], tile[row3, c]
                    total[c] += (v0 + v1) + (v2 + v3)
                    total[TILE + c] += (v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3)
            for k in range(fours, end):
                row = rows[k] + position
                for c in range(TILE):
                    value = tile[row, c]
                    total[c] += value
                    total[TILE + c] += value * value


@compiled
def _finish(
    totals: np.ndarray, count: np.ndarray, centre: np.ndarray, mean: np.ndarray, m2: np.ndarray
) -> None:
    """Sums as mean and M2 ``(G, P, c)``, the centre put back; zeros where the count is 0."""
    for group in range(count.shape[0]):
        for position in range(count.shape[1]):
            windows = count[group, position]
            if windows > 0:
                for channel in range(mean.shape[2]):
                    total = totals[group, position, 0, channel]
                    shift = total / windows
                    mean[group, position, channel] = centre[channel] + shift
                    square = totals[group, position, 1, channel] - total * shift
                    m2[group, position, channel] = max(square, 0.0)


@compiled
def _merge(
    count1: np.ndarray,
    mean1: np.ndarray,
    m21: np.ndarray,
    count2: np.ndarray,
    mean2: np.ndarray,
    m22: np.ndarray,
    count: np.ndarray,
    mean: np.ndarray,
    m2: np.ndarray,
) -> None:
    """Chan, Golub and LeVeque's formula, means and M2 ``(G, P, C)``."""
    for group in range(count.shape[0]):
        for position in range(count.shape[1]):
            # An empty part has mean 0, share 0 or 1: nothing is lost.
            share = count2[group, position] / max(count[group, position], 1)
            both = count1[group, position] * share
            for channel in range(mean.shape[2]):
                before = mean1[group, position, channel]
                difference = mean2[group, position, channel] - before
                mean[group, position, channel] = before + difference * share
                squares = m21[group, position, channel] + m22[group, position, channel]
                m2[group, position, channel] = squares + difference * difference * both


def in_threads(jobs: Mapping[Any, Callable[[], None]], threads: int) -> None:
    """Runs independent jobs, the machine code of which lets other threads run."""
    if threads <= 1:
        for job in jobs.values():
            job()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(job) for job in jobs.values()]:
            done.result()
