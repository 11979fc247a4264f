"""How sure a pattern is: its standard error, clustered by utterance (methods, section 3).

Letters of one utterance are spoken by one voice in one room, and their windows overlap: they are not
independent. Hence the spread of utterances, not of letters, says how far a pattern would move with other
speech. The standard error is that of the *difference* between a group's mean and the average of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.compiled import compiled
from asr_introspect.errors import UsageError
from asr_introspect.introspection.moments import Moments
from asr_introspect.introspection.profiles import Average

AVERAGES: tuple[Average, ...] = ("groups", "counts")
"""The weightings of the average that is taken off: each group alike, or by counts."""


@dataclass(frozen=True)
class UtteranceWindows:
    """The windows of one utterance.

    Parameters
    ----------
    rows
        Its frames ``(T, C)`` float32.
    position
        The frame that each window is about, ``(N,)``, in the order of time.
    group
        Its group, ``(N,)``; below 0: none.
    """

    rows: np.ndarray
    position: np.ndarray
    group: np.ndarray

    def bounds(self, first: int, positions: int) -> np.ndarray:
        """First row, first and end of the valid positions of each window, ``(3, N)``."""
        begin = np.asarray(self.position, np.int64) + first
        return np.stack(
            [begin, (-begin).clip(0, positions), (len(self.rows) - begin).clip(0, positions)]
        ).astype(np.int64)


@dataclass(frozen=True)
class PatternErrors:
    """Standard errors of differences to the average of groups.

    ``error``: by weighting ``(G, C, P)`` float64, NaN where fewer than two utterances hold the group;
    ``utterances`` ``(G, P)``: how many do.
    """

    error: dict[Average, np.ndarray]
    utterances: np.ndarray


def average_weights(count: np.ndarray, inside: np.ndarray, average: Average) -> np.ndarray:
    """What each group's mean weighs in the average, ``(G, P)``: sums to 1 over groups at each position.

    Parameters
    ----------
    count
        Windows of each group at each position, ``(G, P)``; a group without any has no weight there.
    inside
        Which groups belong to the average, ``(G,)``.
    """
    weights = np.where(inside[:, None], (count > 0) if average == "groups" else count, 0).astype(np.float64)
    return np.asarray(weights / np.maximum(weights.sum(0), 1e-300))


class DifferenceErrors:
    """Adds up clustered standard errors, utterance by utterance, in a second pass over the windows.

    For group c: ``SE^2 = sum_u d_u^2`` with
    ``d_u = (s_uc - n_uc m_c) / n_c - sum_c' w_c' (s_uc' - n_uc' m_c') / n_c'``, where ``s_uc`` is the sum of
    utterance u's windows of group c, ``n_uc`` their number, and ``w`` the weights of the average (methods,
    section 3). No small-sample factor.

    Parameters
    ----------
    moments
        Counts and means of all windows, of the first pass.
    inside
        Which groups belong to the average, ``(G,)``.
    first
        A window at position ``q`` begins at ``q + first``.
    """

    def __init__(self, moments: Moments, inside: np.ndarray, first: int) -> None:
        groups, channels, positions = moments.mean.shape
        self.first, self.positions = first, positions
        self._count = moments.count
        self._mean = np.ascontiguousarray(moments.mean.transpose(0, 2, 1))
        self._weights = np.stack([average_weights(moments.count, inside, name) for name in AVERAGES])
        self._squares = np.zeros((len(AVERAGES), groups, positions, channels))
        self._shared = np.zeros((len(AVERAGES), positions, channels))
        self._utterances = np.zeros((groups, positions), np.int64)
        self._added = np.zeros((groups, positions), np.int64)

    def add(self, spoken: UtteranceWindows) -> None:
        """Adds one utterance; an utterance must come as a whole, and once."""
        known = np.flatnonzero(np.asarray(spoken.group) >= 0)
        order = known[np.argsort(spoken.group[known], kind="stable")]
        groups = len(self._mean)
        edges = np.searchsorted(spoken.group[order], np.arange(groups + 1))
        windows = spoken.bounds(self.first, self.positions)[:, order]
        present = np.flatnonzero(np.diff(edges))
        _add_deviations(
            np.ascontiguousarray(spoken.rows, np.float32),
            windows,
            edges,
            present,
            self._mean,
            self._count,
            self._weights,
            self._squares,
            self._shared,
            self._utterances,
            self._added,
        )

    def errors(self) -> PatternErrors:
        """The standard errors of what was added.

        Raises
        ------
        UsageError
            The windows that were added are not as many as those of the moments.
        """
        if not np.array_equal(self._added, self._count):
            raise UsageError(
                "the second pass saw other windows than the first: the speech has changed in between"
            )
        some = (self._utterances > 1)[:, None]
        squares = (self._squares + self._shared[:, None]).clip(0).transpose(0, 1, 3, 2)
        return PatternErrors(
            {name: np.where(some, np.sqrt(own), np.nan) for name, own in zip(AVERAGES, squares, strict=True)},
            self._utterances,
        )


def difference_errors(
    moments: Moments, inside: np.ndarray, first: int, utterances: Sequence[UtteranceWindows]
) -> PatternErrors:
    """The standard errors of all groups, from utterances in memory; see :class:`DifferenceErrors`."""
    found = DifferenceErrors(moments, inside, first)
    for spoken in utterances:
        found.add(spoken)
    return found.errors()


def _deviations_added(
    rows: np.ndarray,
    windows: np.ndarray,
    edges: np.ndarray,
    present: np.ndarray,
    mean: np.ndarray,
    count: np.ndarray,
    weights: np.ndarray,
    squares: np.ndarray,
    shared: np.ndarray,
    utterances: np.ndarray,
    added: np.ndarray,
) -> None:
    """One utterance's ``d_u``: ``sum (a - b)^2`` over utterances is ``sum a (a - 2b)`` over those that hold
    the group, plus ``sum b^2`` over all (``shared``), so that groups that it lacks cost nothing.
    """
    averages, _, positions, channels = squares.shape
    deviation = np.zeros((len(present), channels))
    average = np.zeros((averages, channels))
    for position in range(positions):
        average[:] = 0
        for at in range(len(present)):
            group = present[at]
            own = deviation[at]
            own[:] = 0
            here = 0
            for k in range(edges[group], edges[group + 1]):
                if windows[1, k] <= position < windows[2, k]:
                    here += 1
                    row = rows[windows[0, k] + position]
                    for channel in range(channels):
                        own[channel] += row[channel]
            if here == 0:
                continue
            added[group, position] += here
            utterances[group, position] += 1
            for channel in range(channels):
                own[channel] = (own[channel] - here * mean[group, position, channel]) / count[group, position]
            for which in range(averages):
                weight = weights[which, group, position]
                if weight > 0:
                    for channel in range(channels):
                        average[which, channel] += weight * own[channel]
        for which in range(averages):
            for at in range(len(present)):
                square = squares[which, present[at], position]
                for channel in range(channels):
                    value = deviation[at, channel]
                    square[channel] += value * (value - 2 * average[which, channel])
            for channel in range(channels):
                shared[which, position, channel] += average[which, channel] * average[which, channel]


_add_deviations = compiled(_deviations_added)
