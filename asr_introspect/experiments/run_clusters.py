"""Clustering of a run's profiles: distances, trees and evidence per layer, for letters, phonemes and both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.files import writing
from asr_introspect.introspection.clusters import (
    METRICS,
    Evidence,
    Metric,
    Tree,
    agreement,
    best_of,
    class_evidence,
    distances,
    tree,
)
from asr_introspect.introspection.findings import Finding, Structure, structure_finding
from asr_introspect.introspection.phonetics import CLASSES, classes_of
from asr_introspect.introspection.profiles import (
    ENOUGH,
    Key,
    in_statistics,
    keys_of,
    layers_of,
    read_profiles,
)
from asr_introspect.progress import track
from asr_introspect.recogniser.network import LAYERS

LINKAGE = "average"
PICTURED: Metric = "correlation"
"""The metric of the heat maps: what profiles look like, whatever their size *(choice)*."""

SHOWN_LAYERS = ("layer9", "layer10", LAYERS[-1])
DIVISIONS = (("letters", "gradient", "vowel-consonant"), ("phonemes", "none", "manner"))


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``clusters.h5`` and ``clusters.csv`` from ``profiles.h5``; returns what they say."""
    folder = gathered.folder
    rows = write_clusters(folder / "profiles.h5", folder / "clusters.h5", gathered.seed)
    write_csv(folder / "clusters.csv", CLUSTER_COLUMNS, [csv_row(row) for row in rows])
    return structure_findings(rows, gathered.seed)


@dataclass(frozen=True)
class Clustering:
    """The groups of one layer in one metric: distances ``(G, G)`` and their tree."""

    labels: str
    offset: str
    weight: str
    layer: str
    metric: Metric
    groups: tuple[str, ...]
    distance: np.ndarray
    tree: Tree


@dataclass(frozen=True)
class ClassRow:
    """A row of ``clusters.csv``: how well phonetic classes fit a clustering."""

    clustering: Clustering
    classes: str
    evidence: Evidence
    adjusted_rand: float


def group_profiles(path: Path, key: Key, layer: str) -> tuple[list[str], np.ndarray]:
    """The groups that statistics run over and their profiles ``(G, C, P)``, the average taken off."""
    data = read_profiles(path, key, layer, average="none", minimum=ENOUGH)
    names = [str(name) for name in data["group"].values]
    kept = np.flatnonzero(in_statistics(names, key.labels))
    means = data["mean"].values[kept].astype(np.float64)
    return [names[i] for i in kept], means - (means.mean(0) if len(kept) else 0.0)


def clusterings(path: Path) -> Iterator[Clustering]:
    """The clusterings of every layer in every metric; letters and phonemes each alone and in one joint map.

    Sets of fewer than three groups are left out. In the joint map letters and phonemes stand at offset 0, so
    that a difference between them is not one of alignment; each kind's own average is taken off.
    """
    keys = keys_of(path)
    joint = [key for key in keys if key.offset == "none" and key.labels in ("letters", "phonemes")]
    for key in keys:
        for layer in layers_of(path, key):
            names, profiles = group_profiles(path, key, layer)
            yield from _in_metrics(key, layer, names, profiles)
    if len(joint) == 2:
        for layer in layers_of(path, joint[0]):
            parts = [group_profiles(path, key, layer) for key in joint]
            if min(len(names) for names, _ in parts) == 0:
                continue
            names = [
                f"{_KINDS[k.labels]} {n}" for k, (some, _) in zip(joint, parts, strict=True) for n in some
            ]
            profiles = np.concatenate([some for _, some in parts])
            yield from _in_metrics(Key("joint", "none", joint[0].weight), layer, names, profiles)


_KINDS = {"letters": "letter", "phonemes": "phone"}


def _in_metrics(key: Key, layer: str, names: Sequence[str], profiles: np.ndarray) -> Iterator[Clustering]:
    if len(names) < 3:
        return
    for metric in METRICS:
        found = distances(profiles, metric)
        linked = tree(found, LINKAGE)
        yield Clustering(key.labels, key.offset, key.weight, layer, metric, tuple(names), found, linked)


