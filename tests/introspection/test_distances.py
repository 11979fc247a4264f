"""Cross-validated distances against their formulas written out and known truth; nulls without structure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from asr_introspect.introspection.clusters import METRICS, silhouette
from asr_introspect.introspection.distances import (
    Halves,
    Labelled,
    clipped,
    cross_validated,
    draws_for,
    halves,
    known_groups,
    labelled,
    plain,
    separation,
)

CELLS = 24


def speech(
    utterances: int = 14,
    groups: int = 6,
    *,
    each: int = 20,
    seed: int = 0,
    effect: float = 1.0,
    noise: float = 1.0,
    rare: int = 0,
) -> tuple[Labelled, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whole windows of groups with known means, utterances with deviations of their own.

    Returns the labelled sketches, windows, groups, utterances and the true means ``(G, CELLS)``.
    """
    random = np.random.default_rng(seed)
    means = effect * np.random.default_rng(99).normal(size=(groups, CELLS)) + 3.0
    utterance = np.repeat(np.arange(utterances), each)
    chances = np.ones(groups)
    chances[:rare] = 0.1
    group = random.choice(groups, len(utterance), p=chances / chances.sum())
    windows = means[group] + noise * random.normal(size=(len(group), CELLS))
    names = [f"g{i}" for i in range(groups)]
    found = labelled(
        [(names, windows.astype(np.float32), windows.mean(1), group, utterance)],
        [str(i % 3) for i in range(utterances)],
        np.ones(CELLS),
    )
    return found, windows, group, utterance, means


