"""Clustered standard errors: the formula written out, a known spread, what cannot be known."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.errors import UsageError
from asr_introspect.introspection.moments import Moments
from asr_introspect.introspection.pattern_errors import (
    AVERAGES,
    UtteranceWindows,
    average_weights,
    difference_errors,
)

FIRST, POSITIONS, CHANNELS = -4, 7, 3
GROUPS = ("A", "B", "C", " ", "A|right")
INSIDE = np.array([True, True, True, False, False])


def spoken(random: np.random.Generator, instances: int) -> UtteranceWindows:
    rows = random.normal(size=(40, CHANNELS)) + random.normal(size=CHANNELS)
    position = np.sort(random.choice(40, instances, replace=False))
    return UtteranceWindows(rows.astype(np.float32), position, random.integers(-1, 5, instances))


def sums_of(utterances: list[UtteranceWindows]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums, sums of squares and counts ``(U, G, P, C)``, from windows cut by slicing."""
    shape = (len(utterances), len(GROUPS), POSITIONS, CHANNELS)
    sums, squares, counts = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for u, one in enumerate(utterances):
        padded = np.pad(one.rows.astype(float), ((10, 10), (0, 0)), constant_values=np.nan)
        for q, group in zip(one.position, one.group, strict=True):
            if group >= 0:
                window = padded[q + FIRST + 10 :][:POSITIONS]
                counts[u, group] += np.isfinite(window)
                sums[u, group] += np.nan_to_num(window)
                squares[u, group] += np.nan_to_num(window) ** 2
    return sums, squares, counts


def moments_of(utterances: list[UtteranceWindows]) -> Moments:
    sums, squares, counts = (each.sum(0) for each in sums_of(utterances))
    mean = sums / np.maximum(counts, 1)
    m2 = squares - counts * mean**2
    return Moments(GROUPS, counts[..., 0].astype(np.int64), mean.transpose(0, 2, 1), m2.transpose(0, 2, 1))


def plain_errors(utterances: list[UtteranceWindows], average: str) -> np.ndarray:
    """``sqrt(sum_u d_u^2)``."""
    sums, _, counts = sums_of(utterances)
    total = counts.sum(0)
    mean = sums.sum(0) / total
    weights = INSIDE[:, None, None] * (np.ones_like(total) if average == "groups" else total)
    weights = weights / weights.sum(0)
    own = (sums - counts * mean) / total
    difference = own - (weights * own).sum(1, keepdims=True)
    return np.sqrt((difference**2).sum(0)).transpose(0, 2, 1)


def test_errors_are_those_of_the_formula() -> None:
    random = np.random.default_rng(1)
    utterances = [spoken(random, n) for n in (20, 35, 8, 40, 1)]
    found = difference_errors(moments_of(utterances), INSIDE, FIRST, utterances)
    for average in AVERAGES:
        np.testing.assert_allclose(found.error[average], plain_errors(utterances, average), rtol=1e-9)
    # Plain letters, space and a split group: the same formula with the average over letters.
    assert found.error["groups"].shape == (5, CHANNELS, POSITIONS)
    assert found.utterances.max() <= 5


def test_the_error_is_the_spread_over_corpora() -> None:
    """150 corpora of 25 utterances, each with a voice of its own and a voice's own way of saying A: the mean
    standard error is the standard deviation of the difference.
    """
    random = np.random.default_rng(2)
    differences, errors, naive = [], [], []
    for _ in range(150):
        utterances = []
        for _ in range(25):
            rows = random.normal(size=(40, CHANNELS)) + 3 * random.normal(size=CHANNELS)
            position, group = np.arange(5, 35, 3), np.arange(10) % 3
            rows[position[group == 0]] += random.normal(size=CHANNELS)
            utterances.append(UtteranceWindows(rows.astype(np.float32), position, group))
        moments = moments_of(utterances)
        weights = average_weights(moments.count, INSIDE, "groups")
        difference = moments.mean[0] - (weights[:, None] * moments.mean).sum(0)
        found = difference_errors(moments, INSIDE, FIRST, utterances)
        differences.append(difference[:, -FIRST])
        errors.append(found.error["groups"][0, :, -FIRST])
        naive.append(np.sqrt(moments.m2[0] / moments.count[0] ** 2)[:, -FIRST])
    spread = np.std(differences, axis=0).mean()
    assert abs(np.mean(errors) / spread - 1) < 0.1
    # Letters taken for independent: what the voices share, and the difference does not hold, is noise there.
    assert np.mean(naive) / spread > 1.5


def test_a_group_of_one_utterance_has_no_error() -> None:
    random = np.random.default_rng(3)
    utterances = [spoken(random, 20) for _ in range(4)]
    for one in utterances[1:]:
        one.group[one.group == 2] = 0
    found = difference_errors(moments_of(utterances), INSIDE, FIRST, utterances)
    assert np.isnan(found.error["groups"][2]).all()
    assert np.isfinite(found.error["groups"][0]).all()


def test_other_windows_than_the_first_pass_saw() -> None:
    random = np.random.default_rng(4)
    utterances = [spoken(random, 20) for _ in range(4)]
    with pytest.raises(UsageError, match="has changed"):
        difference_errors(moments_of(utterances), INSIDE, FIRST, utterances[:-1])


def test_weights_sum_to_one_where_there_is_a_group() -> None:
    count = np.array([[4, 0], [2, 0], [0, 0], [9, 9], [1, 1]])
    alike = average_weights(count, INSIDE, "groups")
    np.testing.assert_array_equal(alike, [[0.5, 0], [0.5, 0], [0, 0], [0, 0], [0, 0]])
    by_counts = average_weights(count, INSIDE, "counts")
    np.testing.assert_allclose(by_counts[:2, 0], [2 / 3, 1 / 3])
