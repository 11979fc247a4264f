"""Forced alignment of words by their pronunciations: when each phone is emitted, and which variant is heard.

The CTC lattice of :mod:`asr_introspect.recogniser.alignment` with all pronunciations of a word side by side
between the blanks of its borders; the most likely path through it chooses one of each word. Exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from asr_introspect.compiled import EXACT, compiled
from asr_introspect.corpus.transcripts import minimum_steps
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.recogniser.alignment import Span

Variants = Sequence[Sequence[int]]
"""The pronunciations of a word, as classes of the recogniser."""

Fill = Literal["midpoints", "likelihood", "spikes"]

REACH_STEPS = 3
"""So far a phone may reach beyond the steps that carry it, towards a pause *(choice: of 1 to 10 the one with
most boundaries within 50 ms of PocketSphinx's on development speech)*."""


@dataclass(frozen=True)
class PronouncedWord:
    """A word in time: ``variant`` is the pronunciation that fits best, ``spans`` has one entry per phone.

    ``Span.target`` is the phone's place in that pronunciation.
    """

    variant: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class _Lattice:
    """States of the lattice: class, predecessors (as a flat list and where each state's begin), place."""

    symbols: np.ndarray
    before: np.ndarray
    begins: np.ndarray
    first: np.ndarray
    last: np.ndarray
    places: list[tuple[int, int, int] | None]


def align_pronunciations(
    log_posteriors: np.ndarray, words: Sequence[Variants], blank: int = 0
) -> list[PronouncedWord]:
    """The most likely CTC path that spells one pronunciation of each word in turn.

    Of paths of equal probability it is the one that is furthest along, compared from the last step backwards,
    with the first of equal pronunciations *(choice)*; with one pronunciation each it is
    :func:`~asr_introspect.recogniser.alignment.best_path`'s.

    Parameters
    ----------
    log_posteriors
        ``(U, V)``.
    words
        For each word its pronunciations; none of them empty.

    Raises
    ------
    UsageError
        A word has no pronunciation, one is empty or holds the blank.
    IntrospectError
        The steps are too few, or no path has a probability above zero.
    """
    for variants in words:
        if not variants or any(not len(variant) or blank in variant for variant in variants):
            raise UsageError("every word needs a pronunciation of at least one symbol that is not the blank")
    if not words:
        return []
    lattice = _lattice(words, blank)
    scores = np.ascontiguousarray(log_posteriors, dtype=np.float64)
    path, total = _best_path(
        scores, lattice.symbols, lattice.before, lattice.begins, lattice.first, lattice.last
    )
    if not np.isfinite(total):
        needed = sum(min(minimum_steps(variant) for variant in variants) for variants in words)
        if needed > len(scores):
            raise IntrospectError(
                f"the transcript is too long for its audio: its phones need {needed} steps, there are "
                f"{len(scores)}"
            )
        raise IntrospectError("no path through the posteriors spells the words")
    return _words(path, lattice, scores, len(words))


def _lattice(words: Sequence[Variants], blank: int) -> _Lattice:
    symbols: list[int] = []
    before: list[list[int]] = []
    places: list[tuple[int, int, int] | None] = []

    def add(symbol: int, predecessors: Sequence[int], place: tuple[int, int, int] | None) -> int:
        state = len(symbols)
        symbols.append(symbol)
        before.append([state, *predecessors])
        places.append(place)
        return state

    ends: list[int] = []
    first = [0]
    for number, variants in enumerate(words):
        border = add(blank, ends, None)
        own_ends = []
        for choice, variant in enumerate(variants):
            last = None
            for position, symbol in enumerate(variant):
                if last is None:
                    reached = [border, *(end for end in ends if symbols[end] != symbol)]
                else:
                    gap = add(blank, [last], None)
                    reached = [gap, *([last] if symbols[last] != symbol else [])]
                last = add(symbol, reached, (number, choice, position))
                if number == 0 and position == 0:
                    first.append(last)
            assert last is not None
            own_ends.append(last)
        ends = own_ends
    final = add(blank, ends, None)
    begins = np.cumsum([0, *map(len, before)])
    flat = np.array([state for states in before for state in states], np.int64)
    return _Lattice(np.array(symbols), flat, begins, np.array(first), np.array([final, *ends]), places)


def _best_states(
    scores: np.ndarray,
    symbols: np.ndarray,
    before: np.ndarray,
    begins: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Best states per step and their summed score; -inf where there is no path."""
    steps, count = len(scores), len(symbols)
    path = np.zeros(steps, np.int64)
    if steps == 0:
        return path, -np.inf
    came = np.zeros((steps, count), np.int32)
    here = np.full(count, -np.inf)
    there = np.full(count, -np.inf)
    for state in first:
        here[state] = scores[0, symbols[state]]
    for step in range(1, steps):
        for state in range(count):
            best = -np.inf
            chosen = state
            for k in range(begins[state], begins[state + 1]):
                if here[before[k]] > best:
                    best = here[before[k]]
                    chosen = before[k]
            there[state] = best + scores[step, symbols[state]]
            came[step, state] = chosen
        here, there = there, here
    state = last[0]
    for other in last[1:]:
        if here[other] > here[state]:
            state = other
    total = here[state]
    for step in range(steps - 1, -1, -1):
        path[step] = state
        state = came[step, state]
    return path, total


_best_path = compiled(_best_states, EXACT)


def _words(path: np.ndarray, lattice: _Lattice, scores: np.ndarray, count: int) -> list[PronouncedWord]:
    spans: list[list[Span]] = [[] for _ in range(count)]
    variants = [0] * count
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    for begin, end in pairwise(edges):
        place = lattice.places[path[begin]]
        if place is None:
            continue
        number, variants[number], position = place
        carried = np.exp(scores[begin:end, lattice.symbols[path[begin]]])
        best = int(begin + carried.argmax())
        spans[number].append(Span(position, int(begin), int(end) - 1, best, float(carried.mean())))
    return [PronouncedWord(variant, tuple(own)) for variant, own in zip(variants, spans, strict=True)]


def filled(
    words: Sequence[PronouncedWord],
    pronunciations: Sequence[Variants],
    log_posteriors: np.ndarray,
    fill: Fill = "midpoints",
) -> list[list[tuple[float, float]]]:
    """For each phone of each word from which step to which it lasts, ends exclusive, halves of steps allowed.

    CTC emits a phone in few steps, mostly one, and blanks between. What lies between two phones is shared:

    - ``midpoints``: they meet in the middle; on development speech the nearest to PocketSphinx's boundaries
      (71 % within 20 ms, 94 % within 50 ms, against 57 and 89 % by ``likelihood``);
    - ``likelihood``: they meet where the first one's posteriors before and the second one's after it have the
      largest product;
    - ``spikes``: not at all: a phone has the steps that carry it.

    Between words, and before the first and after the last one, a phone reaches no further than
    :data:`REACH_STEPS`: what is left is a pause.

    Parameters
    ----------
    words, pronunciations
        The result and the words of :func:`align_pronunciations`.
    log_posteriors
        ``(U, V)``.
    """
    spans = [span for word in words for span in word.spans]
    classes = [
        pronounced[word.variant][span.target]
        for word, pronounced in zip(words, pronunciations, strict=True)
        for span in word.spans
    ]
    begins_word = {int(at) for at in np.cumsum([0, *(len(word.spans) for word in words)])}
    starts = [float(span.first) for span in spans]
    ends = [float(span.last + 1) for span in spans]
    if fill != "spikes" and spans:
        starts[0] = max(starts[0] - REACH_STEPS, 0.0)
        ends[-1] = min(ends[-1] + REACH_STEPS, float(len(log_posteriors)))
        for k in range(len(spans) - 1):
            gap = spans[k + 1].first - spans[k].last - 1
            if k + 1 in begins_word and gap > 2 * REACH_STEPS:
                ends[k], starts[k + 1] = ends[k] + REACH_STEPS, starts[k + 1] - REACH_STEPS
            elif fill == "midpoints":
                ends[k] = starts[k + 1] = ends[k] + gap / 2
            else:
                between = log_posteriors[spans[k].last + 1 : spans[k + 1].first]
                ends[k] = starts[k + 1] = ends[k] + _cut(between[:, classes[k]], between[:, classes[k + 1]])
    times = iter(zip(starts, ends, strict=True))
    return [[next(times) for _ in word.spans] for word in words]


def _cut(one: np.ndarray, other: np.ndarray) -> int:
    """How many of the first steps are the one's, the rest the other's; of equals the middle one."""
    totals = np.concatenate([[0.0], np.cumsum(one)]) + np.concatenate([[0.0], np.cumsum(other[::-1])])[::-1]
    best = np.flatnonzero(totals >= totals.max() - 1e-12)
    return int(best[len(best) // 2])
