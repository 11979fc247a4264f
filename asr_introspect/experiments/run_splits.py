"""``splits.csv`` and ``split_pairs.csv``: how far apart the parts of groups lie, layer by layer.

From the sketches of the pass, so only for the labels that leave some (emitted letters and phonemes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_groups import LabelSet
from asr_introspect.experiments.pass_sketches import StoredSketches, read_sketches
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.parts import Apart, Cells, apart, cells
from asr_introspect.introspection.profiles import ENOUGH, Key, in_statistics
from asr_introspect.introspection.split_findings import SplitLayer, split_finding
from asr_introspect.progress import track
from asr_introspect.random import generator

MOST_INSTANCES = 20_000
"""Of more instances so many are drawn by seed, whole utterances of them *(choice)*."""

SPLIT_COLUMNS = (
    *("labels", "offset", "split", "layer", "instances", "cells", "groups", "left_out", "unit"),
    *("same_group", "low", "high", "null_low", "null_high", "p_value"),
    *("same_part", "same_part_low", "same_part_high"),
)
PAIR_COLUMNS = (
    *("labels", "offset", "split", "layer", "group", "first", "first_count", "second", "second_count"),
    *("distance", "low", "high"),
)


@dataclass(frozen=True)
class SplitRow:
    """One split of one set of profiles at one layer."""

    key: Key
    split: str
    layer: str
    labels: LabelSet
    cells: Cells
    left_out: int
    apart: Apart

    def cell_name(self, cell: int) -> str:
        """What the part of a cell is called: ``S``."""
        return self.labels.values[self.split][int(self.cells.part[cell])]


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``splits.csv`` and ``split_pairs.csv`` where groups are split; returns what they say."""
    if not gathered.plan.splits:
        return []
    rows = list(split_rows(gathered))
    write_csv(gathered.folder / "splits.csv", SPLIT_COLUMNS, [_cells_of(row) for row in rows])
    pairs = [cells for row in rows for cells in _pair_cells(row)]
    write_csv(gathered.folder / "split_pairs.csv", PAIR_COLUMNS, pairs)
    found: dict[tuple[Key, str], list[SplitLayer]] = {}
    for row in rows:
        own = SplitLayer(
            row.layer, row.apart.same_group, row.apart.same_part, row.apart.null, row.apart.p_value
        )
        found.setdefault((row.key, row.split), []).append(own)
    return [split_finding(key.labels, split, layers) for (key, split), layers in found.items()]


def split_rows(gathered: Gathered) -> Iterator[SplitRow]:
    """Every split of letters (where their gradients find them) and phonemes, at every layer."""
    plan = gathered.plan
    moved = "gradient" if plan.gradient else "none"
    keys = [Key("letters", moved), Key("phonemes", "none")]
    work = [(key, layer) for key in keys if plan.sets[key.labels].values for layer in plan.layout]
    for key, layer in track(work, "parts of groups", unit="layer"):
        stored = read_sketches(gathered.work, key, layer)
        if stored is None:
            continue
        chosen, utterance = _sketched_instances(gathered, key, stored)
        labels = plan.sets[key.labels]
        inside = np.isin(stored.label, np.flatnonzero(in_statistics(labels.labels, key.labels)))
        speakers = [str(record["speaker"]) for record in gathered.rows.utterances]
        for split in labels.values:
            value = gathered.rows.parts[key.labels][split][chosen]
            known = np.flatnonzero(inside & (value >= 0))
            known = known[_drawn(utterance[known], gathered.seed)]
            found = cells(
                stored.values[known],
                stored.label[known],
                value[known],
                utterance[known],
                speakers,
                minimum=ENOUGH,
                by_utterance=split == "speaker",
                seed=gathered.seed,
            )
            seen = apart(found, seed=gathered.seed)
            if seen is not None:
                pairs = np.unique(np.stack([stored.label[known], value[known]]), axis=1).shape[1]
                yield SplitRow(key, split, layer, labels, found, pairs - len(found.group), seen)


def _sketched_instances(
    gathered: Gathered, key: Key, stored: StoredSketches
) -> tuple[np.ndarray, np.ndarray]:
    """The instances that have left sketches, and their utterances, ``(N,)`` each, in the order of these."""
    instances = gathered.rows.instances[key.labels]
    places = np.array([record["row"] for record in gathered.rows.utterances], np.int64)
    place = places[instances.utterance] if len(places) else np.zeros(0, np.int64)
    chosen = np.flatnonzero(np.isin(place, stored.place))
    if not np.array_equal(instances.label[chosen], stored.label):
        raise IntrospectError(f"{gathered.work} holds sketches of other instances; remove it and run again")
    return chosen, instances.utterance[chosen]


def _drawn(utterance: np.ndarray, seed: int) -> np.ndarray:
    """Which of some instances are used: all, or those of utterances drawn by seed."""
    if len(utterance) <= MOST_INSTANCES:
        return np.arange(len(utterance))
    names, counts = np.unique(utterance, return_counts=True)
    order = generator(seed, "utterances for parts of groups").permutation(len(names))
    kept = order[: int(np.searchsorted(counts[order].cumsum(), MOST_INSTANCES, side="right"))]
    return np.flatnonzero(np.isin(utterance, names[kept]))


def _cells_of(row: SplitRow) -> Sequence[object]:
    seen = row.apart
    return (
        *(row.key.labels, row.key.offset, row.split, row.layer, len(row.cells.cell), len(row.cells.group)),
        *(len(np.unique(row.cells.group)), row.left_out, row.cells.unit),
        *(seen.same_group.value, seen.same_group.low, seen.same_group.high, *seen.null, seen.p_value),
        *(seen.same_part.value, seen.same_part.low, seen.same_part.high),
    )


def _pair_cells(row: SplitRow) -> Iterator[Sequence[object]]:
    counts = row.cells.counts
    for (first, second), found in zip(row.apart.pair_cells, row.apart.pairs, strict=True):
        yield (
            *(row.key.labels, row.key.offset, row.split, row.layer),
            row.labels.labels[row.cells.group[first]],
            *(row.cell_name(first), int(counts[first]), row.cell_name(second), int(counts[second])),
            *(found.value, found.low, found.high),
        )
