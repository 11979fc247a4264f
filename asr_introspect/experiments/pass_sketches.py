"""What a pass keeps of each instance: a sketch of its window per layer, by slice in ``work/sketches``.

A sketch depends on the activations of the instance's own utterance only: however the corpus is cut, batched
or merged, it has the same place and, the activations being the same, the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from asr_introspect.corpus.records import Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.pass_labels import Windows
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE, Pass
from asr_introspect.files import writing
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import in_threads
from asr_introspect.introspection.profiles import Key
from asr_introspect.introspection.sketches import Fold, Sketches, encoded, fold, frame_fold
from asr_introspect.random import generator
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, Forward

SKETCH_SECONDS = 3600.0
"""Of longer corpora only utterances drawn by seed leave sketches, so many seconds together *(choice)*: about
0.8 GB."""


FRAMES = "frames"
"""What stands for a layer below the input: frames about the anchor, for a frame classifier."""
SKETCHED = (LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE)
"""Of which sets of labels instances leave sketches."""


def drawn_places(utterances: Sequence[Utterance], seed: int, seconds: float | None = None) -> frozenset[int]:
    """The places of the utterances that leave sketches: all, or so many drawn by seed as make ``seconds``
    (:data:`SKETCH_SECONDS`)."""
    seconds = SKETCH_SECONDS if seconds is None else seconds
    durations = np.array([utterance.duration for utterance in utterances])
    if durations.sum() <= seconds:
        return frozenset(range(len(utterances)))
    order = generator(seed, "utterances that leave sketches").permutation(len(utterances))
    first = int(np.searchsorted(durations[order].cumsum(), seconds, side="right"))
    return frozenset(order[: max(first, 1)].tolist())


class SliceSketches:
    """The sketches of one slice as its batches come, kept by the utterance's place in the corpus."""

    def __init__(self, plan: Pass) -> None:
        assert plan.sketch_seed is not None
        self.layout = plan.layout
        self.seed = plan.sketch_seed
        self.places = drawn_places(plan.utterances, plan.sketch_seed)
        self.folds: dict[str, Fold] = {}
        self.columns: dict[int, dict[Key, np.ndarray]] = {}
        self.kept: dict[tuple[int, Key, str], Sketches] = {}

    def add(self, forward: Forward, places: Sequence[int], windows: Sequence[Windows]) -> None:
        """Keeps the sketches of the windows of a batch, layers side by side.

        Parameters
        ----------
        places
            Of each utterance of the batch its place in the corpus.
        """
        windows = [some for some in windows if some.key in SKETCHED]
        chosen = {i: place for i, place in enumerate(places) if place in self.places}
        rows = {(i, some.key): np.flatnonzero(some.item == i) for i in chosen for some in windows}
        for i, place in chosen.items():
            self.columns[place] = {some.key: some.label[rows[i, some.key]] for some in windows}

        def add(layer: str, cone: Cone) -> None:
            for i, place in chosen.items():
                length = int((forward.frames if layer == INPUT else forward.lengths)[i])
                values = forward.activations[layer][i, :, :length]
                if layer == LAYERS[-1]:
                    values = values - values.mean(0, keepdim=True)
                signal = values.cpu().numpy()
                for name in (layer, FRAMES) if layer == INPUT else (layer,):
                    if name not in self.folds:
                        channels = len(signal)
                        self.folds[name] = (
                            frame_fold(channels) if name == FRAMES else fold(cone, channels, self.seed)
                        )
                    folded, means = self.folds[name].at_all_positions(signal)
                    for some in windows:
                        if some.key.offset != "none" and not cone.shifts:
                            continue  # these windows cannot move: their sketches are those at offset 0
                        at = some.positions[layer][rows[i, some.key]]
                        self.kept[place, some.key, name] = encoded(folded[at], means[at])

        in_threads(
            {layer: functools.partial(add, layer, cone) for layer, cone in self.layout.items()},
            torch.get_num_threads(),
        )

    def write(self, path: Path) -> None:
        """Writes the sketches in the order of the corpus.

        ``/LABELS/OFFSET/WEIGHT`` holds ``place`` and ``label``, ``(N,)``; in it each layer ``values``,
        ``exponent`` and ``mean`` (:class:`~introspection.sketches.Sketches`) and ``ones``, the sketch of a
        window of ones.
        """
        order = sorted(self.columns)
        keys = dict.fromkeys(key for place in order for key in self.columns[place])
        with writing(path) as temporary, h5py.File(temporary, "w") as file:
            for key in keys:
                group = file.create_group(key.path)
                labels = [self.columns[place][key] for place in order]
                group["label"] = np.concatenate(labels).astype(np.int64)
                group["place"] = np.repeat(order, [len(each) for each in labels]).astype(np.int64)
                for layer in (FRAMES, *self.layout):
                    own = [
                        self.kept[place, key, layer] for place in order if (place, key, layer) in self.kept
                    ]
                    if own:
                        written = group.create_group(layer)
                        for name in ("values", "exponent", "mean"):
                            written[name] = np.concatenate([getattr(each, name) for each in own])
                        written.attrs["cells"] = self.folds[layer].cells
                        written["ones"] = self.folds[layer].ones


@dataclass(frozen=True)
class StoredSketches:
    """The sketches of one set of profiles at one layer, over all slices.

    ``values`` ``(N, D)`` and ``mean`` ``(N,)`` float32 in the unit of the activations; ``label`` and
    ``place``, ``(N,)``: each instance's label and its utterance's place in the corpus; ``ones`` ``(D,)``;
    ``cells`` of a whole window.
    """

    values: np.ndarray
    mean: np.ndarray
    label: np.ndarray
    place: np.ndarray
    ones: np.ndarray
    cells: int


def slice_file(work: Path, number: int) -> Path:
    """Where the sketches of a slice lie."""
    return work / "sketches" / f"{number:05}.h5"


def read_sketches(work: Path, key: Key, layer: str) -> StoredSketches | None:
    """The sketches of all slices in order; None where there are none.

    Windows that cannot move at this layer are looked up where they were stored, at offset 0.

    Raises
    ------
    IntrospectError
        A file is damaged.
    """
    parts: list[dict[str, Any]] = []
    for path in sorted((work / "sketches").glob("*.h5")):
        try:
            with h5py.File(path, "r") as file:
                own = next(
                    (
                        each
                        for each in (key, Key(key.labels, "none", key.weight))
                        if f"{each.path}/{layer}" in file
                    ),
                    None,
                )
                if own is None:
                    continue
                group = file[own.path]
                stored = Sketches(*(group[layer][name][()] for name in ("values", "exponent", "mean")))
                parts.append(
                    {
                        "values": stored.decoded(),
                        "mean": stored.mean,
                        "label": group["label"][()],
                        "place": group["place"][()],
                        "ones": group[layer]["ones"][()],
                        "cells": int(group[layer].attrs["cells"]),
                    }
                )
        except (OSError, KeyError) as error:
            raise IntrospectError(f"{path} is damaged ({error}); remove {work} and run again") from error
    if not parts:
        return None
    joined = {
        name: np.concatenate([part[name] for part in parts]) for name in ("values", "mean", "label", "place")
    }
    return StoredSketches(ones=parts[0]["ones"], cells=parts[0]["cells"], **joined)
