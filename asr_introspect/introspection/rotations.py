"""Which cells of a pattern chance would not give: a threshold from label sequences that are rotated.

In a draw, each utterance's sequence of labels is rotated by a random number of instances, while windows stay
where they are. That keeps what is not about labels (voices, rooms, overlapping windows, how often and in
which order letters come) and breaks what is. The statistic is the largest ``|mean - average| / standard
error`` over a group's map; its 95 % quantile over draws is the map's threshold: family-wise, a group without
any structure exceeds it anywhere in its map in 5 % of corpora.

*(choice)* The standard error is computed anew in each draw. An utterance's rotations are taken from at most
:data:`ROTATIONS` that are drawn first: the sums of their windows are then computed once, and a draw costs a
few operations per utterance, group and cell, however many instances there are.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr_introspect.compiled import compiled
from asr_introspect.introspection.moments import in_threads
from asr_introspect.introspection.pattern_errors import UtteranceWindows
from asr_introspect.introspection.profiles import Average
from asr_introspect.progress import track
from asr_introspect.random import generator

DRAWS = 1000
QUANTILE = 0.95
MOST_INSTANCES = 10_000
ROTATIONS = 16
"""Of how many rotations an utterance's are drawn: spread evenly over its length from a random start."""
BLOCK, BANDS = 32, 128
"""Draws and bands computed together: what they add up to stays in a second cache of 2 MB."""


@dataclass(frozen=True)
class Thresholds:
    """Family-wise thresholds of ``|mean - average| / standard error``, one per group.

    ``threshold`` ``(G,)``, NaN where fewer than two utterances hold the group; ``observed`` ``(G,)``: the
    largest statistic of each group on the same windows; ``draws``, ``instances``, ``utterances``: what they
    rest on.
    """

    threshold: np.ndarray
    observed: np.ndarray
    draws: int
    instances: int
    utterances: int


def chosen_utterances(instances: np.ndarray, most: int = MOST_INSTANCES, seed: int = 0) -> np.ndarray:
    """Whole utterances in an order drawn by seed, as many as hold at most so many instances; in order.

    Parameters
    ----------
    instances
        How many each utterance has, ``(U,)``. Those without any are left out.

    Returns
    -------
    numpy.ndarray
        Their places. If the first one alone has more, it is that one (see :func:`shortened`).
    """
    order = generator(seed, "utterances of the rotation threshold").permutation(len(instances))
    order = order[np.asarray(instances)[order] > 0]
    taken = int((np.cumsum(np.asarray(instances)[order]) <= most).sum())
    return np.sort(order[: max(taken, 1)])


def shortened(
    spoken: UtteranceWindows, first: int, positions: int, most: int = MOST_INSTANCES
) -> UtteranceWindows:
    """An utterance with its first windows only, if it has more than so many, and the rows that these need."""
    if len(spoken.position) <= most:
        return spoken
    end = max(int(spoken.position[most - 1]) + first + positions, 1)
    return replace(
        spoken, rows=spoken.rows[:end].copy(), position=spoken.position[:most], group=spoken.group[:most]
    )


def rotation_thresholds(
    utterances: Sequence[UtteranceWindows],
    inside: np.ndarray,
    first: int,
    positions: int,
    *,
    average: Average = "groups",
    draws: int = DRAWS,
    quantile: float = QUANTILE,
    seed: int = 0,
    threads: int = 1,
) -> Thresholds:
    """The threshold of each group's map.

    Parameters
    ----------
    inside
        Which groups belong to the average, ``(G,)``; groups are numbered alike in ``utterances``.
    first, positions
        A window at position ``q`` is the rows ``q + first`` to ``q + first + positions - 1``.
    """
    if not utterances or len(inside) == 0:
        nothing = np.full(len(inside), np.nan)
        return Thresholds(nothing, nothing, draws, 0, 0)
    random = generator(seed, "rotations of labels")
    turns = np.stack([_drawn(len(spoken.group), draws, random) for spoken in utterances], axis=1)
    still = np.zeros((1, turns.shape[1]), np.int64)
    largest = largest_statistics(
        utterances, np.concatenate([still, turns]), inside, first, positions, average=average, threads=threads
    )
    known = np.isfinite(largest).all(0)
    drawn = np.quantile(np.where(known, largest[1:], 0), quantile, axis=0, method="higher")
    return Thresholds(
        np.where(known, drawn, np.nan),
        largest[0],
        draws,
        sum(int((spoken.group >= 0).sum()) for spoken in utterances),
        len(utterances),
    )


