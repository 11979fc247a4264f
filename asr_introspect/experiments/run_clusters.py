"""Clustering of a run's profiles: distances, trees and evidence per layer, for letters, phonemes and both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import LETTERS_NONE, PHONEMES_NONE
from asr_introspect.experiments.run_sketches import (
    JOINT,
    KINDS,
    SKETCH_COLUMNS,
    Exact,
    Sampled,
    sketch_evidence,
    sketch_rows,
)
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
    silhouette,
    tree,
)
from asr_introspect.introspection.findings import Finding, Structure, structure_finding
from asr_introspect.introspection.phonetics import CLASSES, classes_of
from asr_introspect.introspection.profiles import (
    ENOUGH,
    Key,
    Reduction,
    in_statistics,
    keys_of,
    layers_of,
    read_profiles,
    time_independent,
)
from asr_introspect.progress import track
from asr_introspect.recogniser.network import LAYERS

LINKAGE = "average"
PICTURED: Metric = "correlation"
"""The metric of the heat maps: what profiles look like, whatever their size *(choice)*."""

SHOWN_LAYERS = ("layer9", "layer10", LAYERS[-1])
DIVISIONS = (("letters", "gradient", "vowel-consonant"), ("phonemes", "none", "manner"))


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``clusters.h5`` and tables of clusters and sketches; returns what they say."""
    folder, sampled = gathered.folder, sketch_evidence(gathered)
    rows, exact = write_clusters(
        folder / "profiles.h5", folder / "clusters.h5", gathered.seed, sampled, gathered.reductions
    )
    write_csv(folder / "clusters.csv", CLUSTER_COLUMNS, [csv_row(row) for row in rows])
    if sampled:
        write_csv(folder / "clusters_by_speaker.csv", SPEAKER_COLUMNS, speaker_rows(sampled))
        write_csv(folder / "sketches.csv", SKETCH_COLUMNS, sketch_rows(gathered, exact))
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
    """A row of ``clusters.csv``: how well phonetic classes fit the distances of a layer.

    Parameters
    ----------
    clustering
        What is drawn: plain distances between profiles, and their tree.
    groups, named, distance
        The groups with a class, their classes, and the distances ``(G, G)`` that the evidence is about:
        cross-validated from sketches where there are some, else plain between profiles.
    evidence
        The silhouette against classes dealt among the groups.
    adjusted_rand
        Of the tree cut into as many clusters as there are classes.
    plain
        The silhouette in plain distances between profiles.
    sampled
        What else sketches say, where there are some.
    """

    clustering: Clustering
    classes: str
    groups: tuple[str, ...]
    named: tuple[str, ...]
    distance: np.ndarray
    evidence: Evidence
    adjusted_rand: float
    plain: float
    sampled: Sampled | None


def group_profiles(
    path: Path, key: Key, layer: str, reduction: Reduction | None = None
) -> tuple[list[str], np.ndarray]:
    """The groups that statistics run over and their profiles ``(G, C, P)``, the average taken off."""
    data = read_profiles(path, key, layer, average="none", minimum=ENOUGH)
    if reduction is not None:
        data = time_independent(data, reduction)
    names = [str(name) for name in data["group"].values]
    kept = np.flatnonzero(in_statistics(names, key.labels))
    means = data["mean"].values[kept].astype(np.float64)
    return [names[i] for i in kept], means - (means.mean(0) if len(kept) else 0.0)


def reduced(key: Key, reduction: Reduction) -> Key:
    """The name of profiles without time: ``activation-mean`` in the place of ``activation``."""
    return replace(key, weight=f"{key.weight}-{reduction}")


