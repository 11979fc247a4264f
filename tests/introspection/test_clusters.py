"""Distances against scipy, silhouettes against scikit-learn, nulls on labels that mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from asr_introspect.errors import UsageError
from asr_introspect.introspection.clusters import (
    METRICS,
    agreement,
    best_of,
    class_evidence,
    distances,
    null_silhouettes,
    silhouette,
    tree,
)


def profiles(groups: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(groups, 4, 6))


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_scipys(metric: str) -> None:
    values = profiles() + 3
    flat = values.reshape(12, -1)
    np.testing.assert_allclose(distances(values, metric), cdist(flat, flat, metric), atol=1e-12)


def test_missing_cells_count_in_no_pair() -> None:
    values = profiles()
    values[3, 2, 1] = np.nan
    values[5, :, 0] = np.nan
    kept = values.copy()
    kept[:, 2, 1] = 0
    kept[:, :, 0] = 0
    np.testing.assert_allclose(distances(values, "cosine"), distances(kept, "cosine"))


@pytest.mark.parametrize("metric", METRICS)
def test_all_groups_equal_and_constant_profiles(metric: str) -> None:
    same = np.repeat(profiles(1), 5, axis=0)
    assert distances(same, metric) == pytest.approx(np.zeros((5, 5)), abs=1e-12)
    dead = np.concatenate([np.zeros((2, 4, 6)), profiles(3)])
    found = distances(dead, metric)
    assert np.isfinite(found).all()
    assert found[0, 1] == 0
    if metric != "euclidean":
        assert (found[:2, 2:] == 1).all()
    assert np.isfinite(class_evidence(found, list("aabbb"), draws=50).p_value)
    assert np.isnan(tree(distances(same, metric)).cophenetic) or metric != "euclidean"


@pytest.mark.parametrize("classes", [list("aabbbbcccccc"), list("abcdabcdabcd"), list("abbbbbbbbbbb")])
def test_silhouettes_are_those_of_scikit_learn(classes: list[str]) -> None:
    found = distances(profiles())
    wanted = silhouette_score(found, classes, metric="precomputed")
    assert silhouette(found, classes) == pytest.approx(wanted, abs=1e-12)


def test_the_null_permutes_labels_among_groups() -> None:
    found, classes = distances(profiles()), list("aabbbbcccccc")
    null = null_silhouettes(found, classes, seed=3, draws=200)
    random = np.random.default_rng(1)
    again = [silhouette_score(found, random.permutation(classes), metric="precomputed") for _ in range(2000)]
    assert null.mean() == pytest.approx(np.mean(again), abs=4 * np.std(again) / np.sqrt(200))
    assert null.std() == pytest.approx(np.std(again), rel=0.25)
    assert np.array_equal(null, null_silhouettes(found, classes, seed=3, draws=200))


def test_labels_that_mean_nothing_are_found_so_as_often_as_they_should() -> None:
    found = distances(profiles(20))
    random = np.random.default_rng(0)
    base = list("a" * 6 + "b" * 14)
    values = [class_evidence(found, random.permutation(base), draws=400).p_value for _ in range(120)]
    assert 0.005 < np.mean(np.array(values) < 0.05) < 0.12


def test_real_classes_are_found() -> None:
    values = profiles(16)
    values[:8] += 1.0
    evidence = class_evidence(distances(values), list("a" * 8 + "b" * 8), draws=2000)
    assert evidence.difference
    assert evidence.p_value < 0.01
    assert evidence.low < evidence.null_mean < evidence.high < evidence.value


def test_choosing_the_best_layer_is_paid_for() -> None:
    """The best of many layers of noise lies in the null of the best, not in that of one."""
    random = np.random.default_rng(5)
    paid, unpaid = [], []
    for trial in range(30):
        layers = [distances(profiles(14, seed=100 * trial + n)) for n in range(10)]
        classes = list(random.permutation(list("a" * 5 + "b" * 9)))
        at, evidence = best_of(layers, [classes] * 10, draws=300)
        paid.append(evidence.difference)
        unpaid.append(class_evidence(layers[at], classes, draws=300).difference)
    assert np.mean(paid) < 0.15 < np.mean(unpaid)


def test_one_class_or_singletons_have_no_silhouette() -> None:
    found = distances(profiles(4))
    assert np.isnan(silhouette(found, list("aaaa")))
    assert np.isnan(class_evidence(found, list("abcd")).value)
    assert not class_evidence(found, list("abcd")).difference


def test_trees() -> None:
    values = profiles(10)
    values[5:] += 5
    found = tree(distances(values))
    assert sorted(found.order) == list(range(10))
    assert set(found.order[:5]) in ({0, 1, 2, 3, 4}, {5, 6, 7, 8, 9})
    assert 0.8 < found.cophenetic <= 1
    assert agreement(found, list("aaaaabbbbb")) == 1.0
    assert agreement(found, list("ababababab")) < 0.3
    assert not np.array_equal(tree(distances(values), "complete").linkage, found.linkage)


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="did you mean 'euclidean'"):
        distances(profiles(), "euklidean")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="linkage"):
        tree(distances(profiles()), "ward")
    with pytest.raises(UsageError, match="nothing to cluster in 1"):
        tree(np.zeros((1, 1)))