def _drawn(instances: int, draws: int, random: np.random.Generator) -> np.ndarray:
    """By how many instances the labels of one utterance are rotated in each draw, ``(draws,)``."""
    size = max(instances, 1)
    if size <= ROTATIONS:
        return random.integers(0, size, draws)
    some = (random.integers(0, size) + np.arange(ROTATIONS) * size // ROTATIONS) % size
    return np.asarray(some[random.integers(0, ROTATIONS, draws)])


def largest_statistics(
    utterances: Sequence[UtteranceWindows],
    turns: np.ndarray,
    inside: np.ndarray,
    first: int,
    positions: int,
    *,
    average: Average = "groups",
    threads: int = 1,
) -> np.ndarray:
    """The largest ``|mean - average| / standard error`` of each group's map in each draw, ``(D, G)``.

    Parameters
    ----------
    turns
        ``(D, U)``: in draw d, window i of utterance u has the label of window ``(i + turns[d, u]) mod n_u``;
        0 everywhere is what was observed.

    Returns
    -------
    numpy.ndarray
        NaN where at no cell two utterances hold the group. Computed in float32.
    """
    table = _Table.of(utterances, turns, first, positions)
    found = np.zeros((threads, len(turns), len(inside)), np.float32)
    together = range(0, positions, threads)
    for start in track(together, "rotations", unit="frame" if threads == 1 else "part"):
        jobs = {
            position: functools.partial(
                _position_drawn, table, position, inside, average == "groups", found[position - start]
            )
            for position in range(start, min(start + threads, positions))
        }
        in_threads(jobs, threads)
    largest = np.sqrt(found.max(0)).astype(np.float64)
    return np.where(largest > 0, largest, np.nan)


@dataclass(frozen=True)
class _Table:
    """Windows of all utterances one after the other, and where the sums of each rotation will lie.

    Parameters
    ----------
    rows
        All utterances' frames.
    windows
        First row in ``rows``, first and end of the valid positions of each window, ``(3, N)``.
    bounds
        Where each utterance's windows begin, ``(U + 1,)``.
    slot
        Of each window the place of its label among those of its utterance, below 0 for none, ``(N,)``.
    held, held_at
        The groups that each utterance has, and where those of each begin.
    turned, turned_at
        The rotations of each utterance that occur, and where those of each begin.
    base
        Where each utterance's sums begin: a row per rotation and group held.
    picked
        Which of its rotations an utterance has in a draw, ``(D, U)``.
    """

    rows: np.ndarray
    windows: np.ndarray
    bounds: np.ndarray
    slot: np.ndarray
    held: np.ndarray
    held_at: np.ndarray
    turned: np.ndarray
    turned_at: np.ndarray
    base: np.ndarray
    picked: np.ndarray

    @classmethod
    def of(
        cls, utterances: Sequence[UtteranceWindows], turns: np.ndarray, first: int, positions: int
    ) -> _Table:
        starts = np.cumsum([0, *(len(spoken.rows) for spoken in utterances)])
        windows, slots, held, turned = [], [], [], []
        picked = np.zeros(turns.shape, np.int64)
        for number, spoken in enumerate(utterances):
            own = spoken.bounds(first, positions)
            own[0] += starts[number]
            windows.append(own)
            groups = np.unique(spoken.group[spoken.group >= 0])
            held.append(groups)
            slots.append(
                np.where(spoken.group >= 0, np.searchsorted(groups, spoken.group), -1).astype(np.int64)
            )
            some, picked[:, number] = np.unique(turns[:, number], return_inverse=True)
            turned.append(some)
        counts = [len(groups) * len(some) for groups, some in zip(held, turned, strict=True)]
        return cls(
            np.concatenate([np.asarray(spoken.rows, np.float32) for spoken in utterances]),
            np.concatenate(windows, axis=1),
            np.cumsum([0, *(len(own) for own in slots)]),
            np.concatenate(slots),
            np.concatenate(held).astype(np.int64),
            np.cumsum([0, *map(len, held)]),
            np.concatenate(turned).astype(np.int64),
            np.cumsum([0, *map(len, turned)]),
            np.cumsum([0, *counts]),
            picked,
        )


def _position_drawn(
    table: _Table, position: int, inside: np.ndarray, alike: bool, largest: np.ndarray
) -> None:
    """Raises ``largest`` ``(D, G)`` to the squared statistics of one position of the windows."""
    begin, low, high = table.windows
    valid = np.flatnonzero((low <= position) & (position < high))
    within = begin[valid] + position
    for band in range(0, table.rows.shape[1], BANDS):
        some = np.ascontiguousarray(table.rows[within, band : band + BANDS])
        sums = np.zeros((int(table.base[-1]), some.shape[1]), np.float32)
        count = np.zeros(len(sums), np.float32)
        _add_rotations(
            *(some, valid, np.searchsorted(valid, table.bounds), table.bounds, table.slot),
            *(table.turned, table.turned_at, table.held_at, table.base, sums, count),
        )
        for draw in range(0, len(largest), BLOCK):
            block = slice(draw, draw + BLOCK)
            _take_largest(
                *(sums, count, table.base, table.picked[block], table.held, table.held_at),
                *(inside, alike, largest[block]),
            )


def _rotations_added(
    rows: np.ndarray,
    valid: np.ndarray,
    valid_at: np.ndarray,
    bounds: np.ndarray,
    slot: np.ndarray,
    turned: np.ndarray,
    turned_at: np.ndarray,
    held_at: np.ndarray,
    base: np.ndarray,
    sums: np.ndarray,
    count: np.ndarray,
) -> None:
    """``s_uc`` and ``n_uc`` of every utterance under each of its rotations, at one position."""
    channels = rows.shape[1]
    for utterance in range(len(bounds) - 1):
        begin, size = bounds[utterance], bounds[utterance + 1] - bounds[utterance]
        held = held_at[utterance + 1] - held_at[utterance]
        at = base[utterance]
        for which in range(turned_at[utterance], turned_at[utterance + 1]):
            for i in range(valid_at[utterance], valid_at[utterance + 1]):
                other = valid[i] - begin + turned[which]
                if other >= size:
                    other -= size
                own = slot[begin + other]
                if own >= 0:
                    count[at + own] += np.float32(1)
                    total, row = sums[at + own], rows[i]
                    for channel in range(channels):
                        total[channel] += row[channel]
            at += held


def _largest_taken(
    sums: np.ndarray,
    count: np.ndarray,
    base: np.ndarray,
    picked: np.ndarray,
    held: np.ndarray,
    held_at: np.ndarray,
    inside: np.ndarray,
    alike: bool,
    largest: np.ndarray,
) -> None:
    """The statistics of a block of draws at one position, utterance by utterance, so that sums of rotations
    and of draws stay in the second cache. All in float32, the type of a plain number only if written so.
    """
    draws, utterances = picked.shape
    groups, channels = len(inside), sums.shape[1]
    one, two, smallest = np.float32(1), np.float32(2), np.float32(1e-20)
    mean = np.zeros((draws, groups, channels), np.float32)
    squares, crossed = np.zeros_like(mean), np.zeros_like(mean)
    shared, grand = np.zeros((draws, channels), np.float32), np.zeros((draws, channels), np.float32)
    total, share = np.zeros((draws, groups), np.float32), np.zeros((draws, groups), np.float32)
    holders = np.zeros((draws, groups), np.int64)
    deviation, average = np.zeros((groups, channels), np.float32), np.zeros(channels, np.float32)
    # `average`: the deviation of the average over groups; at the end each channel's error, then statistic.
    for utterance in range(utterances):
        first = held_at[utterance]
        many = held_at[utterance + 1] - first
        for draw in range(draws):
            at = base[utterance] + picked[draw, utterance] * many
            for k in range(many):
                if count[at + k] > 0:
                    group = held[first + k]
                    total[draw, group] += count[at + k]
                    holders[draw, group] += 1
                    own, row = mean[draw, group], sums[at + k]
                    for channel in range(channels):
                        own[channel] += row[channel]
    for draw in range(draws):
        within, groups_within = np.float32(0), np.float32(0)
        for group in range(groups):
            if inside[group] and total[draw, group] > 0:
                within += total[draw, group]
                groups_within += one
        for group in range(groups):
            number = total[draw, group]
            if number > 0:
                own, part = mean[draw, group], one / number
                for channel in range(channels):
                    own[channel] *= part
                if inside[group]:
                    # What one deviation from the group's mean adds to the average over groups.
                    share[draw, group] = one / (groups_within * number) if alike else one / within
                    weight, whole = share[draw, group] * number, grand[draw]
                    for channel in range(channels):
                        whole[channel] += weight * own[channel]
    for utterance in range(utterances):
        first = held_at[utterance]
        many = held_at[utterance + 1] - first
        for draw in range(draws):
            at = base[utterance] + picked[draw, utterance] * many
            average[:] = 0
            for k in range(many):
                number = count[at + k]
                if number > 0:
                    group = held[first + k]
                    weight = share[draw, group]
                    own, row = deviation[k], sums[at + k]
                    square, middle = squares[draw, group], mean[draw, group]
                    # Two loops: a compiler does not vectorise one over five arrays that might overlap.
                    for channel in range(channels):
                        own[channel] = row[channel] - number * middle[channel]
                    for channel in range(channels):
                        square[channel] += own[channel] * own[channel]
                        average[channel] += weight * own[channel]
            both = shared[draw]
            for channel in range(channels):
                both[channel] += average[channel] * average[channel]
            for k in range(many):
                if count[at + k] > 0:
                    own, cross = deviation[k], crossed[draw, held[first + k]]
                    for channel in range(channels):
                        cross[channel] += own[channel] * average[channel]
    for draw in range(draws):
        for group in range(groups):
            if holders[draw, group] > 1:
                part, top = one / total[draw, group], largest[draw, group]
                own, square, cross = mean[draw, group], squares[draw, group], crossed[draw, group]
                both, whole = shared[draw], grand[draw]
                for channel in range(channels):
                    average[channel] = square[channel] * part * part - two * cross[channel] * part
                for channel in range(channels):
                    average[channel] = max(average[channel] + both[channel], smallest)
                for channel in range(channels):
                    difference = own[channel] - whole[channel]
                    average[channel] = difference * difference / average[channel]
                for channel in range(channels):
                    top = max(top, average[channel])
                largest[draw, group] = top


_add_rotations = compiled(_rotations_added)
_take_largest = compiled(_largest_taken)