def clusterings(path: Path, reductions: Sequence[Reduction] = ()) -> Iterator[Clustering]:
    """The clusterings of every layer in every metric; letters and phonemes each alone and in one joint map.

    Sets of fewer than three groups are left out. In the joint map letters and phonemes stand at offset 0, so
    that a difference between them is not one of alignment; each kind's own average is taken off. Profiles of
    plain activations are also clustered without time, in each way that ``reductions`` names.
    """
    keys = keys_of(path)
    joint = [key for key in keys if key in (LETTERS_NONE, PHONEMES_NONE)]
    for key in keys:
        for layer in layers_of(path, key):
            names, profiles = group_profiles(path, key, layer)
            yield from _in_metrics(key, layer, names, profiles)
    for key, reduction in itertools.product(keys, reductions):
        for layer in layers_of(path, key) if key.weight == "activation" else ():
            names, profiles = group_profiles(path, key, layer, reduction)
            yield from _in_metrics(reduced(key, reduction), layer, names, profiles)
    if len(joint) == 2:
        for layer in layers_of(path, joint[0]):
            parts = [group_profiles(path, key, layer) for key in joint]
            if min(len(names) for names, _ in parts) == 0:
                continue
            names = [
                f"{KINDS[k.labels]} {n}" for k, (some, _) in zip(joint, parts, strict=True) for n in some
            ]
            profiles = np.concatenate([some for _, some in parts])
            yield from _in_metrics(JOINT, layer, names, profiles)


def _in_metrics(key: Key, layer: str, names: Sequence[str], profiles: np.ndarray) -> Iterator[Clustering]:
    if len(names) < 3:
        return
    for metric in METRICS:
        found = distances(profiles, metric)
        linked = tree(found, LINKAGE)
        yield Clustering(key.labels, key.offset, key.weight, layer, metric, tuple(names), found, linked)


def class_rows(found: Clustering, seed: int, sampled: Mapping[str, Sampled]) -> list[ClassRow]:
    """Evidence for each division into phonetic classes that these labels have.

    Parameters
    ----------
    sampled
        By division what sketches say.
    """
    rows = []
    for division in CLASSES.get(found.labels, ()):
        classes = classes_of(found.labels, found.groups, division)
        kept = [i for i, each in enumerate(classes) if each is not None]
        named = tuple(str(classes[i]) for i in kept)
        if len(set(named)) < 2:
            continue
        distance = found.distance[np.ix_(kept, kept)]
        rand, plain = agreement(tree(distance, LINKAGE), named), silhouette(distance, named)
        own = sampled.get(division)
        if own is not None:
            row = ClassRow(
                found, division, own.groups, own.named, own.distance, own.permuted, rand, plain, own
            )
        else:
            groups = tuple(found.groups[i] for i in kept)
            evidence = class_evidence(distance, named, seed=seed)
            row = ClassRow(found, division, groups, named, distance, evidence, rand, plain, None)
        rows.append(row)
    return rows


CLUSTER_COLUMNS = (
    *("labels", "offset", "weight", "layer", "metric", "linkage", "classes", "groups", "silhouette"),
    *("null_mean", "null_low", "null_high", "p_value", "cophenetic", "adjusted_rand"),
    *("distance", "low", "high", "drawn", "rotated_mean", "rotated_low", "rotated_high", "rotated_p"),
    *("separation", "separation_p", "plain_sketches", "plain_profiles", "missing_pairs"),
)


def csv_row(row: ClassRow) -> tuple[object, ...]:
    """The cells of :data:`CLUSTER_COLUMNS`."""
    found, evidence, own = row.clustering, row.evidence, row.sampled
    cells = (
        *(found.labels, found.offset, found.weight, found.layer, found.metric, LINKAGE, row.classes),
        *(len(row.groups), evidence.value),
        *(evidence.null_mean, evidence.low, evidence.high, evidence.p_value),
        *(found.tree.cophenetic, row.adjusted_rand),
    )
    if own is None:
        return (*cells, "plain, profiles", *(None,) * 10, row.plain, None)
    return (
        *(*cells, "cross-validated, sketches", own.silhouette.low, own.silhouette.high, own.unit),
        *(own.rotated.null_mean, own.rotated.low, own.rotated.high, own.rotated.p_value),
        *(own.separation, own.separation_p, own.plain, row.plain, own.missing),
    )


