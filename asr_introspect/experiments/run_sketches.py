"""What the sketches of a run say: cross-validated distances, their nulls and intervals, layer by layer.

Observed value, null and interval are all computed on sketches, with the same halves of the utterances; the
moments draw the pictures. ``sketches.csv`` says how far distances from sketches are from exact ones.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE
from asr_introspect.experiments.pass_sketches import StoredSketches, read_sketches
from asr_introspect.introspection.bootstrap import Interval, interval
from asr_introspect.introspection.clusters import (
    METRICS,
    Evidence,
    Metric,
    class_evidence,
    evidence,
    silhouette,
)
from asr_introspect.introspection.distances import (
    Draws,
    Labelled,
    clipped,
    cross_validated,
    draws_for,
    known_groups,
    labelled,
    plain,
    separation,
)
from asr_introspect.introspection.moments import in_threads
from asr_introspect.introspection.phonetics import CLASSES, classes_of
from asr_introspect.introspection.profiles import ENOUGH, Key, in_statistics
from asr_introspect.progress import bar
from asr_introspect.recogniser.scoring import ENOUGH_SPEAKERS

"""Draws for an interval: its ends rest on the 5 lowest and the 5 highest."""

KINDS = {"letters": "letter", "phonemes": "phone"}
JOINT = Key("joint", "none")


@dataclass(frozen=True)
class Sampled:
    """The evidence for one division into phonetic classes at one layer in one metric, from sketches.

    Parameters
    ----------
    distance
        Cross-validated and clipped, between the groups that have a class, ``(G, G)``.
    missing
        How many pairs of groups have no cross-validated distance.
    silhouette
        Of the classes in ``distance``, with its interval.
    permuted, rotated
        Against classes dealt among groups, and against label sequences rotated within utterances.
    plain
        The silhouette in plain distances from sketches.
    separation, separation_p
        The mean cross-validated squared distance of two groups, and its p-value against rotated labels.
    speakers
        The silhouette of each speaker's utterances alone; of ten or more speakers none.
    unit
        What was resampled for the interval.
    """

    key: Key
    layer: str
    metric: Metric
    classes: str
    groups: tuple[str, ...]
    named: tuple[str, ...]
    distance: np.ndarray
    missing: int
    silhouette: Interval
    permuted: Evidence
    rotated: Evidence
    plain: float
    separation: float
    separation_p: float
    speakers: dict[str, float]
    unit: str


@dataclass(frozen=True)
class Division:
    """Which groups have a class, ``rows``, and its number ``(len(rows),)``."""

    name: str
    rows: np.ndarray
    numbers: np.ndarray
    named: tuple[str, ...]


def sketch_evidence(gathered: Gathered) -> list[Sampled]:
    """The evidence from a run's sketches: letters, phonemes and both, every layer, metric and division.

    Nothing where a run has no sketches. Both kinds together have no rotations and no interval: what is one
    kind's is told by its own. Layers that cannot be moved are those at offset 0, and computed once.
    """
    draws = gathered.draws.rotations, gathered.draws.resamples
    found: dict[tuple[Key, str], list[Sampled]] = {}
    layers = gathered.plan.layout
    work = [
        (key, layer)
        for key in (LETTERS_NONE, PHONEMES_NONE, JOINT, LETTERS_GRADIENT)
        for layer, cone in layers.items()
        if key.offset == "none" or cone.shifts
    ]
    with bar("distances from sketches", len(work)) as moving:

        def look(key: Key, layer: str) -> None:
            found[key, layer] = layer_evidence(gathered, key, layer, *draws)
            moving.update(1)

        in_threads({at: functools.partial(look, *at) for at in work}, torch.get_num_threads())
    if any(found.get((LETTERS_GRADIENT, layer)) for layer in layers):
        for layer, cone in layers.items():
            if not cone.shifts:
                same = found[LETTERS_NONE, layer]
                found[LETTERS_GRADIENT, layer] = [replace(each, key=LETTERS_GRADIENT) for each in same]
    keys = (LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE, JOINT)
    order = [(key, layer) for key in keys for layer in layers]
    return [each for at in order for each in found.get(at, ())]


def sketched(gathered: Gathered, key: Key, layer: str) -> Labelled | None:
    """The sketches of a layer with their groups; None where there are none, or fewer than three groups.

    Groups that statistics run over, with 20 instances among the sketches; of ``joint`` letters and phonemes,
    each kind with its own average.
    """
    own = (LETTERS_NONE, PHONEMES_NONE) if key == JOINT else (key,)
    stored = [read_sketches(gathered.work, each, layer) for each in own]
    if any(each is None for each in stored):
        return None
    parts = []
    utterances: dict[int, int] = {}
    for each, kind in zip(stored, own, strict=True):
        assert each is not None
        names = gathered.rows.instances[kind.labels].labels
        some = _enough(names, each, kind.labels)
        if len(some) == 0:
            return None
        number = np.full(len(names), -1)
        number[some] = np.arange(len(some))
        rows = np.flatnonzero(number[each.label] >= 0)
        for place in each.place[rows]:
            utterances.setdefault(int(place), len(utterances))
        prefix = f"{KINDS[kind.labels]} " if key == JOINT else ""
        parts.append(
            (
                [prefix + names[i] for i in some],
                each.values[rows],
                each.mean[rows],
                number[each.label[rows]],
                np.array([utterances[int(place)] for place in each.place[rows]], np.int64),
            )
        )
    if sum(len(part[0]) for part in parts) < 3:
        return None
    speakers = [gathered.plan.utterances[place].speaker for place in utterances]
    assert stored[0] is not None
    return labelled(parts, speakers, stored[0].ones)


def _enough(names: Sequence[str], stored: StoredSketches, labels: str) -> np.ndarray:
    counts = np.bincount(stored.label, minlength=len(names))
    return np.flatnonzero((counts >= ENOUGH) & in_statistics(names, labels))


def layer_evidence(gathered: Gathered, key: Key, layer: str, rotations: int, resamples: int) -> list[Sampled]:
    """The evidence of one layer in every metric and division; nothing where there are no sketches."""
    found = sketched(gathered, key, layer)
    if found is None:
        return []
    divisions = divisions_of(key.labels, found.groups)
    if not divisions:
        return []
    draws = draws_for(
        found,
        seed=gathered.seed,
        rotations=0 if key == JOINT else rotations,
        resamples=0 if key == JOINT else resamples,
    )
    return evidence_of(key, layer, found, draws, divisions, gathered.seed)


def divisions_of(labels: str, groups: Sequence[str]) -> list[Division]:
    """The divisions of groups into phonetic classes that have two classes."""
    found = [_division(labels, groups, name) for name in CLASSES[labels]]
    return [each for each in found if len(set(each.named)) > 1]


def _division(labels: str, groups: Sequence[str], name: str) -> Division:
    classes = classes_of(labels, groups, name)
    rows = np.array([i for i, each in enumerate(classes) if each is not None], np.int64)
    named = tuple(str(classes[i]) for i in rows)
    return Division(name, rows, np.unique(named, return_inverse=True)[1].reshape(-1), named)


def evidence_of(
    key: Key,
    layer: str,
    found: Labelled,
    draws: Draws,
    divisions: Sequence[Division],
    seed: int,
) -> list[Sampled]:
    """Every metric and division: (metric, division) are the axes of what each draw gives."""
    own = cross_validated(found, draws.halves)
    values = _silhouettes(own, divisions)
    null = [cross_validated(found, draws.halves, rotation=each) for each in draws.rotations]
    rotated = np.array([_silhouettes(each, divisions) for each in null])
    separations = np.array([separation(each[0]) for each in null])
    resampled = np.array(
        [
            _silhouettes(cross_validated(found, draws.halves, weights=each), divisions)
            for each in draws.weights
        ]
    )
    alone = []
    if len(found.speakers) < ENOUGH_SPEAKERS and key != JOINT:
        alone = [
            _silhouettes(cross_validated(found, draws.halves, weights=found.of_speaker(i)), divisions)
            for i in range(len(found.speakers))
        ]
    flat = plain(found)
    size = separation(own[0])
    rows = []
    for m, metric in enumerate(METRICS):
        for d, division in enumerate(divisions):
            square = np.ix_(division.rows, division.rows)
            distance = clipped(own[m][square], metric)
            rows.append(
                Sampled(
                    key,
                    layer,
                    metric,
                    division.name,
                    tuple(found.groups[i] for i in division.rows),
                    division.named,
                    distance,
                    int(np.isnan(own[m][square])[np.triu_indices(len(division.rows), 1)].sum()),
                    interval(float(values[m, d]), resampled[:, m, d] if len(resampled) else None),
                    class_evidence(distance, division.named, seed=seed),
                    evidence(float(values[m, d]), rotated[:, m, d] if len(rotated) else np.zeros(0)),
                    silhouette(flat[m][square], division.numbers),
                    size,
                    evidence(size, separations).p_value,
                    {name: float(each[m, d]) for name, each in zip(found.speakers, alone, strict=False)},
                    draws.unit,
                )
            )
    return rows


def _silhouettes(distances: np.ndarray, divisions: Sequence[Division]) -> np.ndarray:
    """Silhouettes ``(metrics, divisions)`` in cross-validated distances ``(3, G, G)``.

    A group that a draw does not have in both halves of any split is left out of it.
    """
    known = known_groups(distances[0])
    found = np.full((len(METRICS), len(divisions)), np.nan)
    for m, metric in enumerate(METRICS):
        for d, division in enumerate(divisions):
            kept = known[division.rows]
            rows = division.rows[kept]
            if len(rows):
                found[m, d] = silhouette(
                    clipped(distances[m][np.ix_(rows, rows)], metric), division.numbers[kept]
                )
    return found


SKETCH_COLUMNS = (
    *("labels", "offset", "layer", "cells", "numbers", "instances", "bytes", "windows_bytes"),
    *("euclidean_deviation", "cosine_deviation", "correlation_deviation"),
)


def deviation(exact: np.ndarray, from_sketches: np.ndarray, metric: Metric) -> float:
    """The root mean square deviation of distances ``(G, G)`` from exact ones over all pairs.

    Relative to the exact distance for ``euclidean``, else absolute (cosines and correlations are from 0 to
    2).
    """
    pairs = np.triu_indices(len(exact), 1)
    difference = from_sketches[pairs] - exact[pairs]
    if metric == "euclidean":
        difference = difference / np.where(exact[pairs] > 0, exact[pairs], np.nan)
    return float(np.sqrt(np.nanmean(np.square(difference)))) if len(difference) else float("nan")


Exact = Mapping[tuple[Key, str], tuple[tuple[str, ...], np.ndarray]]


def sketch_rows(gathered: Gathered, exact: Exact) -> list[tuple[object, ...]]:
    """The rows of ``sketches.csv``: what sketches take, and how far their distances are from exact ones.

    Parameters
    ----------
    exact
        By profiles and layer the groups and their plain distances in every metric, ``(3, G, G)``. Where a
        long corpus leaves sketches of some utterances only, the deviation holds what that leaves out, too.
    """
    rows = []
    for (key, layer), (groups, distances) in exact.items():
        stored = read_sketches(gathered.work, key, layer)
        found = None if stored is None else sketched(gathered, key, layer)
        if stored is None or found is None:
            continue
        common = [name for name in groups if name in found.groups]
        ours = np.array([found.groups.index(name) for name in common], np.int64)
        theirs = np.array([groups.index(name) for name in common], np.int64)
        flat = plain(found)
        off = [
            deviation(distances[m][np.ix_(theirs, theirs)], flat[m][np.ix_(ours, ours)], metric)
            for m, metric in enumerate(METRICS)
        ]
        count, numbers = stored.values.shape
        cone = gathered.plan.layout[layer]
        channels = stored.cells // cone.positions
        own_place = key.offset == "none" or cone.shifts
        rows.append(
            (
                *(key.labels, key.offset, layer, channels * cone.positions, numbers, count),
                *((2 * numbers + 6) * count if own_place else 0, 4 * stored.cells * count, *off),
            )
        )
    return rows
