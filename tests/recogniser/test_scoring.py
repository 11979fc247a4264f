"""Edits and error rates against brute force and jiwer."""

from functools import cache

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_introspect.errors import IntrospectError
from asr_introspect.random import generator
from asr_introspect.recogniser.scoring import (
    Edits,
    edit_alignment,
    edit_distance,
    edits,
    error_rate,
    right,
)

WORDS = st.text(alphabet="AB '", max_size=7)


@cache
def minimal_alignments(hypothesis: str, reference: str) -> tuple[int, list[tuple[str, ...]]]:
    """The edit distance and all scripts (match or substitution, deletion, insertion) that attain it."""
    if not hypothesis and not reference:
        return 0, [()]
    options = []
    if hypothesis and reference:
        cost, scripts = minimal_alignments(hypothesis[:-1], reference[:-1])
        options.append((cost + (hypothesis[-1] != reference[-1]), "both", scripts))
    if reference:
        cost, scripts = minimal_alignments(hypothesis, reference[:-1])
        options.append((cost + 1, "deletion", scripts))
    if hypothesis:
        cost, scripts = minimal_alignments(hypothesis[:-1], reference)
        options.append((cost + 1, "insertion", scripts))
    least = min(cost for cost, _, _ in options)
    return least, [(*s, step) for cost, step, scripts in options if cost == least for s in scripts]


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS)
def test_alignment_is_minimal_and_breaks_ties_as_documented(hypothesis: str, reference: str) -> None:
    least, scripts = minimal_alignments(hypothesis, reference)
    pairs = edit_alignment(hypothesis, reference)
    script = tuple("deletion" if i is None else "insertion" if j is None else "both" for i, j in pairs)
    order = ("both", "deletion", "insertion")
    assert script == min(scripts, key=lambda s: [order.index(step) for step in reversed(s)])
    assert [i for i, _ in pairs if i is not None] == list(range(len(hypothesis)))
    assert [j for _, j in pairs if j is not None] == list(range(len(reference)))
    assert edits(hypothesis, reference).total == edit_distance(hypothesis, reference) == least


def test_known_counts() -> None:
    assert edits("SITTING", "KITTEN") == Edits(substitutions=2, insertions=1, deletions=0)
    assert edits("", "ABC") == Edits(0, 0, 3)
    assert edits([1, 2], []) == Edits(0, 2, 0)


def test_letter_and_word_errors_equal_jiwer() -> None:
    random = generator(0, "scoring")
    references = ["".join(random.choice(list("ABC '"), 40)) for _ in range(30)]
    references = [" ".join(line.split()) for line in references]
    hypotheses = [" ".join((line[:5] + "B" + line[8:-2]).split()) for line in references]
    letters = error_rate(
        [edit_distance(h, r) for h, r in zip(hypotheses, references, strict=True)],
        [len(r) for r in references],
        ["one"] * 30,
    )
    assert letters.rate == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    words = error_rate(
        [edit_distance(h.split(), r.split()) for h, r in zip(hypotheses, references, strict=True)],
        [len(r.split()) for r in references],
        ["one"] * 30,
    )
    assert words.rate == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)


def test_right_marks_the_letters_that_match() -> None:
    assert right("CAAT", "CAT").tolist() == [True, False, True, True]
    assert right("HXLLO", "HELLO").tolist() == [True, False, True, True, True]
    assert right("", "A").tolist() == []


def test_fewer_than_ten_speakers_are_kept_and_their_utterances_drawn() -> None:
    # Within each speaker all utterances are alike, so drawing within speakers cannot change the rate.
    found = error_rate([1, 1, 9, 9], [10, 10, 10, 10], ["a", "a", "b", "b"])
    assert (found.rate, found.low, found.high) == (0.5, 0.5, 0.5)


def test_ten_speakers_are_drawn_whole() -> None:
    # Between speakers they differ: with ten of them the interval must show it.
    speakers = [f"s{number}" for number in range(10) for _ in range(5)]
    errors = [1 if speaker < "s5" else 9 for speaker in speakers]
    found = error_rate(errors, [10] * 50, speakers)
    expected = np.sqrt(0.4**2 / 10) * 1.96
    assert found.high - found.rate == pytest.approx(expected, rel=0.15)
    assert found.rate - found.low == pytest.approx(expected, rel=0.15)


def test_the_interval_covers_as_often_as_it_says() -> None:
    covered = 0
    for draw in range(200):
        random = generator(draw, "coverage")
        lengths = random.integers(20, 60, 80)
        found = error_rate(random.binomial(lengths, 0.3), lengths, ["a", "b"] * 40, seed=draw, draws=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_same_seed_same_interval() -> None:
    random = generator(0, "seeds")
    arguments = (random.integers(0, 9, 30), random.integers(10, 20, 30), ["a", "b", "c"] * 10)
    assert error_rate(*arguments, seed=3) == error_rate(*arguments, seed=3)
    assert error_rate(*arguments, seed=3) != error_rate(*arguments, seed=4)


def test_one_utterance_has_no_interval() -> None:
    found = error_rate([1], [4], ["a"])
    assert found.rate == 0.25
    assert np.isnan([found.low, found.high]).all()


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(IntrospectError, match="no reference text"):
        error_rate([], [], [])