SPEAKER_COLUMNS = ("labels", "offset", "layer", "metric", "classes", "speaker", "silhouette")


def speaker_rows(sampled: Sequence[Sampled]) -> list[tuple[object, ...]]:
    """The rows of ``clusters_by_speaker.csv``: silhouettes in the distances of one speaker's utterances."""
    return [
        (each.key.labels, each.key.offset, each.layer, each.metric, each.classes, speaker, value)
        for each in sampled
        for speaker, value in each.speakers.items()
    ]


def write_clusters(
    profiles: Path,
    out: Path,
    seed: int,
    sampled: Sequence[Sampled] = (),
    reductions: Sequence[Reduction] = (),
) -> tuple[list[ClassRow], Exact]:
    """``clusters.h5`` from ``profiles.h5``.

    Returns the rows of ``clusters.csv``; and by profiles and layer the groups and plain distances in every
    metric, ``(3, G, G)``, of what leaves sketches.
    """
    rows: list[ClassRow] = []
    exact: dict[tuple[Key, str], tuple[tuple[str, ...], list[np.ndarray]]] = {}
    with writing(out) as temporary, h5py.File(temporary, "w") as file:
        for found in track(clusterings(profiles, reductions), "clusters", unit="clustering"):
            key = Key(found.labels, found.offset, found.weight)
            own = {
                each.classes: each
                for each in sampled
                if (each.key, each.layer, each.metric) == (key, found.layer, found.metric)
            }
            rows += class_rows(found, seed, own)
            exact.setdefault((key, found.layer), (found.groups, []))[1].append(found.distance)
            group = file.require_group(f"{key.path}/{found.layer}")
            if "groups" not in group.attrs:
                group.attrs["groups"] = np.array(found.groups, dtype=h5py.string_dtype())
            # The pictured metric under the plain names, each metric under its own.
            metric = group.create_group(found.metric)
            for target in (metric, group) if found.metric == PICTURED else (metric,):
                target.create_dataset("distance", data=found.distance.astype(np.float32))
                target.create_dataset("linkage", data=found.tree.linkage)
                target.create_dataset("order", data=found.tree.order)
            for each in list(own.values())[:1]:
                crossed = metric.create_dataset("cross_validated", data=each.distance.astype(np.float32))
                crossed.attrs["groups"] = np.array(each.groups, dtype=h5py.string_dtype())
            group.attrs["metric"] = PICTURED
    known = {(each.key, each.layer) for each in sampled if each.key != JOINT}
    return rows, {at: (groups, np.stack(found)) for at, (groups, found) in exact.items() if at in known}


def structure_findings(rows: Sequence[ClassRow], seed: int) -> list[Finding]:
    """Silhouettes of letters and phonemes at layers 9, 10, output and the best layer."""
    found = []
    for labels, offset, division in DIVISIONS:
        own = [
            row
            for row in rows
            if (row.clustering.labels, row.clustering.offset, row.classes) == (labels, offset, division)
            and (row.clustering.metric, row.clustering.weight) == (PICTURED, "activation")
            and np.isfinite(row.evidence.value)
        ]
        for row in own:
            if row.clustering.layer in SHOWN_LAYERS:
                found.append(structure_finding(_structure(row, row.evidence)))
        if len(own) > 1:
            at, evidence = best_of([row.distance for row in own], [row.named for row in own], seed=seed)
            row = own[at]
            found.append(structure_finding(_structure(row, evidence, chosen=True), best_of=len(own)))
    return found


def _structure(row: ClassRow, evidence: Evidence, *, chosen: bool = False) -> Structure:
    """Of a layer chosen for its silhouette no interval is told: it would lie too high."""
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
        row.sampled is not None,
        None if row.sampled is None or chosen else row.sampled.silhouette,
    )
