"""Agreement of windows: against doing it by hand, and on alignments that are known to be right."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.errors import UsageError
from asr_introspect.introspection.evaluation import (
    HalfMeans,
    agreement,
    cut_windows,
    explained_difference,
    halves,
)

UTTERANCES = 10


def planted(jitter: int, seed: int = 0, shared: float = 0.0) -> tuple[np.ndarray, ...]:
    """Windows on the shapes of three groups in noise, jittered ones, group and utterance of each.

    ``shared``: how much of one more shape every group has.
    """
    random = np.random.default_rng(seed)
    shapes = random.normal(size=(3, 7, 4)) * 3
    common = random.normal(size=(7, 4)) * shared
    windows, shifted, group, utterance = [], [], [], []
    for u in range(UTTERANCES):
        rows = random.normal(size=(400, 4))
        at = np.arange(10, 390, 20)
        label = random.integers(0, 3, len(at))
        for place, each in zip(at, label, strict=True):
            rows[place - 3 : place + 4] += shapes[each] + common
        windows.append(cut_windows(rows, at, -3, 7))
        shifted.append(cut_windows(rows, at + random.integers(-jitter, jitter + 1, len(at)), -3, 7))
        group.append(label)
        utterance.append(np.full(len(at), u))
    return tuple(np.concatenate(part) for part in (windows, shifted, group, utterance))


def test_the_right_alignment_explains_more_than_a_jittered_one() -> None:
    windows, shifted, group, utterance = planted(4)
    right, wrong = agreement(windows, group, utterance), agreement(shifted, group, utterance)
    assert right.explained.value > 0.5 > wrong.explained.value
    assert right.correlation.low > wrong.correlation.high > wrong.correlation.low > 0
    assert right.explained.low < right.explained.value < right.explained.high
    difference = explained_difference(right, wrong)
    assert 0 < difference.low < difference.value < difference.high
    same = explained_difference(right, right)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_what_every_group_shares_is_told_from_what_is_its_own() -> None:
    windows, _, group, utterance = planted(0, shared=6.0)
    found = agreement(windows, group, utterance)
    assert found.explained.value > 0.8
    assert 0.5 < found.average < found.explained.value - 0.1
    alone = agreement(planted(0)[0], group, utterance)
    assert alone.average < alone.explained.value - 0.3


def test_labels_that_mean_nothing_explain_nothing_in_the_other_half() -> None:
    windows, _, group, utterance = planted(0)
    random = np.random.default_rng(3)
    found = [agreement(random.normal(size=windows.shape), group, utterance) for _ in range(10)]
    # Of a mean of n windows -1/n: n = 190 in 3 groups and 2 halves.
    assert np.mean([each.explained.value for each in found]) == pytest.approx(-1 / 32, abs=0.01)
    assert abs(np.mean([each.correlation.value for each in found])) < 0.005
    assert sum(each.correlation.holds(0.0) for each in found) >= 7
    assert abs(np.mean([each.signal.value for each in found])) < 0.005
    assert sum(each.signal.holds(0.0) for each in found) >= 7


def test_the_signal_is_the_share_of_the_shapes_however_few_windows() -> None:
    windows, _, group, utterance = planted(0)
    shapes = np.stack([windows[group == g].mean(0) for g in range(3)])
    middle = windows.mean((0, 1))
    true = np.mean(np.square(shapes - middle)[group]) / np.mean(np.square(windows - middle))
    whole, few = agreement(windows, group, utterance), agreement(windows[::5], group[::5], utterance[::5])
    assert whole.signal.value == pytest.approx(true, abs=0.02)
    assert whole.signal.low < true < whole.signal.high
    assert few.signal.value == pytest.approx(true, abs=0.05)
    assert few.explained.value < whole.explained.value - 0.005


def by_hand(
    windows: np.ndarray, group: np.ndarray, utterance: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    """Explained, explained by the average, signal, mean correlation of all pairs, from their definitions."""
    half = halves(UTTERANCES, seed)[utterance]
    centred = windows - np.nanmean(windows, axis=(0, 1))
    left = np.zeros(3)
    product = 0.0
    correlations = []
    for i in range(len(windows)):
        own, every = centred[(half != half[i]) & (group == group[i])], centred[half != half[i]]
        cells = np.isfinite(centred[i])
        for j, mean in enumerate((np.nanmean(own, 0), np.nanmean(every, 0), np.zeros(windows.shape[1:]))):
            left[j] += np.square(centred[i] - mean)[cells].sum()
        product += (centred[i] * np.nanmean(own, 0))[cells].sum()
        units = [np.where(np.isfinite(w), w - np.nanmean(w), 0).ravel() for w in (centred[i], *own)]
        one, *others = [each / np.linalg.norm(each) for each in units]
        correlations += [float(one @ other) for other in others]
    explained, average = 1 - left[:2] / left[2]
    return float(explained), float(average), float(product / left[2]), float(np.mean(correlations))


def test_equal_to_doing_it_by_hand_with_missing_cells() -> None:
    windows, _, group, utterance = planted(0, shared=1.0)
    windows[::5, :2] = np.nan
    windows[1::7, 4:] = np.nan
    found = agreement(windows, group, utterance, seed=7)
    explained, average, signal, correlation = by_hand(windows, group, utterance, 7)
    assert found.explained.value == pytest.approx(explained, abs=1e-5)
    assert found.average == pytest.approx(average, abs=1e-5)
    assert found.signal.value == pytest.approx(signal, abs=1e-5)
    assert found.correlation.value == pytest.approx(correlation, abs=1e-5)
    assert found.count == len(windows)


def test_a_channel_far_from_zero_loses_nothing() -> None:
    """Float32 sums are about a constant per channel: mean 1000, deviation 1."""
    windows, _, group, utterance = planted(0)
    found, wanted = agreement(windows + 1000.0, group, utterance), agreement(windows, group, utterance)
    assert found.explained.value == pytest.approx(wanted.explained.value, abs=1e-4)
    assert found.correlation.value == pytest.approx(wanted.correlation.value, abs=1e-4)


def test_cut_from_activations_or_given_as_windows() -> None:
    """Three passes over whole utterances, windows over their ends, equal to the windows cut out."""
    random = np.random.default_rng(5)
    spoken = [random.normal(size=(60 + 9 * u, 3)).astype(np.float32) for u in range(6)]
    at = [random.integers(-2, len(rows) + 2, 25) for rows in spoken]
    group = [random.integers(0, 2, 25) for _ in spoken]
    speakers = ["a", "a", "a", "b", "b", "b"]
    means = HalfMeans(2, halves(6, 0), -4, 9, 3)
    for take in (means.add, means.compare, means.correlate):
        for u, rows in enumerate(spoken):
            take(rows, at[u], group[u], u)
    found = means.agreement(speakers)
    windows = np.concatenate([cut_windows(rows, q, -4, 9) for rows, q in zip(spoken, at, strict=True)])
    utterance = np.repeat(np.arange(6), 25)
    wanted = agreement(windows, np.concatenate(group), utterance, np.array(speakers)[utterance])
    assert found.explained.value == pytest.approx(wanted.explained.value, abs=1e-6)
    assert found.correlation.low == pytest.approx(wanted.correlation.low, abs=1e-6)


def test_the_interval_of_the_correlation_is_that_of_drawn_utterances() -> None:
    """To first order: against products of all pairs weighted by how often both are drawn."""
    from asr_introspect.introspection.bootstrap import utterance_weights

    windows, _, group, utterance = planted(2)
    found = agreement(windows, group, utterance)
    centred = (windows - windows.mean((0, 1))).reshape(len(windows), -1)
    centred -= centred.mean(1, keepdims=True)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    half = halves(UTTERANCES, 0)[utterance]
    pairs = (half[:, None] != half) & (group[:, None] == group)
    weights = utterance_weights([""] * UTTERANCES)
    assert weights is not None
    drawn = []
    for weight in weights[:200, utterance]:
        times = weight[:, None] * weight * pairs
        drawn.append((units @ units.T * times).sum() / times.sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.correlation.high - found.correlation.low == pytest.approx(high - low, rel=0.25)


def test_nothing_to_compare() -> None:
    none = agreement(np.zeros((0, 3, 2)), np.zeros(0, int), np.zeros(0, int))
    assert np.isnan(none.explained.value)
    one = agreement(np.ones((4, 3, 2)), np.zeros(4, int), np.zeros(4, int))
    assert one.count == 0
    assert np.isnan(one.explained.value)


def test_a_hole_in_a_window_is_an_error() -> None:
    windows = np.ones((4, 5, 2))
    windows[1, 2] = np.nan
    with pytest.raises(UsageError, match="whole positions"):
        agreement(windows, np.zeros(4, int), np.arange(4))
    windows[1] = 1.0
    windows[2, 0, 1] = np.nan
    with pytest.raises(UsageError, match="whole positions"):
        agreement(windows, np.zeros(4, int), np.arange(4))


def test_windows_beyond_the_ends_are_missing() -> None:
    found = cut_windows(np.arange(8.0).reshape(4, 2), np.array([0, 3]), -1, 3)
    assert np.isnan(found[0, 0]).all()
    assert np.isnan(found[1, 2]).all()
    assert found[0, 1:, 0].tolist() == [0, 2]
