"""What a pass adds up: moments of windows per batch, merged slice by slice into ``work/moments.h5``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.pass_labels import Windows
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.files import writing
from asr_introspect.introspection.moments import (
    Activations,
    Moments,
    WindowSet,
    merge,
    together,
    window_moments,
)
from asr_introspect.introspection.profiles import Key, read_exact, write_moments
from asr_introspect.introspection.saliency import SaliencySums
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, Forward


def layer_values(forward: Forward, layer: str) -> np.ndarray:
    """Activations of a batch ``(B, C, T)``; the logits centred over the symbols."""
    values = forward.activations[layer]
    if layer == LAYERS[-1]:
        values = values - values.mean(1, keepdim=True)
    return values.cpu().contiguous().numpy()


def layer_rows(forward: Forward, layer: str) -> np.ndarray:
    """The same with positions as rows, ``(B, T, C)``, contiguous."""
    return np.ascontiguousarray(layer_values(forward, layer).transpose(0, 2, 1))


class SliceSums:
    """What the batches of one slice add up to.

    Activations of layers whose windows overlap are kept until the slice is through, half a megabyte for a
    second of speech: a layer's sums over hundreds of groups are then in memory for that layer alone. Layers
    whose windows are one position are summed at once, and so are windows weighted by saliency.
    """

    def __init__(self, plan: Pass) -> None:
        self.plan = plan
        self.batches: dict[str, list[Activations]] = {layer: [] for layer in plan.layout}
        self.windows: dict[str, dict[Key, list[WindowSet]]] = {layer: {} for layer in plan.layout}
        self.summed: dict[str, dict[Key, Moments]] = {}
        self.saliency = SaliencySums(plan.recogniser, plan.letters, plan.weights, plan.layout)

    def add(self, forward: Forward, windows: Sequence[Windows]) -> None:
        """Adds the windows of a batch, and of the parts of their groups."""
        sets = self.plan.sets
        grouped = [(some, *sets[some.key.labels].grouped(some.label, some.parts)) for some in windows]
        for layer, cone in self.plan.layout.items():
            lengths = (forward.frames if layer == INPUT else forward.lengths).numpy()
            number = len(self.batches[layer])
            self.batches[layer].append(Activations(layer_values(forward, layer), lengths))
            for some, chosen, group in grouped:
                own = WindowSet(
                    self.plan.groups(some.key),
                    np.full(len(chosen), number),
                    some.item[chosen],
                    some.positions[layer][chosen],
                    group,
                )
                self.windows[layer].setdefault(some.key, []).append(own)
            if not cone.shifts:
                self.summed[layer] = self._windows_summed(layer)
        for some in windows:
            if some.key in {replace(key, weight="activation") for key in self.plan.weighted}:
                step = some.positions[LAYERS[-1]]
                self.saliency.add(forward, some.item, step, some.label, some.positions)

    def moments(self, layer: str) -> dict[Key, Moments]:
        """The moments of all profiles at a layer; what they were made of is forgotten."""
        weighted = {key: self.saliency.moments(key.weight, layer) for key in self.plan.weighted}
        known = {key: moments for key, moments in weighted.items() if moments is not None}
        return {**self._windows_summed(layer), **known}

    def _windows_summed(self, layer: str) -> dict[Key, Moments]:
        """The moments of windows of plain activations at a layer; the activations are forgotten."""
        before = self.summed.pop(layer, {})
        batches, windows = self.batches[layer], self.windows[layer]
        self.batches[layer], self.windows[layer] = [], {}
        if not batches:
            return before
        cone = self.plan.layout[layer]
        found = window_moments(
            batches,
            [together(parts) for parts in windows.values()],
            cone.first,
            cone.positions,
            threads=torch.get_num_threads(),
        )
        return {
            key: merge(before[key], own) if key in before else own
            for key, own in zip(windows, found, strict=True)
        }


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


def merge_into(plan: Pass, work: Path, found: SliceSums, slices: int) -> None:
    """Merges a slice's moments into ``work/moments.h5``, a layer at a time: never both parts in memory."""
    path = work / "moments.h5"
    with contextlib.ExitStack() as opened:
        before = opened.enter_context(h5py.File(path, "r")) if slices > 1 else None
        temporary = opened.enter_context(writing(path))
        file = opened.enter_context(h5py.File(temporary, "w"))
        file.attrs["slices"] = slices
        for layer, cone in plan.layout.items():
            own = found.moments(layer)
            for key in plan.keys:
                known = before is not None and f"{key.path}/{layer}" in before
                parts = [read_exact(before, key, layer)] if known else []
                if key in own:
                    parts.append(own.pop(key))
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
