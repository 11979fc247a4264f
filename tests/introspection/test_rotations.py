"""Rotation thresholds: equal to a plain loop, near 5 % without structure, exceeded where there is some."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.pattern_errors import UtteranceWindows
from asr_introspect.introspection.profiles import Average
from asr_introspect.introspection.rotations import (
    chosen_utterances,
    largest_statistics,
    rotation_thresholds,
    shortened,
)

FIRST, POSITIONS, CHANNELS = -3, 6, 4
INSIDE = np.array([True, True, True, False])


def spoken(random: np.random.Generator, instances: int, frames: int = 30) -> UtteranceWindows:
    """Noise correlated along time and shared within the utterance, labels without any relation to it."""
    noise = random.normal(size=(frames + 2, CHANNELS))
    rows = noise[:-2] + noise[1:-1] + noise[2:] + random.normal(size=CHANNELS)
    position = np.sort(random.choice(frames, instances, replace=False))
    group = random.integers(-1, len(INSIDE), instances)
    return UtteranceWindows(rows.astype(np.float32), position, group)


def cut(one: UtteranceWindows) -> np.ndarray:
    """Windows ``(N, P, C)``, missing cells NaN, by plain slicing."""
    padded = np.pad(one.rows.astype(np.float64), ((POSITIONS, POSITIONS), (0, 0)), constant_values=np.nan)
    return np.array([padded[q + FIRST + POSITIONS :][:POSITIONS] for q in one.position])


def plain_statistics(utterances: list[UtteranceWindows], turns: np.ndarray, average: str) -> np.ndarray:
    """The definition, cell by cell."""
    windows = [cut(one) for one in utterances]
    labels = [np.roll(one.group, -turn) for one, turn in zip(utterances, turns, strict=True)]
    largest = np.zeros(len(INSIDE))
    for position in range(POSITIONS):
        for channel in range(CHANNELS):
            values = [own[:, position, channel] for own in windows]
            sums = np.zeros((len(utterances), len(INSIDE)))
            counts = np.zeros_like(sums)
            for u, (own, label) in enumerate(zip(values, labels, strict=True)):
                for value, group in zip(own, label, strict=True):
                    if group >= 0 and np.isfinite(value):
                        sums[u, group] += value
                        counts[u, group] += 1
            total = counts.sum(0)
            used = total > 0
            mean = np.where(used, sums.sum(0) / np.maximum(total, 1), 0)
            weights = np.where(INSIDE & used, 1.0 if average == "groups" else total, 0.0)
            weights /= weights.sum()
            deviation = np.where(used, (sums - counts * mean) / np.maximum(total, 1), 0)
            difference = deviation - (weights * deviation).sum(1, keepdims=True)
            error = np.sqrt((difference**2).sum(0))
            statistic = np.abs(mean - (weights * mean).sum()) / np.maximum(error, 1e-10)
            known = (counts > 0).sum(0) > 1
            largest = np.where(known, np.maximum(largest, statistic), largest)
    return np.where(largest > 0, largest, np.nan)


@pytest.mark.parametrize("average", ["groups", "counts"])
@pytest.mark.parametrize("threads", [1, 2])
def test_statistics_are_those_of_the_definition(average: Average, threads: int) -> None:
    random = np.random.default_rng(1)
    utterances = [spoken(random, n) for n in (12, 7, 1, 20)]
    sizes = [len(one.group) for one in utterances]
    turns = np.stack([random.integers(0, size, 6) for size in sizes], axis=1)
    turns[0] = 0
    found = largest_statistics(
        utterances,
        turns,
        INSIDE,
        FIRST,
        POSITIONS,
        average=average,
        threads=threads,
    )
    wanted = np.array([plain_statistics(utterances, own, average) for own in turns])
    np.testing.assert_allclose(found, wanted, rtol=2e-4)


def test_labels_without_structure_exceed_it_in_five_of_a_hundred() -> None:
    """400 corpora of eight utterances, four maps each, drawn anew: family-wise, within a map."""
    random = np.random.default_rng(2)
    exceeded = []
    for corpus in range(400):
        utterances = [spoken(random, 15) for _ in range(8)]
        found = rotation_thresholds(utterances, INSIDE, FIRST, POSITIONS, draws=100, seed=corpus)
        exceeded.append(found.observed > found.threshold)
    rate = np.mean(exceeded)
    deviation = np.sqrt(0.05 * 0.95 / np.size(exceeded))
    # Maps of one corpus share windows: three deviations of independent ones are some two of these.
    assert abs(rate - 0.05) < 3 * deviation, rate


def test_a_group_with_a_pattern_exceeds_it_and_the_others_do_not() -> None:
    random = np.random.default_rng(3)
    utterances = []
    for _ in range(20):
        one = spoken(random, 15)
        rows = one.rows.copy()
        rows[one.position[one.group == 1], 2] += 4
        utterances.append(UtteranceWindows(rows, one.position, one.group))
    found = rotation_thresholds(utterances, INSIDE, FIRST, POSITIONS, draws=200)
    assert found.observed[1] > 2 * found.threshold[1]
    assert found.threshold[1] < 2 * found.threshold[0]
    assert (found.draws, found.utterances) == (200, 20)
    assert found.instances == sum(int((one.group >= 0).sum()) for one in utterances)


def test_same_seed_same_thresholds_and_a_group_of_one_utterance_has_none() -> None:
    random = np.random.default_rng(4)
    utterances = [spoken(random, 10) for _ in range(5)]
    for number, one in enumerate(utterances):
        one.group[one.group == 3] = 3 if number == 0 else 0
    first, again, other = (
        rotation_thresholds(utterances, INSIDE, FIRST, POSITIONS, draws=50, seed=seed).threshold
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first[:3] != other[:3]).any()
    assert np.isnan(first[3])
    assert np.isfinite(first[:3]).all()


def test_nothing_to_draw_from() -> None:
    found = rotation_thresholds(
        [UtteranceWindows(np.zeros((5, CHANNELS), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))],
        INSIDE,
        FIRST,
        POSITIONS,
        draws=10,
    )
    assert np.isnan(found.threshold).all()
    found = rotation_thresholds([], INSIDE, FIRST, POSITIONS, draws=10)
    assert np.isnan(found.threshold).all()
    assert len(found.threshold) == 4
    one = spoken(np.random.default_rng(5), 10)
    assert len(rotation_thresholds([one], INSIDE[:0], FIRST, POSITIONS, draws=10).threshold) == 0


def test_whole_utterances_are_chosen() -> None:
    instances = np.array([100, 0, 50, 70, 200, 30])
    chosen = chosen_utterances(instances, 250, seed=1)
    assert instances[chosen].sum() <= 250
    assert (instances[chosen] > 0).all()
    assert (np.diff(chosen) > 0).all()
    assert len(chosen_utterances(instances, 1000)) == 5
    assert len(chosen_utterances(instances, 5)) == 1
    assert {tuple(chosen_utterances(instances, 250, seed)) for seed in range(20)} != {tuple(chosen)}


def test_an_utterance_of_too_many_windows_is_cut() -> None:
    one = spoken(np.random.default_rng(6), 25)
    short = shortened(one, FIRST, POSITIONS, 10)
    assert len(short.position) == len(short.group) == 10
    np.testing.assert_array_equal(cut(short), cut(one)[:10])
    assert shortened(one, FIRST, POSITIONS, 25) is one
