"""Distances between groups from sketches of their instances, cross-validated between halves of utterances.

The mean of few instances is noisy, and noise adds to every plain distance: rare phonemes look far from all
others. So the two vectors of each inner product come from disjoint halves of the utterances, whose noise is
independent (methods, section 4, "Distances"). With ``A_i`` and ``B_i`` the means of group i over the halves,
each half's own average over the groups taken off:

euclidean    ``<A_i - A_j, B_i - B_j>``, an unbiased *squared* distance, which can be below 0
cosine       1 minus the mean of ``<A_i, B_j> / sqrt(<A_i, B_i> <A_j, B_j>)`` and the same with i and j
             exchanged; missing where a factor under the root is not positive
correlation  the same after each profile's mean over all cells is taken off

averaged over splits in which they are known. What a half lacks of the groups is left out of that split.

The same sums, from other labels or other weights of the utterances, give nulls and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.compiled import compiled
from asr_introspect.introspection.bootstrap import drawn_over, utterance_weights
from asr_introspect.introspection.clusters import Metric, distances
from asr_introspect.random import generator

SPLITS = 20
BLOCKS = 40
"""Utterances are dealt to at most so many blocks; a half is half of the blocks. It keeps draws quick."""


@dataclass(frozen=True)
class Labelled:
    """Sketches of instances with their groups, in runs of one utterance (and one kind of labels) each.

    Parameters
    ----------
    groups
        Their names.
    kind
        Of each group the kind whose average it belongs to (letters and phonemes each have their own),
        ``(G,)``.
    values
        ``(N, D + 1)`` float32, C order: sketches less their mean over all instances, and in the last column
        the same of the windows' means.
    group
        Of each instance, ``(N,)``.
    edges
        Where runs begin and end, ``(R + 1,)``.
    utterance
        Of each run, a number from 0, ``(R,)``.
    speaker
        Of each utterance, a number in ``speakers``, ``(U,)``.
    ones
        The sketch of a window of ones, ``(D,)``.
    """

    groups: tuple[str, ...]
    kind: np.ndarray
    values: np.ndarray
    group: np.ndarray
    edges: np.ndarray
    utterance: np.ndarray
    speaker: np.ndarray
    ones: np.ndarray
    speakers: tuple[str, ...]

    def of_speaker(self, speaker: int) -> np.ndarray:
        """Weights of utterances, ``(U,)``: 1 for this speaker's."""
        return np.asarray(self.speaker == speaker, np.float32)


