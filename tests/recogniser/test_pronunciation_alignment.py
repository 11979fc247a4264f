"""Words by their pronunciations: against every choice of pronunciations, each aligned alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.random import generator
from asr_introspect.recogniser.alignment import best_path
from asr_introspect.recogniser.pronunciation_alignment import (
    REACH_STEPS,
    PronouncedWord,
    Variants,
    align_pronunciations,
    filled,
)


def posteriors(steps: int, classes: int, *seed: int) -> np.ndarray:
    logits = generator(0, "pronunciations", *seed).normal(0, 2, (steps, classes))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def score(log_posteriors: np.ndarray, targets: list[int]) -> float:
    """Of the best path that spells these targets."""
    states = best_path(log_posteriors, targets)
    classes = [0 if state % 2 == 0 else targets[state // 2] for state in states]
    return float(log_posteriors[np.arange(len(classes)), classes].sum())


def own_score(log_posteriors: np.ndarray, found: list[PronouncedWord], words: list[Variants]) -> float:
    """Of the path that the spans describe: their classes, blanks elsewhere."""
    classes = np.zeros(len(log_posteriors), int)
    for word, variants in zip(found, words, strict=True):
        for span in word.spans:
            classes[span.first : span.last + 1] = variants[word.variant][span.target]
    return float(log_posteriors[np.arange(len(classes)), classes].sum())


WORDS: list[list[Variants]] = [
    [[[1, 2]], [[3]]],
    [[[1, 2], [1, 1, 2], [3]], [[2, 1], [2]]],
    [[[1], [2]], [[1], [2]], [[2, 2], [1, 2, 1]]],
    [[[1, 2, 3], [3, 2, 1]], [[3]], [[3, 1], [1]]],
]


@pytest.mark.parametrize("number", range(len(WORDS)))
def test_the_best_of_all_choices_of_pronunciations(number: int) -> None:
    words = WORDS[number]
    for seed in range(20):
        found_in = posteriors(12, 4, number, seed)
        totals = {}
        for choice in itertools.product(*(range(len(variants)) for variants in words)):
            targets = [s for i, variants in zip(choice, words, strict=True) for s in variants[i]]
            totals[choice] = score(found_in, targets)
        found = align_pronunciations(found_in, words)
        best = max(totals.values())
        assert own_score(found_in, found, words) == pytest.approx(best, abs=1e-9)
        assert totals[tuple(word.variant for word in found)] == pytest.approx(best, abs=1e-9)
        spans = [span for word in found for span in word.spans]
        assert all(a.last < b.first for a, b in itertools.pairwise(spans))


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 99)
)
def test_one_pronunciation_each_is_the_alignment_of_their_symbols(words: list[list[int]], seed: int) -> None:
    """Ties too: posteriors of few values have many equal paths."""
    found_in = generator(0, "ties", seed).integers(-2, 1, (18, 4)).astype(float)
    targets = [symbol for word in words for symbol in word]
    path = best_path(found_in, targets)
    apart = align_pronunciations(found_in, [[word] for word in words])
    spans = [(span.first, span.last) for word in apart for span in word.spans]
    whole = [np.flatnonzero(path == 2 * i + 1) for i in range(len(targets))]
    assert spans == [(steps[0], steps[-1]) for steps in whole]


def test_of_equal_pronunciations_the_first_is_taken() -> None:
    flat = np.log(np.full((9, 4), 0.25))
    found = align_pronunciations(flat, [[[1], [2], [3]], [[3], [1]]])
    assert [word.variant for word in found] == [0, 0]


def test_a_longer_pronunciation_that_fits_beats_a_short_one_that_does_not() -> None:
    heard = np.full((8, 4), -9.0)
    for step, symbol in enumerate([0, 1, 0, 2, 3, 0, 1, 0]):
        heard[step, symbol] = -0.01
    words: list[Variants] = [[[1], [1, 2, 3]], [[1], [2]]]
    found = align_pronunciations(heard, words)
    assert [word.variant for word in found] == [1, 0]
    assert [[(s.first, s.last) for s in word.spans] for word in found] == [[(1, 1), (3, 3), (4, 4)], [(6, 6)]]
    assert found[0].spans[0].score == pytest.approx(np.exp(-0.01))


def test_what_cannot_be_aligned() -> None:
    few = posteriors(3, 4)
    with pytest.raises(IntrospectError, match="its phones need 4 steps, there are 3"):
        align_pronunciations(few, [[[1, 2, 3, 1], [1, 1, 1]], [[2]]][:1])
    never = np.zeros((9, 4))
    never[:, 2] = -np.inf
    with pytest.raises(IntrospectError, match="no path"):
        align_pronunciations(never, [[[1]], [[2]]])
    for words in ([[]], [[[]]], [[[1, 0]]]):
        with pytest.raises(UsageError, match="needs a pronunciation"):
            align_pronunciations(few, words)
    assert align_pronunciations(few, []) == []
    with pytest.raises(IntrospectError, match="there are 0"):
        align_pronunciations(np.zeros((0, 4)), [[[1]]])


def spiked(steps: int, spikes: dict[int, int]) -> np.ndarray:
    heard = np.full((steps, 4), -5.0)
    heard[:, 0] = -0.1
    for step, symbol in spikes.items():
        heard[step] = -9.0
        heard[step, symbol] = -0.01
    return heard


def test_gaps_are_shared() -> None:
    heard = spiked(40, {10: 1, 15: 2, 17: 3, 35: 1})
    words: list[Variants] = [[[1, 2]], [[3]], [[1]]]
    found = align_pronunciations(heard, words)
    reach = float(REACH_STEPS)
    assert filled(found, words, heard, "spikes") == [
        [(10, 11), (15, 16)],
        [(17, 18)],
        [(35, 36)],
    ]
    assert filled(found, words, heard) == [
        [(10 - reach, 13), (13, 16.5)],
        [(16.5, 18 + reach)],
        [(35 - reach, 36 + reach)],
    ]
    # In steps 11 and 12 the second phone is already likelier than the first.
    heard[11:15, 1], heard[11:15, 2] = -8.0, -4.0
    heard[11, 1] = -3.0
    assert filled(found, words, heard, "likelihood")[0] == [(10 - reach, 12), (12, 17)]


def test_phones_stay_inside_the_utterance() -> None:
    heard = spiked(4, {0: 1, 3: 2})
    words: list[Variants] = [[[1]], [[2]]]
    found = align_pronunciations(heard, words)
    assert filled(found, words, heard) == [[(0, 2)], [(2, 4)]]
    assert filled([], [], heard) == []
