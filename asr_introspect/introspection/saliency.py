"""Saliency-adjusted profiles: windows in which a cell counts as much as it bears on the letter.

The idea is that of gradient-adjusted activation profiles (GradNAP, Krug et al. 2021). Their formula is not
available to us; what is averaged here is, per instance and layer,

gradient
    activation times the size of the gradient, the sizes divided by their mean over the window *(choice)*;
gradient-activation
    gradient times activation, divided by the mean of its size *(choice: the activation is a factor already)*;
relevance
    LRP relevance at the layer (composite ``epsilon-relative``), divided by the mean of its size *(choice)*.

Each is taken for g, the letter's logit minus the mean of the others, and all instances of a letter weigh
alike, however steep their gradients are. A cell that the step never saw, because the window was moved, has
saliency zero; a cell outside the utterance is missing. The logits themselves have no such profile: the
gradient of g there is the same for every instance of a letter *(choice)*.

Elementwise weights rule out sums over tiles of speech (:mod:`introspection.moments`): each window is added by
itself. The letters of a batch are walked in the order of their classes, so that the sums of one class are
loaded once for all its letters in a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from asr_introspect.attribution.attribute import attribute_chunks
from asr_introspect.attribution.windows import cut
from asr_introspect.compiled import compiled
from asr_introspect.errors import unknown_name
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Moments, empty
from asr_introspect.introspection.offsets import CHUNK, COMPOSITE, parts_of, positions_of
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import Forward

Weight = Literal["gradient", "gradient-activation", "relevance"]
WEIGHTS: tuple[str, ...] = get_args(Weight)
WALKS: dict[str, Literal["gradient", "lrp"]] = {
    "gradient": "gradient",
    "gradient-activation": "gradient",
    "relevance": "lrp",
}
"""The walk through the network that each weight needs; weights of one walk share it."""


def weighted(weight: str, saliency: Tensor, activation: Tensor, inside: Tensor) -> Tensor:
    """The cells of windows as their saliency has them count.

    Parameters
    ----------
    saliency, activation
        ``(N, C, P)``: what the walk gives at the layer, and the layer's activations.
    inside
        ``(N, P)``, true at positions of the utterance.

    Raises
    ------
    UsageError
        There is no such weight; the message says the near ones.
    """
    if weight not in WEIGHTS:
        raise unknown_name("weight", weight, WEIGHTS)
    values = saliency * activation if weight == "gradient-activation" else saliency
    size = values.abs() * inside[:, None]
    mean = size.sum((1, 2)) / (inside.sum(1) * saliency.shape[1]).clamp_min(1)
    share = torch.where(mean > 0, 1 / mean, 0.0)[:, None, None]
    return size * share * activation if weight == "gradient" else values * share


class SaliencySums:
    """Sums of weighted windows of letters, at every layer but the logits; what one part of a pass fills.

    Memory is that of the sums, 16 bytes for each group and cell (73 MB for 29 letters and the small preset),
    and of one chunk of letters.

    Parameters
    ----------
    groups
        Names; a letter's group is its class.
    weights
        Some of :data:`WEIGHTS`.
    layout
        The cone of each layer.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        groups: tuple[str, ...],
        weights: Sequence[str],
        layout: Mapping[str, Cone],
    ) -> None:
        for weight in weights:
            if weight not in WEIGHTS:
                raise unknown_name("weight", weight, WEIGHTS)
        self.recogniser = recogniser
        self.groups = groups
        self.weights = tuple(weights)
        self.layout = {name: cone for name, cone in layout.items() if name != LAYERS[-1]}
        self.totals: dict[tuple[str, str], np.ndarray] = {}
        self.count = {
            name: np.zeros((len(groups), cone.positions), np.int64) for name, cone in self.layout.items()
        }

    def add(
        self,
        forward: Forward,
        item: np.ndarray,
        step: np.ndarray,
        label: np.ndarray,
        positions: Mapping[str, np.ndarray],
    ) -> None:
        """Adds the letters of a batch.

        Parameters
        ----------
        forward
            A batch with the activations of all layers.
        item, step, label
            Per letter its row in the batch, its step and its class, ``(N,)``.
        positions
            By layer where its window stands, ``(N,)``.
        """
        order = np.argsort(label, kind="stable")
        item, step, label = item[order], step[order], label[order]
        at = {name: positions[name][order] for name in self.layout}
        for name, cone in self.layout.items():
            low, high = self._inside(forward, name, item, at[name] + cone.first)
            self._count(name, label, low, high)
        padded: dict[str, Tensor] = {}
        for name, cone in self.layout.items():
            margin = (cone.positions, cone.positions)
            padded[name] = torch.nn.functional.pad(forward.activations[name], margin)
        for walk in dict.fromkeys(WALKS[weight] for weight in self.weights):
            own = [weight for weight in self.weights if WALKS[weight] == walk]
            for rows, name, saliency, starts in self._walked(forward, walk, item, step, label):
                cone = self.layout[name]
                items = torch.from_numpy(item[rows]).to(saliency.device)
                begin = torch.from_numpy(starts).to(saliency.device)
                widths = (cone.positions,)
                activation = cut(padded[name], items, begin[:, None], widths, widths)
                low, high = self._inside(forward, name, item[rows], starts)
                cells = np.arange(cone.positions)
                inside = torch.from_numpy((cells >= low[:, None]) & (cells < high[:, None])).to(begin.device)
                moved = at[name][rows] + cone.first
                low, high = self._inside(forward, name, item[rows], moved)
                for weight in own:
                    found = weighted(weight, saliency, activation, inside)
                    values = found.permute(2, 0, 1).contiguous().cpu().numpy()
                    _add(values, moved - starts, low, high, label[rows], self._total(weight, name, values))

    def moments(self, weight: str, layer: str) -> Moments | None:
        """The moments of what was added, None where nothing was; the sums are forgotten."""
        totals = self.totals.pop((weight, layer), None)
        if totals is None:
            return None
        _, positions, _, channels = totals.shape
        found = empty(self.groups, channels, positions)
        found.count[:] = self.count[layer]
        some = np.maximum(found.count, 1)[:, :, None]
        mean = totals[:, :, 0] / some
        found.mean[:] = mean.transpose(0, 2, 1)
        found.m2[:] = np.maximum(totals[:, :, 1] - totals[:, :, 0] * mean, 0).transpose(0, 2, 1)
        return found

    def _walked(
        self, forward: Forward, walk: str, item: np.ndarray, step: np.ndarray, label: np.ndarray
    ) -> Iterator[tuple[np.ndarray, str, Tensor, np.ndarray]]:
        """By chunk and layer: which letters, the layer, their windows and where these start."""
        for rows, begin, spectrogram, frames in parts_of(self.recogniser, forward, step):
            if len(rows) == 0:
                continue
            targets = np.stack([item[rows], step[rows] - begin, label[rows]], axis=1)
            for chunk, found in attribute_chunks(
                self.recogniser.network,
                spectrogram,
                torch.from_numpy(targets).to(spectrogram.device),
                walk,
                COMPOSITE,
                frames.to(spectrogram.device),
                tuple(self.layout),
                "mean",
                chunk=CHUNK,
            ):
                for name, relevance in found.items():
                    starts = relevance.starts.cpu().numpy() + self.layout[name].stride * begin
                    yield rows[chunk.cpu().numpy()], name, relevance.windows, starts

    def _total(self, weight: str, layer: str, values: np.ndarray) -> np.ndarray:
        """Sums and sums of squares, ``(G, P, 2, C)``."""
        at = (weight, layer)
        if at not in self.totals:
            self.totals[at] = np.zeros((len(self.groups), len(values), 2, values.shape[2]))
        return self.totals[at]

    def _count(self, layer: str, label: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Counts, at each position of a layer's windows, the letters whose utterance it is inside of."""
        groups, positions = self.count[layer].shape
        bins = groups * (positions + 1)
        starts, ends = (np.bincount(label * (positions + 1) + edge, minlength=bins) for edge in (low, high))
        inside = np.cumsum((starts - ends).reshape(groups, positions + 1), axis=1)
        self.count[layer] += inside[:, :positions]

    def _inside(
        self, forward: Forward, layer: str, item: np.ndarray, begin: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and end of the positions of windows that lie inside their utterance, ``(N,)`` each."""
        lengths, positions = positions_of(forward, layer)[item], self.layout[layer].positions
        return (-begin).clip(0, positions), (lengths - begin).clip(0, positions)


@compiled
def _add(
    values: np.ndarray,
    moved: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    group: np.ndarray,
    totals: np.ndarray,
) -> None:
    """Adds windows ``(P, N, C)``, each moved by so many positions, to the sums ``(G, P, 2, C)``."""
    positions, windows, channels = values.shape
    for position in range(positions):
        for window in range(windows):
            cell = position + moved[window]
            if low[window] <= position < high[window] and 0 <= cell < positions:
                total = totals[group[window], position, 0]
                square = totals[group[window], position, 1]
                for channel in range(channels):
                    value = np.float64(values[cell, window, channel])
                    total[channel] += value
                    square[channel] += value * value
