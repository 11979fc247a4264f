"""Distances between group profiles, their clustering, and the evidence for phonetic classes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score

from asr_introspect.compiled import compiled
from asr_introspect.errors import UsageError, unknown_name
from asr_introspect.random import generator

Metric = Literal["euclidean", "cosine", "correlation"]
METRICS: tuple[Metric, ...] = ("euclidean", "cosine", "correlation")
LINKAGES = ("average", "complete")
DRAWS = 10_000


def distances(profiles: np.ndarray, metric: Metric = "euclidean") -> np.ndarray:
    """Distances ``(G, G)`` between profiles ``(G, C, P)``.

    Cells that are missing in one of the groups count in none. Profiles without a direction (all zero, or for
    ``correlation`` constant) are at distance 1 from every other, and at 0 from each other *(choice)*.

    Raises
    ------
    UsageError
        An unknown metric.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    flat = profiles.reshape(len(profiles), -1).astype(np.float64)
    flat = flat[:, np.isfinite(flat).all(0)]
    if metric == "euclidean":
        return np.asarray(squareform(pdist(flat)))
    if metric == "correlation":
        flat = flat - flat.mean(1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1)
    # What centring leaves of a constant profile is rounding, not a direction.
    largest = np.abs(profiles[np.isfinite(profiles)]).max(initial=0.0)
    directed = norms > 1e-12 * largest * np.sqrt(max(flat.shape[1], 1))
    unit = np.where(directed[:, None], flat / np.where(directed, norms, 1.0)[:, None], 0.0)
    found = 1.0 - unit @ unit.T
    found[np.ix_(~directed, ~directed)] = 0.0
    np.fill_diagonal(found, 0.0)
    return np.asarray(np.maximum((found + found.T) / 2, 0.0))


@dataclass(frozen=True)
class Tree:
    """A hierarchical clustering: ``linkage`` ``(G - 1, 4)`` as in scipy, leaves in ``order`` ``(G,)``, and
    the correlation of its cophenetic distances with the distances (NaN where those do not vary)."""

    linkage: np.ndarray
    order: np.ndarray
    cophenetic: float


def tree(found: np.ndarray, linkage: str = "average") -> Tree:
    """The clustering of distances ``(G, G)`` with optimal leaf order (Bar-Joseph 2001).

    Raises
    ------
    UsageError
        An unknown linkage, or fewer than two groups.
    """
    if linkage not in LINKAGES:
        raise unknown_name("linkage", linkage, LINKAGES)
    if len(found) < 2:
        raise UsageError(f"there is nothing to cluster in {len(found)} group(s)")
    condensed = squareform(found, checks=False)
    linked = hierarchy.linkage(condensed, linkage, optimal_ordering=True)
    heights = hierarchy.cophenet(linked)
    varies = np.ptp(condensed) > 0 and np.ptp(heights) > 0
    cophenetic = float(np.corrcoef(heights, condensed)[0, 1]) if varies else float("nan")
    return Tree(linked, hierarchy.leaves_list(linked), cophenetic)


def agreement(linked: Tree, classes: Sequence[str]) -> float:
    """The adjusted Rand index between classes and the tree cut into as many clusters as there are classes.

    1: the cut is the classes; 0: no better than chance.
    """
    cut = hierarchy.fcluster(linked.linkage, len(set(classes)), "maxclust")
    return float(adjusted_rand_score(list(classes), cut))


def silhouette(found: np.ndarray, classes: Sequence[Any] | np.ndarray) -> float:
    """The mean silhouette (Rousseeuw 1987) of classes in distances ``(G, G)``; singletons have silhouette 0.

    NaN unless there are at least two classes and one of them has two members.
    """
    numbers = _numbered(classes)
    if not _has_structure(numbers):
        return float("nan")
    return float(_silhouettes(found.astype(np.float64), numbers[None])[0])


@dataclass(frozen=True)
class Evidence:
    """A silhouette beside what it is when the classes are dealt out at random among the groups.

    ``low`` and ``high`` hold 95 % of the null; ``p_value`` is one-sided,
    ``(1 + #(null >= value)) / (1 + draws)``.
    """

    value: float
    null_mean: float
    low: float
    high: float
    p_value: float

    @property
    def difference(self) -> bool:
        """Whether the value lies above the null's interval."""
        return bool(self.value > self.high)


