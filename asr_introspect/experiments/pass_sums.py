"""What a pass adds up: moments of windows per batch, merged slice by slice into ``work/moments.h5``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.pass_labels import Windows
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.files import writing
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Moments, Sums, in_threads, merge
from asr_introspect.introspection.profiles import Key, read_exact, write_moments
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, Forward

MomentsByLayer = dict[tuple[Key, str], Moments]


def layer_rows(forward: Forward, layer: str) -> np.ndarray:
    """Activations of a batch with positions as rows, ``(B, T, C)``; the logits centred over the symbols."""
    values = forward.activations[layer]
    if layer == LAYERS[-1]:
        values = values - values.mean(1, keepdim=True)
    return values.transpose(1, 2).contiguous().cpu().numpy()


class BatchSums:
    """The sums of one slice as its batches come."""

    def __init__(self, plan: Pass) -> None:
        self.plan = plan
        self.sums: dict[tuple[Key, str], Sums] = {}

    def add(self, forward: Forward, windows: Sequence[Windows]) -> None:
        """Adds the windows of a batch, and of the parts of their groups, layers side by side."""
        grouped = [(some, *_with_splits(self.plan, some)) for some in windows]

        def add(layer: str, cone: Cone) -> None:
            rows = layer_rows(forward, layer)
            lengths = (forward.frames if layer == INPUT else forward.lengths).numpy()
            for some, chosen, group in grouped:
                sums = self._sums(some.key, cone, rows, lengths)
                sums.add(rows, some.item[chosen], some.positions[layer][chosen], lengths, group)

        in_threads(
            {layer: functools.partial(add, layer, cone) for layer, cone in self.plan.layout.items()},
            torch.get_num_threads(),
        )

    def _sums(self, key: Key, cone: Cone, rows: np.ndarray, lengths: np.ndarray) -> Sums:
        """The sums of some profiles at a layer; the first batch says what is taken off each channel."""
        at = (key, cone.layer)
        if at not in self.sums:
            valid = np.concatenate([rows[i, :length] for i, length in enumerate(lengths)])
            centre = valid.mean(0, dtype=np.float64)
            self.sums[at] = Sums(self.plan.groups(key), centre, cone.first, cone.positions)
        return self.sums[at]

    def moments(self) -> MomentsByLayer:
        """The moments of what was added; this object is used up."""
        return {at: each.moments() for at, each in self.sums.items()}


def _with_splits(plan: Pass, some: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Windows by group: each once for its label and once for every part of it that it belongs to.

    Returns which window, and its group's number in :meth:`Pass.groups`, ``(M,)`` each.
    """
    labels = plan.labels[some.key.labels]
    chosen, group, first = [np.arange(len(some.item))], [some.label], len(labels)
    for split in plan.splits:
        value = some.parts[split]
        known = np.flatnonzero(value >= 0)
        chosen.append(known)
        group.append(first + value[known] * len(labels) + some.label[known])
        first += len(plan.values_of(split)) * len(labels)
    return np.concatenate(chosen), np.concatenate(group)


def slices_done(work: Path) -> int:
    """How many slices the moments in ``work`` hold."""
    path = work / "moments.h5"
    if not path.exists():
        return 0
    try:
        with h5py.File(path, "r") as file:
            return int(file.attrs["slices"])
    except (OSError, KeyError) as error:
        raise IntrospectError(f"{path} is damaged ({error}); remove {work} and run again") from error


def merge_into(plan: Pass, work: Path, found: MomentsByLayer, slices: int) -> None:
    """Merges a slice's moments into ``work/moments.h5``, a layer at a time: never both parts in memory."""
    path = work / "moments.h5"
    with contextlib.ExitStack() as opened:
        before = opened.enter_context(h5py.File(path, "r")) if slices > 1 else None
        temporary = opened.enter_context(writing(path))
        file = opened.enter_context(h5py.File(temporary, "w"))
        file.attrs["slices"] = slices
        for key in plan.keys:
            for layer, cone in plan.layout.items():
                known = before is not None and f"{key.path}/{layer}" in before
                parts = [read_exact(before, key, layer)] if known else []
                if (key, layer) in found:
                    parts.append(found.pop((key, layer)))
                if parts:
                    write_moments(file, key, cone, functools.reduce(merge, parts), exact=True)


def merged_moments(
    plan: Pass, work: Path, layers: Sequence[str] | None = None
) -> Iterator[tuple[Key, str, Moments]]:
    """The moments of the whole corpus, one layer at a time; of some layers only, if they are named."""
    with h5py.File(work / "moments.h5", "r") as file:
        for key in plan.keys:
            for layer in plan.layout if layers is None else layers:
                if f"{key.path}/{layer}" in file:
                    yield key, layer, read_exact(file, key, layer)