def class_rows(found: Clustering, seed: int) -> list[ClassRow]:
    """Evidence for each division into phonetic classes that these labels have."""
    rows = []
    for division in CLASSES[found.labels]:
        classes = classes_of(found.labels, found.groups, division)
        kept = [i for i, each in enumerate(classes) if each is not None]
        named = [str(classes[i]) for i in kept]
        if len(set(named)) < 2:
            continue
        distance = found.distance[np.ix_(kept, kept)]
        rand = agreement(tree(distance, LINKAGE), named)
        rows.append(ClassRow(found, division, class_evidence(distance, named, seed=seed), rand))
    return rows


CLUSTER_COLUMNS = (
    *("labels", "offset", "weight", "layer", "metric", "linkage", "classes", "groups", "silhouette"),
    *("null_mean", "null_low", "null_high", "p_value", "cophenetic", "adjusted_rand"),
)


def csv_row(row: ClassRow) -> tuple[object, ...]:
    """The cells of :data:`CLUSTER_COLUMNS`."""
    found, evidence = row.clustering, row.evidence
    return (
        *(found.labels, found.offset, found.weight, found.layer, found.metric, LINKAGE, row.classes),
        *(
            len(found.groups),
            evidence.value,
            evidence.null_mean,
            evidence.low,
            evidence.high,
            evidence.p_value,
        ),
        *(found.tree.cophenetic, row.adjusted_rand),
    )


def write_clusters(profiles: Path, out: Path, seed: int) -> list[ClassRow]:
    """``clusters.h5`` from ``profiles.h5``; returns the rows of ``clusters.csv``."""
    rows: list[ClassRow] = []
    with writing(out) as temporary, h5py.File(temporary, "w") as file:
        for found in track(clusterings(profiles), "clusters", unit="clustering"):
            rows += class_rows(found, seed)
            place = f"{found.labels}/{found.offset}/{found.weight}/{found.layer}"
            group = file.require_group(place)
            if "groups" not in group.attrs:
                group.attrs["groups"] = np.array(found.groups, dtype=h5py.string_dtype())
            # The pictured metric under the plain names, each metric under its own.
            own = group.create_group(found.metric)
            for target in (own, group) if found.metric == PICTURED else (own,):
                target.create_dataset("distance", data=found.distance.astype(np.float32))
                target.create_dataset("linkage", data=found.tree.linkage)
                target.create_dataset("order", data=found.tree.order)
            group.attrs["metric"] = PICTURED
    return rows


def structure_findings(rows: Sequence[ClassRow], seed: int) -> list[Finding]:
    """Silhouettes of letters and phonemes at layers 9, 10, output and the best layer."""
    found = []
    for labels, offset, division in DIVISIONS:
        own = [
            row
            for row in rows
            if (row.clustering.labels, row.clustering.offset, row.classes) == (labels, offset, division)
            and row.clustering.metric == PICTURED
        ]
        for row in own:
            if row.clustering.layer in SHOWN_LAYERS:
                found.append(structure_finding(_structure(row)))
        if len(own) > 1:
            classes = [
                [str(each) for each in classes_of(labels, row.clustering.groups, division)] for row in own
            ]
            at, evidence = best_of([row.clustering.distance for row in own], classes, seed=seed)
            row = own[at]
            found.append(
                structure_finding(
                    Structure(
                        labels,
                        division,
                        row.clustering.layer,
                        PICTURED,
                        evidence.value,
                        evidence.null_mean,
                        evidence.low,
                        evidence.high,
                        evidence.p_value,
                    ),
                    best_of=len(own),
                )
            )
    return found


def _structure(row: ClassRow) -> Structure:
    evidence = row.evidence
    return Structure(
        row.clustering.labels,
        row.classes,
        row.clustering.layer,
        row.clustering.metric,
        evidence.value,
        evidence.null_mean,
        evidence.low,
        evidence.high,
        evidence.p_value,
    )
