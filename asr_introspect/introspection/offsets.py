"""Offsets: which position of a layer an emitted letter is about, by that layer's own gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from asr_introspect.attribution.attribute import attribute
from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, LONGEST_SECONDS, PIECE_STEPS, Forward

CurveMethod = Literal["gradient", "lrp"]
COMPOSITE = "epsilon-relative"
CHUNK = 32
"""Letters walked back at once: more would be hardly faster and takes memory."""

Find = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Takes curves ``(N, P)``, the position of their first value and the positions there are, ``(N,)``; returns
positions."""


@dataclass(frozen=True)
class Curves:
    """How strongly each position of each layer's cone bears on a letter.

    Mean over channels of the size of that layer's gradient of g, the letter's logit minus the mean of the
    others (a logit alone is defined only up to a constant per step: methods, section 5, trap 3).

    Parameters
    ----------
    rows
        Which of the instances asked about they belong to, ``(N,)``.
    values, starts
        By layer ``(N, P)``, zero outside the utterance, and the position of the first value, ``(N,)``.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    starts: dict[str, np.ndarray]


def curves(
    recogniser: Recogniser,
    forward: Forward,
    item: np.ndarray,
    step: np.ndarray,
    label: np.ndarray,
    method: CurveMethod = "gradient",
) -> Iterator[Curves]:
    """Yields the curves of all layers with a cone of more than one position, from one sweep per part.

    A batch is one part; an utterance of more than 60 s is several, each with the frames that its steps see.

    Parameters
    ----------
    forward
        A batch with the activations of ``input``.
    item, step, label
        Per instance its row in the batch, its step and its class, ``(N,)``.
    method
        ``gradient``: mean over channels of its size; ``lrp``: sum over channels of the size of the relevance
        (composite ``epsilon-relative``).
    """
    layout = {name: cone for name, cone in cones(recogniser.network).items() if cone.shifts}
    for rows, begin, spectrogram, frames in parts_of(recogniser, forward, step):
        if len(rows) == 0:
            continue
        targets = np.stack([item[rows], step[rows] - begin, label[rows]], axis=1)
        found = attribute(
            recogniser.network,
            spectrogram,
            torch.from_numpy(targets).to(spectrogram.device),
            method=method,
            composite=COMPOSITE,
            against="mean",
            lengths=frames.to(spectrogram.device),
            at=tuple(layout),
            chunk=CHUNK,
            reduce=_mean_size if method == "gradient" else _summed_size,
        )
        yield Curves(
            rows,
            {name: found[name].windows.cpu().numpy() for name in layout},
            {name: found[name].starts.cpu().numpy() + cone.stride * begin for name, cone in layout.items()},
        )


def _mean_size(windows: Tensor) -> Tensor:
    return windows.abs().mean(1)


def _summed_size(windows: Tensor) -> Tensor:
    return windows.abs().sum(1)


def parts_of(
    recogniser: Recogniser, forward: Forward, step: np.ndarray
) -> Iterator[tuple[np.ndarray, int, Tensor, Tensor]]:
    """Instances, the step at which their spectrogram begins, the spectrograms and their frames."""
    spectrogram = forward.activations[INPUT]
    if spectrogram.shape[-1] * recogniser.features.frame_seconds <= LONGEST_SECONDS:
        yield np.arange(len(step)), 0, spectrogram, forward.frames
        return
    before, after = recogniser.network.context()
    stride = recogniser.step_frames
    for first in range(0, int(forward.lengths[0]), PIECE_STEPS):
        rows = np.flatnonzero((step >= first) & (step < first + PIECE_STEPS))
        begin = max(0, first - -(-before // stride))
        seen = spectrogram[..., stride * begin : stride * (first + PIECE_STEPS) + after]
        yield rows, begin, seen, torch.tensor([seen.shape[-1]])


def strongest(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The position of each curve's largest value among those inside the utterance, of equals the first.

    Parameters
    ----------
    values, starts
        ``(N, P)`` and the position of the first value, ``(N,)``.
    lengths
        Positions of each instance's utterance at that layer, ``(N,)``.
    """
    return np.asarray(starts + np.where(_inside(values, starts, lengths), values, -np.inf).argmax(1))


def centre_of_mass(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The centre of mass of each curve inside the utterance, rounded to a position; arguments as above.

    The middle of what lies inside where a curve is zero throughout.
    """
    weights = np.where(_inside(values, starts, lengths), np.maximum(values, 1e-30), 0.0)
    centre = (weights * np.arange(values.shape[1])).sum(1) / weights.sum(1)
    return np.asarray(starts + np.rint(centre).astype(np.int64))


def _inside(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    positions = starts[:, None] + np.arange(values.shape[1])
    return np.asarray((positions >= 0) & (positions < lengths[:, None]))


def gradient_offsets(
    recogniser: Recogniser, forward: Forward, item: np.ndarray, step: np.ndarray, label: np.ndarray
) -> dict[str, np.ndarray]:
    """The position each emitted letter is about, by layer, ``(N,)`` each, in that layer's own positions.

    The largest value of its curve inside the utterance (methods, section 2, ``gradient``). Layers whose cone
    is one position are not among them. Arguments as for :func:`curves`.
    """
    found = {
        name: np.zeros(len(step), np.int64) for name, cone in cones(recogniser.network).items() if cone.shifts
    }
    for part in curves(recogniser, forward, item, step, label):
        for name, positions in found.items():
            lengths = positions_of(forward, name)[item[part.rows]]
            positions[part.rows] = strongest(part.values[name], part.starts[name], lengths)
    return found


def positions_of(forward: Forward, layer: str) -> np.ndarray:
    """How many positions of a layer each utterance of a batch has, ``(B,)``."""
    return np.asarray((forward.frames if layer == INPUT else forward.lengths).numpy())


def aligned(
    found: Mapping[str, np.ndarray], layout: Mapping[str, Cone], step: np.ndarray
) -> dict[str, np.ndarray]:
    """Where each instance's window stands at every layer: the found position, else the step's own, ``(N,)``.

    The window moves by ``s_l``, found position minus ``stride * step``: the found position lands on the
    anchor.
    """
    return {name: found.get(name, cone.stride * step) for name, cone in layout.items()}


def position_seconds(position: np.ndarray, cone: Cone, frame_seconds: float) -> np.ndarray:
    """The time of a layer's positions: the centre of what each of them sees, in seconds."""
    return np.asarray((cone.frames * position + cone.centre) * frame_seconds)