def labelled(
    parts: Sequence[tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    speaker: Sequence[str],
    ones: np.ndarray,
) -> Labelled:
    """Puts kinds of labels together, each with its own groups.

    Parameters
    ----------
    parts
        Per kind: the names of its groups; sketches ``(N, D)`` and windows' means ``(N,)``; each instance's
        group and its utterance, ``(N,)``, instances of one utterance side by side in the order of time.
    speaker
        Who said each utterance, ``(U,)``.
    ones
        The sketch of a window of ones, ``(D,)``.
    """
    names: list[str] = []
    kinds, values, groups, runs, owners = [], [], [], [], []
    for kind, (own, sketches, means, group, utterance) in enumerate(parts):
        groups.append(np.asarray(group, np.int64) + len(names))
        names += own
        kinds.append(np.full(len(own), kind))
        values.append(np.concatenate([sketches, means[:, None]], axis=1, dtype=np.float32))
        starts = np.flatnonzero(np.diff(utterance, prepend=-1))
        owners.append(utterance[starts])
        runs.append(np.diff(starts, append=len(utterance)))
    speakers, numbers = np.unique(np.asarray(speaker, str), return_inverse=True)
    joined = np.concatenate(values)
    if len(joined):
        joined -= joined.mean(0, dtype=np.float64).astype(np.float32)
    return Labelled(
        tuple(names),
        np.concatenate(kinds),
        np.ascontiguousarray(joined),
        np.concatenate(groups),
        np.concatenate([[0], np.concatenate(runs).cumsum()]).astype(np.int64),
        np.concatenate(owners).astype(np.int64),
        numbers.reshape(-1).astype(np.int64),
        np.asarray(ones, np.float64),
        tuple(str(name) for name in speakers),
    )


@dataclass(frozen=True)
class Halves:
    """Splits of the utterances into halves: the block of each utterance ``(U,)``, and which blocks are in
    the first half of each split, ``(S, B)`` of 0 and 1."""

    block: np.ndarray
    first: np.ndarray


def halves(utterances: int, seed: int, splits: int = SPLITS) -> Halves:
    """Splits drawn by seed; copies of an utterance are always in one half.

    Utterances are dealt evenly to blocks, blocks evenly to halves *(choice: equal to splits of utterances as
    long as there are at most 40)*.
    """
    blocks = min(BLOCKS, utterances)
    random = generator(seed, "halves of utterances", utterances)
    block = random.permutation(np.arange(utterances) % max(blocks, 1))
    order = random.permuted(np.tile(np.arange(blocks), (splits, 1)), axis=1)
    return Halves(block.astype(np.int64), (order < blocks // 2).astype(np.float32))


@dataclass(frozen=True)
class Draws:
    """What is drawn once for all layers: halves, rotations of label sequences, resampled utterances.

    Parameters
    ----------
    rotations
        By how many instances the labels of each run are moved on, ``(draws, R)``.
    weights
        How often each utterance was drawn, ``(draws, U)``; of no draws where there is nothing to draw.
    unit
        What was resampled, in words.
    """

    halves: Halves
    rotations: np.ndarray
    weights: np.ndarray
    unit: str


def draws_for(found: Labelled, *, seed: int, rotations: int, resamples: int) -> Draws:
    """Draws that depend on the seed and on which instances there are, not on their sketches.

    Speakers are resampled where there are ten or more, else utterances within each speaker.
    """
    utterances, runs = len(found.speaker), len(found.utterance)
    moved = generator(seed, "label sequences rotated", runs).integers(
        0, np.maximum(np.diff(found.edges), 1), (rotations, runs)
    )
    weights = utterance_weights(found.speaker, seed=seed, draws=resamples)
    return Draws(
        halves(utterances, seed),
        moved,
        np.zeros((0, utterances)) if weights is None else weights,
        drawn_over(found.speaker.astype(str)),
    )


def cross_validated(
    found: Labelled, split: Halves, *, rotation: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """The cross-validated distances in every metric, ``(3, G, G)`` in the order of ``clusters.METRICS``.

    Euclidean distances are squared; NaN where a pair is known in no split.

    Parameters
    ----------
    rotation
        By how many instances the labels of each run are moved on, ``(R,)``.
    weights
        How often each utterance counts, ``(U,)``.
    """
    runs, utterances = len(found.utterance), len(found.speaker)
    totals, known = _cross_validated(
        found.values,
        found.group,
        found.edges,
        found.utterance,
        np.zeros(runs, np.int64) if rotation is None else rotation.astype(np.int64),
        np.ones(utterances, np.float32) if weights is None else weights.astype(np.float32),
        split.block,
        split.first,
        found.kind,
        found.ones,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known > 0, totals / known, np.nan))


def plain(found: Labelled) -> np.ndarray:
    """The plain distances between the groups' mean sketches, ``(3, G, G)`` as above."""
    size = len(found.groups)
    count = np.bincount(found.group, minlength=size)
    means = np.zeros((size, found.values.shape[1]))
    np.add.at(means, found.group, found.values.astype(np.float64))
    means /= np.maximum(count, 1)[:, None]
    for kind in np.unique(found.kind):
        means[found.kind == kind] -= means[found.kind == kind].mean(0)
    sketches, cells = means[:, :-1], means[:, -1:]
    # Centring has been done in the unit of the activations: what is left is a cosine.
    centred = sketches - cells * found.ones
    return np.stack(
        [distances(sketches, "euclidean"), distances(sketches, "cosine"), distances(centred, "cosine")]
    )


def clipped(distance: np.ndarray, metric: Metric) -> np.ndarray:
    """Cross-validated distances ``(G, G)`` for linkage and silhouette: at least 0, none missing.

    Squared Euclidean distances become distances. A missing cosine or correlation counts as 1: no direction
    in common was found *(choice)*.
    """
    filled = np.where(
        np.isfinite(distance), distance, 1.0 if metric != "euclidean" else np.nanmax(distance, initial=0.0)
    )
    filled = np.maximum(filled, 0.0)
    np.fill_diagonal(filled, 0.0)
    return np.asarray(np.sqrt(filled) if metric == "euclidean" else filled)


def separation(squared: np.ndarray) -> float:
    """The mean squared distance between two groups, of cross-validated ones ``(G, G)``: 0 if labels say
    nothing. Unlike a silhouette it has a size, so that it tells group information from noise.
    """
    pairs = squared[np.triu_indices(len(squared), 1)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def known_groups(distance: np.ndarray) -> np.ndarray:
    """Which groups were in both halves of some split, ``(G,)``: of squared Euclidean distances ``(G, G)``."""
    return np.asarray(np.isfinite(np.diag(distance)))


def _crossed(
    values: np.ndarray,
    group: np.ndarray,
    edges: np.ndarray,
    utterance: np.ndarray,
    rotation: np.ndarray,
    weights: np.ndarray,
    block: np.ndarray,
    first: np.ndarray,
    kind: np.ndarray,
    ones: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over splits of the distances of each metric, and in how many splits each was known."""
    splits, blocks = first.shape
    groups, columns = len(kind), values.shape[1]
    bins = columns - 1
    kinds = kind.max() + 1
    sums = np.zeros((blocks, groups * columns), np.float32)
    counts = np.zeros((blocks, groups), np.float32)
    for run in range(len(utterance)):
        weight = weights[utterance[run]]
        if weight == 0:
            continue
        length = edges[run + 1] - edges[run]
        own = block[utterance[run]]
        for i in range(length):
            moved = i + rotation[run]
            if moved >= length:
                moved -= length
            label = group[edges[run] + moved]
            counts[own, label] += weight
            target = sums[own, label * columns : (label + 1) * columns]
            row = values[edges[run] + i]
            for column in range(columns):
                target[column] += weight * row[column]
    total, count = np.zeros(groups * columns, np.float32), np.zeros(groups, np.float32)
    half, half_count = np.zeros(groups * columns, np.float32), np.zeros(groups, np.float32)
    for own in range(blocks):
        total += sums[own]
        count += counts[own]
    spread = np.dot(ones, ones)
    one, two = np.zeros((groups, bins), np.float32), np.zeros((groups, bins), np.float32)
    one_mean, two_mean = np.zeros(groups), np.zeros(groups)
    inside = np.zeros(groups, np.bool_)
    found, known = np.zeros((3, groups, groups)), np.zeros((3, groups, groups))
    centred = np.zeros((groups, groups))
    for split in range(splits):
        half[:] = 0
        half_count[:] = 0
        for own in range(blocks):
            if first[split, own] > 0:
                half += sums[own]
                half_count += counts[own]
        for g in range(groups):
            before = half_count[g]
            after = count[g] - before
            inside[g] = before > 0 and after > 0
            if not inside[g]:
                one[g] = 0
                two[g] = 0
                one_mean[g] = 0
                two_mean[g] = 0
                continue
            for column in range(bins):
                part = half[g * columns + column]
                one[g, column] = part / before
                two[g, column] = (total[g * columns + column] - part) / after
            part = half[g * columns + bins]
            one_mean[g] = part / before
            two_mean[g] = (total[g * columns + bins] - part) / after
        product = np.dot(one, two.T).astype(np.float64)
        one_ones, two_ones = np.dot(one.astype(np.float64), ones), np.dot(two.astype(np.float64), ones)
        for i in range(groups):
            for j in range(groups):
                centred[i, j] = (
                    product[i, j]
                    - one_mean[i] * two_ones[j]
                    - one_ones[i] * two_mean[j]
                    + spread * one_mean[i] * two_mean[j]
                )
        _average_off(product, inside, kind, kinds)
        _average_off(centred, inside, kind, kinds)
        for i in range(groups):
            for j in range(groups):
                if not (inside[i] and inside[j]):
                    continue
                found[0, i, j] += product[i, i] + product[j, j] - product[i, j] - product[j, i]
                known[0, i, j] += 1
                if product[i, i] > 0 and product[j, j] > 0:
                    size = np.sqrt(product[i, i] * product[j, j])
                    found[1, i, j] += 1 - (product[i, j] + product[j, i]) / (2 * size)
                    known[1, i, j] += 1
                if centred[i, i] > 0 and centred[j, j] > 0:
                    size = np.sqrt(centred[i, i] * centred[j, j])
                    found[2, i, j] += 1 - (centred[i, j] + centred[j, i]) / (2 * size)
                    known[2, i, j] += 1
    return found, known


def _averaged_off(product: np.ndarray, inside: np.ndarray, kind: np.ndarray, kinds: int) -> None:
    """Inner products ``(G, G)`` as if each side's average over the groups of a kind had been taken off."""
    groups = len(kind)
    for own in range(kinds):
        size = 0
        for g in range(groups):
            if inside[g] and kind[g] == own:
                size += 1
        if size == 0:
            continue
        for j in range(groups):
            total = 0.0
            for g in range(groups):
                if inside[g] and kind[g] == own:
                    total += product[g, j]
            for g in range(groups):
                if inside[g] and kind[g] == own:
                    product[g, j] -= total / size
        for i in range(groups):
            total = 0.0
            for g in range(groups):
                if inside[g] and kind[g] == own:
                    total += product[i, g]
            for g in range(groups):
                if inside[g] and kind[g] == own:
                    product[i, g] -= total / size


_average_off = compiled(_averaged_off)
_cross_validated = compiled(_crossed)
