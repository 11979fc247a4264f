"""Agreement of windows: against scikit-learn-like brute force, and on alignments that are known to be
right.
"""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.evaluation import (
    agreement,
    cut_windows,
    explained_difference,
    explained_interval,
    halves,
)


def planted(jitter: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of noise in which each of three groups has a shape of its own; where it lies, and a jittered
    place.
    """
    random = np.random.default_rng(seed)
    shapes = random.normal(size=(3, 7, 4)) * 3
    windows, shifted, group, utterance = [], [], [], []
    for u in range(10):
        rows = random.normal(size=(400, 4))
        at = np.arange(10, 390, 20)
        label = random.integers(0, 3, len(at))
        for place, each in zip(at, label, strict=True):
            rows[place - 3 : place + 4] += shapes[each]
        windows.append(cut_windows(rows, at, -3, 7))
        shifted.append(cut_windows(rows, at + random.integers(-jitter, jitter + 1, len(at)), -3, 7))
        group.append(label)
        utterance.append(np.full(len(at), u))
    return tuple(np.concatenate(part) for part in (windows, shifted, group, utterance, utterance))  # type: ignore


def test_the_right_alignment_explains_more_than_a_jittered_one() -> None:
    windows, shifted, group, utterance, _ = planted(4)
    right, wrong = agreement(windows, group, utterance), agreement(shifted, group, utterance)
    assert right.explained > 0.5 > wrong.explained
    assert right.correlation > wrong.correlation > 0
    assert right.low < right.explained < right.high
    difference, low, high = explained_difference(right, wrong)
    assert 0 < low < difference < high
    assert explained_difference(right, right) == (0.0, 0.0, 0.0)


def test_noise_that_peaks_at_the_anchor_explains_nothing_in_the_other_half() -> None:
    """Labels that mean nothing: cross-validated variance explained is not above 0."""
    windows, _, group, utterance, _ = planted(0)
    noise = np.random.default_rng(3).normal(size=windows.shape)
    found = agreement(noise, group, utterance)
    assert found.explained < 0.0
    assert abs(found.correlation) < 0.05


def test_equal_to_doing_it_by_hand_with_missing_cells() -> None:
    windows, _, group, utterance, _ = planted(0)
    windows[::5, :2] = np.nan
    found = agreement(windows, group, utterance, seed=7)
    half = halves(utterance, 7)
    centred = windows - np.nanmean(windows, axis=(0, 1))
    errors = totals = 0.0
    correlations = []
    for i in range(len(windows)):
        other = centred[(half != half[i]) & (group == group[i])]
        cells = np.isfinite(centred[i])
        errors += np.square(centred[i] - np.nanmean(other, 0))[cells].sum()
        totals += np.square(centred[i])[cells].sum()
    assert found.explained == pytest.approx(1 - errors / totals)
    full = np.flatnonzero(np.isfinite(windows).all((1, 2)))
    whole = agreement(windows[full], group[full], utterance[full], seed=7)
    mean = windows[full].mean((0, 1))
    for a in range(len(full)):
        for b in range(a):
            i, j = full[a], full[b]
            if group[i] == group[j] and half[i] != half[j]:
                pair = ((windows[i] - mean).ravel(), (windows[j] - mean).ravel())
                correlations.append(np.corrcoef(*pair)[0, 1])
    assert np.array_equal(halves(utterance[full], 7), half[full])
    assert whole.correlation == pytest.approx(np.mean(correlations))


def test_nothing_to_compare() -> None:
    assert np.isnan(agreement(np.zeros((0, 3, 2)), np.zeros(0, int), np.zeros(0, int)).explained)
    one = agreement(np.ones((4, 3, 2)), np.zeros(4, int), np.zeros(4, int))
    assert one.count == 0
    assert np.isnan(one.explained)
    assert np.isnan(explained_interval(np.ones(1), np.ones(1))[0])


def test_windows_beyond_the_ends_are_missing() -> None:
    found = cut_windows(np.arange(8.0).reshape(4, 2), np.array([0, 3]), -1, 3)
    assert np.isnan(found[0, 0]).all()
    assert np.isnan(found[1, 2]).all()
    assert found[0, 1:, 0].tolist() == [0, 2]
