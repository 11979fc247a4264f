"""Edits between hypothesis and reference, and error rates with intervals."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from asr_introspect.errors import IntrospectError
from asr_introspect.random import generator

ENOUGH_SPEAKERS = 10
"""From so many speakers on, intervals are drawn over speakers; below, over utterances within speakers."""

Symbols = Sequence[Hashable]
Pair = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Edits:
    """What turns the reference into the hypothesis, in counts."""

    substitutions: int
    insertions: int
    deletions: int

    @property
    def total(self) -> int:
        """The edit distance."""
        return self.substitutions + self.insertions + self.deletions


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Edits over reference symbols, summed over utterances, with a 95 % bootstrap interval.

    ``rate``, ``low`` and ``high`` are fractions (above 1 is possible); the interval is NaN where there is
    nothing to draw from (each speaker has one utterance and there are fewer than ten speakers).
    """

    edits: int
    length: int
    rate: float
    low: float
    high: float

    @property
    def interval(self) -> list[float] | None:
        """The interval's ends; None where it cannot be had."""
        return None if math.isnan(self.low) else [self.low, self.high]


def interval_name(speakers: int) -> str:
    """What intervals are drawn over with so many speakers."""
    return "speakers" if speakers >= ENOUGH_SPEAKERS else "utterances within speakers"


def edit_distance(hypothesis: Symbols, reference: Symbols) -> int:
    """The Levenshtein distance of two strings or lists: substitutions, insertions, deletions cost 1 each."""
    return int(Levenshtein.distance(hypothesis, reference))


def edit_alignment(hypothesis: Symbols, reference: Symbols) -> list[Pair]:
    """A minimal edit alignment: pairs ``(position in hypothesis, position in reference)``, in order.

    None in the first place is a deletion (the reference's symbol was not said), None in the second an
    insertion. Of all minimal alignments it is the one found by walking back from the end and taking, where
    several steps are minimal, a match or substitution before a deletion before an insertion *(choice)*.
    """
    costs = _costs(hypothesis, reference)
    i, j = len(hypothesis), len(reference)
    pairs: list[Pair] = []
    while i or j:
        here = costs[i, j]
        if i and j and here == costs[i - 1, j - 1] + (hypothesis[i - 1] != reference[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif j and here == costs[i, j - 1] + 1:
            j -= 1
            pairs.append((None, j))
        else:
            i -= 1
            pairs.append((i, None))
    return pairs[::-1]


def _costs(hypothesis: Symbols, reference: Symbols) -> np.ndarray:
    """Edit distances of all prefixes, ``(len(hypothesis) + 1, len(reference) + 1)``, a row at a time.

    Within a row a cell may also come from its left neighbour at cost 1:
    ``row[j] = min over k <= j of (above[k] + j - k)``, a running minimum.
    """
    numbers: dict[Hashable, int] = {}
    columns = np.array([numbers.setdefault(symbol, len(numbers)) for symbol in reference], dtype=np.int64)
    across = np.arange(len(reference) + 1)
    costs = np.empty((len(hypothesis) + 1, len(reference) + 1), dtype=np.int64)
    costs[0] = across
    for i, symbol in enumerate(hypothesis):
        above = costs[i] + 1
        above[1:] = np.minimum(above[1:], costs[i, :-1] + (columns != numbers.get(symbol, -1)))
        costs[i + 1] = across + np.minimum.accumulate(above - across)
    return costs


def edits(hypothesis: Symbols, reference: Symbols) -> Edits:
    """Substitutions, insertions and deletions of :func:`edit_alignment`; their sum is the edit distance."""
    pairs = edit_alignment(hypothesis, reference)
    inserted = sum(j is None for _, j in pairs)
    deleted = sum(i is None for i, _ in pairs)
    both = ((i, j) for i, j in pairs if i is not None and j is not None)
    return Edits(sum(hypothesis[i] != reference[j] for i, j in both), inserted, deleted)


def right(hypothesis: Symbols, reference: Symbols) -> np.ndarray:
    """Whether each symbol of the hypothesis stands opposite its equal in the reference, ``(len,)`` bool.

    By :func:`edit_alignment`; a substituted or inserted symbol is wrong.
    """
    verdict = np.zeros(len(hypothesis), dtype=bool)
    for i, j in edit_alignment(hypothesis, reference):
        if i is not None and j is not None:
            verdict[i] = hypothesis[i] == reference[j]
    return verdict


def error_rate(
    edits: Sequence[int] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    speakers: Sequence[str],
    *,
    seed: int = 0,
    draws: int = 2000,
) -> ErrorRate:
    """The error rate of a set of utterances with its 95 % percentile bootstrap interval.

    Where there are ten speakers or more, whole speakers are drawn; below that utterances are drawn within
    each speaker, so that the interval holds for these speakers only.

    Parameters
    ----------
    edits, lengths
        Edit distance and number of reference symbols of each utterance.
    speakers
        Who said each utterance.

    Raises
    ------
    IntrospectError
        The references hold no symbol.
    """
    counts = np.stack([np.asarray(edits, dtype=np.int64), np.asarray(lengths, dtype=np.int64)], axis=-1)
    total_edits, total_length = (int(part) for part in counts.sum(0)) if len(counts) else (0, 0)
    if total_length == 0:
        raise IntrospectError("there is no reference text to score against")
    groups = [counts[[name == speaker for name in speakers]] for speaker in sorted(set(speakers))]
    random = generator(seed, "error rate bootstrap")
    if len(groups) >= ENOUGH_SPEAKERS:
        sums = _drawn_sums(np.stack([group.sum(0) for group in groups]), draws, random)
    elif any(len(group) > 1 for group in groups):
        sums = sum((_drawn_sums(group, draws, random) for group in groups), np.zeros((draws, 2), np.int64))
    else:
        return ErrorRate(total_edits, total_length, total_edits / total_length, float("nan"), float("nan"))
    rates = sums[:, 0] / np.maximum(sums[:, 1], 1)
    low, high = (float(edge) for edge in np.quantile(rates, [0.025, 0.975]))
    return ErrorRate(total_edits, total_length, total_edits / total_length, low, high)


def _drawn_sums(counts: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """Sums over rows drawn with replacement, ``(draws, columns)``; ``counts`` is ``(rows, columns)``."""
    rows = len(counts)
    times = random.multinomial(rows, np.full(rows, 1 / rows), size=draws)
    return np.asarray(times @ counts)