def written_out(
    windows: np.ndarray,
    group: np.ndarray,
    utterance: np.ndarray,
    kind: np.ndarray,
    split: Halves,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The formulas of methods.md, section 4, in float64 with explicit profiles, ``(3, G, G)``."""
    size = len(kind)
    times = np.ones(utterance.max() + 1) if weights is None else weights
    every = []
    for first in split.first:
        inside = first[split.block[utterance]] > 0
        sides = []
        for half in (inside, ~inside):
            means = np.full((size, windows.shape[1]), np.nan)
            for g in range(size):
                own = np.flatnonzero(half & (group == g) & (times[utterance] > 0))
                if len(own):
                    means[g] = np.average(windows[own], axis=0, weights=times[utterance[own]])
            sides.append(means)
        known = np.isfinite(sides[0]).all(1) & np.isfinite(sides[1]).all(1)
        for half in sides:
            half[~known] = np.nan
            for k in np.unique(kind):
                half[kind == k] -= np.nanmean(half[kind == k], 0)
        a, b = sides
        found = np.full((3, size, size), np.nan)
        for i in np.flatnonzero(known):
            for j in np.flatnonzero(known):
                found[0, i, j] = (a[i] - a[j]) @ (b[i] - b[j])
                for place, centre in ((1, False), (2, True)):
                    ai, aj, bi, bj = (v - v.mean() if centre else v for v in (a[i], a[j], b[i], b[j]))
                    if ai @ bi > 0 and aj @ bj > 0:
                        root = np.sqrt((ai @ bi) * (aj @ bj))
                        found[place, i, j] = 1 - (ai @ bj / root + aj @ bi / root) / 2
        every.append(found)
    with np.errstate(invalid="ignore"):
        known_somewhere = np.isfinite(every).any(0)
        return np.where(
            known_somewhere, np.nansum(every, 0) / np.maximum(np.isfinite(every).sum(0), 1), np.nan
        )


@pytest.mark.parametrize("noise", [0.5, 8.0])
def test_distances_are_the_formulas_written_out(noise: float) -> None:
    """With little noise, and with so much that products under roots are negative."""
    found, windows, group, utterance, _ = speech(noise=noise, rare=1)
    split = halves(14, 0)
    ours = cross_validated(found, split)
    wanted = written_out(windows, group, utterance, np.zeros(6, int), split)
    assert np.array_equal(np.isfinite(ours), np.isfinite(wanted))
    np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=2e-3)


def test_resampled_utterances_count_as_often_as_they_were_drawn_and_stay_in_one_half() -> None:
    found, windows, group, utterance, _ = speech()
    split = halves(14, 0)
    weights = np.random.default_rng(5).multinomial(14, np.full(14, 1 / 14)).astype(float)
    assert weights.min() == 0
    ours = cross_validated(found, split, weights=weights)
    np.testing.assert_allclose(
        ours, written_out(windows, group, utterance, np.zeros(6, int), split, weights), rtol=2e-3, atol=2e-3
    )


def test_rotated_labels_are_labels_moved_on_within_their_utterance() -> None:
    found, windows, group, utterance, _ = speech()
    split, rotation = halves(14, 0), np.arange(14) % 5
    moved = np.concatenate([np.roll(group[utterance == u], -rotation[u]) for u in range(14)])
    ours = cross_validated(found, split, rotation=rotation)
    np.testing.assert_allclose(
        ours, written_out(windows, moved, utterance, np.zeros(6, int), split), rtol=2e-3, atol=2e-3
    )


def test_two_kinds_of_labels_have_their_own_averages() -> None:
    one, two = speech(seed=1), speech(seed=2, effect=3.0)
    parts = [
        (["A", "B", "C", "D", "E", "F"], w.astype(np.float32), w.mean(1), g, u)
        for _, w, g, u, _ in (one, two)
    ]
    found = labelled(parts, ["s"] * 14, np.ones(CELLS))
    assert found.groups == ("A", "B", "C", "D", "E", "F") * 2
    assert len(found.utterance) == 28
    split = halves(14, 0)
    windows, group, utterance = (
        np.concatenate([one[n], two[n] + add]) for n, add in ((1, 0), (2, 6), (3, 0))
    )
    group = np.concatenate([one[2], two[2] + 6])
    windows = np.concatenate([one[1], two[1]])
    wanted = written_out(windows, group, utterance, np.repeat([0, 1], 6), split)
    np.testing.assert_allclose(cross_validated(found, split), wanted, rtol=2e-3, atol=2e-3)


def test_a_sketch_is_centred_by_the_mean_of_its_window() -> None:
    """Correlation distances of folded windows with a large common mean are those of whole windows."""
    random = np.random.default_rng(0)
    _, windows, group, utterance, _ = speech(noise=0.2)
    long = np.repeat(windows, 100, 1) + 5 * random.normal(size=(len(windows), 1))
    bins, sign = random.integers(0, 256, long.shape[1]), random.choice([-1.0, 1.0], long.shape[1])
    matrix = np.zeros((long.shape[1], 256))
    matrix[np.arange(long.shape[1]), bins] = sign
    names = [f"g{i}" for i in range(6)]
    parts = [(names, (long @ matrix).astype(np.float32), long.mean(1), group, utterance)]
    found = labelled(parts, ["s"] * 14, matrix.sum(0))
    split = halves(14, 0)
    ours, wanted = (
        cross_validated(found, split)[2],
        written_out(long, group, utterance, np.zeros(6, int), split)[2],
    )
    off = ~np.eye(6, dtype=bool)
    assert np.abs(ours - wanted)[off].mean() < 0.1 * wanted[off].mean()
    np.testing.assert_allclose(plain(found)[2][off], plain_written_out(long, group)[2][off], atol=0.25)


def plain_written_out(windows: np.ndarray, group: np.ndarray) -> np.ndarray:
    means = np.stack([windows[group == g].mean(0) for g in range(group.max() + 1)])
    means -= means.mean(0)
    return np.stack([cdist(means, means, metric) for metric in METRICS])


def test_plain_distances_are_scipys() -> None:
    found, windows, group, _, _ = speech()
    np.testing.assert_allclose(plain(found), plain_written_out(windows, group), atol=1e-5)


def test_squared_distances_are_unbiased_where_plain_ones_are_not() -> None:
    """Two groups are rare: over many corpora the cross-validated mean hits the truth, the plain one not."""
    ours, theirs = [], []
    for seed in range(150):
        found, *_, means = speech(12, seed=seed, effect=0.3, noise=1.0, rare=2)
        ours.append(cross_validated(found, halves(12, seed))[0])
        theirs.append(np.square(plain(found)[0]))
    truth = np.square(cdist(means, means))
    error = np.nanstd(ours, 0) / np.sqrt(np.isfinite(ours).sum(0))
    off = ~np.eye(6, dtype=bool)
    assert (np.abs(np.nanmean(ours, 0) - truth)[off] < 4 * error[off] + 1e-9).all()
    assert (np.mean(theirs, 0) - truth)[0, 1] > 10 * error[0, 1]
    assert (np.array(ours)[:, 0, 1] < 0).any()


def test_rotation_gives_uniform_p_values_without_structure() -> None:
    """Windows that know nothing of labels: p-values of silhouettes and of separations are uniform."""
    found = np.array([rotation_p(speech(10, seed=seed, effect=0.0)[0], seed) for seed in range(60)])
    for p_values in found.T:
        ordered = np.sort(p_values)
        assert np.abs(ordered - (np.arange(60) + 0.5) / 60).max() < 1.63 / np.sqrt(60)  # Kolmogorov, 1 %


def test_rotation_finds_structure() -> None:
    found, *_ = speech(10, 12, each=40, effect=1.0)
    classes = Labelled(**{**found.__dict__, "values": found.values + 2.0 * (found.group % 2)[:, None]})
    assert rotation_p(classes, 0) == pytest.approx((0.01, 0.01))
    weak, *_ = speech(10, 12, each=40, effect=0.3)
    assert rotation_p(weak, 0)[1] == pytest.approx(0.01)


def rotation_p(found: Labelled, seed: int) -> tuple[float, float]:
    """p-values of the silhouette of odd and even groups, and of the separation of all groups."""
    draws = draws_for(found, seed=seed, rotations=99, resamples=1)
    classes = [str(i % 2) for i in range(len(found.groups))]

    def values(rotation: np.ndarray | None) -> tuple[float, float]:
        squared = cross_validated(found, draws.halves, rotation=rotation)[0]
        return silhouette(clipped(squared, "euclidean"), classes), separation(squared)

    own = values(None)
    null = np.array([values(each) for each in draws.rotations])
    first, second = (1 + (null >= own).sum(0)) / 100
    return float(first), float(second)


def test_halves_are_disjoint_even_and_seeded() -> None:
    for utterances in (2, 3, 14, 40, 300):
        split = halves(utterances, 1)
        assert split.first.shape == (20, min(utterances, 40))
        assert (split.first.sum(1) == split.first.shape[1] // 2).all()
        assert np.ptp(np.bincount(split.block)) <= 1
        again = halves(utterances, 1)
        assert np.array_equal(again.block, split.block)
        assert np.array_equal(again.first, split.first)


def test_speakers_are_resampled_where_there_are_ten() -> None:
    found, *_ = speech(24)
    few = draws_for(found, seed=0, rotations=3, resamples=50)
    assert few.unit == "utterances within speakers"
    for speaker in range(3):
        assert (few.weights[:, found.speaker == speaker].sum(1) == 8).all()
    many = Labelled(**{**found.__dict__, "speaker": np.arange(24) // 2})
    ours = draws_for(many, seed=0, rotations=3, resamples=50)
    assert ours.unit == "speakers"
    assert (ours.weights[:, ::2] == ours.weights[:, 1::2]).all()
    assert (ours.weights.sum(1) == 24).all()
    assert (ours.rotations < 20).all()
    assert np.array_equal(ours.rotations, draws_for(many, seed=0, rotations=3, resamples=9).rotations)


def test_clipped_and_missing() -> None:
    nan = float("nan")
    squared = np.array([[0.0, -1.0, 4.0], [-1.0, 0.0, nan], [4.0, nan, 0.0]])
    np.testing.assert_allclose(clipped(squared, "euclidean"), [[0, 0, 2], [0, 0, 2], [2, 2, 0]])
    np.testing.assert_allclose(clipped(squared, "cosine"), [[0, 0, 4], [0, 0, 1], [4, 1, 0]])
    assert known_groups(np.array([[0.0, nan], [nan, nan]])).tolist() == [True, False]


def test_a_group_of_one_utterance_is_known_in_no_split() -> None:
    found, windows, group, utterance, _ = speech()
    group = np.where(group == 5, 4, group)
    group[utterance == 3] = 5
    lone = labelled(
        [([*"abcdef"], windows.astype(np.float32), windows.mean(1), group, utterance)],
        ["s"] * 14,
        np.ones(CELLS),
    )
    ours = cross_validated(lone, halves(14, 0))
    assert known_groups(ours[0]).tolist() == [True] * 5 + [False]
    assert np.isnan(ours[:, 5]).all()
    alone = cross_validated(found, halves(14, 0), weights=np.eye(14)[2])
    assert np.isnan(alone).all()