def class_evidence(
    found: np.ndarray, classes: Sequence[Any], *, seed: int = 0, draws: int = DRAWS
) -> Evidence:
    """Is the class structure real? The silhouette against class labels permuted among groups."""
    if not _has_structure(_numbered(classes)):
        return Evidence(*(float("nan"),) * 5)
    return evidence(silhouette(found, classes), null_silhouettes(found, classes, seed=seed, draws=draws))


def null_silhouettes(
    found: np.ndarray, classes: Sequence[Any], *, seed: int = 0, draws: int = DRAWS
) -> np.ndarray:
    """Silhouettes with class labels permuted among groups, ``(draws,)``.

    The permutations depend on the seed and the number of groups only: layers and metrics share them.
    """
    numbers = _numbered(classes)
    random = generator(seed, "classes permuted among groups", len(numbers))
    shuffled = random.permuted(np.tile(np.arange(len(numbers)), (draws, 1)), axis=1)
    return np.asarray(_silhouettes(found.astype(np.float64), numbers[shuffled]))


def best_of(
    distances: Sequence[np.ndarray], classes: Sequence[Sequence[Any]], *, seed: int = 0, draws: int = DRAWS
) -> tuple[int, Evidence]:
    """Which of several distance matrices (layers) has the highest silhouette, against the null of the
    highest.

    Each draw permutes the classes alike in all of them and takes the best: choosing the best layer is paid
    for.
    """
    values = [silhouette(found, own) for found, own in zip(distances, classes, strict=True)]
    null = np.max(
        [null_silhouettes(d, own, seed=seed, draws=draws) for d, own in zip(distances, classes, strict=True)],
        axis=0,
    )
    best = int(np.nanargmax(values))
    return best, evidence(values[best], null)


def evidence(value: float, null: np.ndarray) -> Evidence:
    """A value beside those of a null, ``(draws,)``; NaN where there are none."""
    null = null[np.isfinite(null)]
    if not np.isfinite(value) or len(null) == 0:
        return Evidence(value, *(float("nan"),) * 4)
    low, high = np.quantile(null, [0.025, 0.975])
    # Of equal arrangements the sums may differ in the last bit: they count as equal.
    p_value = (1 + int((null >= value - 1e-12).sum())) / (1 + len(null))
    return Evidence(value, float(null.mean()), float(low), float(high), p_value)


def _numbered(classes: Sequence[Any] | np.ndarray) -> np.ndarray:
    if isinstance(classes, np.ndarray) and classes.dtype.kind == "i":
        return classes.astype(np.int64)
    _, numbers = np.unique([str(each) for each in classes], return_inverse=True)
    return np.asarray(numbers, np.int64).reshape(-1)


def _has_structure(numbers: np.ndarray) -> bool:
    sizes = np.bincount(numbers)
    return len(sizes) >= 2 and int(sizes.max(initial=0)) >= 2


def _mean_silhouettes(found: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Mean silhouettes of assignments ``(D, G)`` of groups to classes 0, 1, ... in distances ``(G, G)``."""
    draws, groups = numbers.shape
    classes = numbers.max() + 1
    means = np.empty(draws)
    totals = np.empty(classes)
    for draw in range(draws):
        sizes = np.zeros(classes)
        for i in range(groups):
            sizes[numbers[draw, i]] += 1
        total = 0.0
        for i in range(groups):
            own = numbers[draw, i]
            if sizes[own] < 2:
                continue
            totals[:] = 0.0
            for j in range(groups):
                totals[numbers[draw, j]] += found[i, j]
            within = totals[own] / (sizes[own] - 1)
            nearest = np.inf
            for each in range(classes):
                if each != own and sizes[each] > 0:
                    nearest = min(nearest, totals[each] / sizes[each])
            larger = max(within, nearest)
            if larger > 0:
                total += (nearest - within) / larger
        means[draw] = total / groups
    return means


_silhouettes = compiled(_mean_silhouettes)
