"""Every method of saying which position of a layer a letter is about, and the controls, for one batch.

Methods, section 2: ``gradient`` and ``centre`` (largest value and centre of mass of the gradient's curve),
``lrp``, ``ctc`` (the likeliest step in the letter's aligned span), ``phone`` (middle of the sound), ``none``
(the step itself); controls: ``random`` (uniform in what the step sees), ``other-letter`` (the gradient of
another letter at the same step), ``scrambled`` (the gradient on a spectrogram of scrambled phases).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.introspection.offsets import (
    CurveMethod,
    Find,
    aligned,
    centre_of_mass,
    curves,
    positions_of,
    strongest,
)
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, Forward
from asr_introspect.recogniser.symbols import LETTERS, SymbolTable

CONTROLS = ("random", "other-letter", "scrambled")
METHODS = ("gradient", "centre", "lrp", "ctc", "phone", "none", *CONTROLS)

Positions = dict[str, np.ndarray]
"""By layer the position each letter is about, ``(N,)``, at the layers whose windows can be moved."""


@dataclass(frozen=True)
class Emitted:
    """Letters of a batch, as columns ``(N,)``.

    Parameters
    ----------
    item, step, label
        Row in the batch, step, class.
    best
        The step of highest posterior in the letter's span of the forced alignment.
    middle
        Seconds of the middle of its sound.
    """

    item: np.ndarray
    step: np.ndarray
    label: np.ndarray
    best: np.ndarray
    middle: np.ndarray


def found_by_all(
    recogniser: Recogniser, forward: Forward, letters: Emitted, *, seed: int = 0
) -> dict[str, Positions]:
    """Where every method and control finds each letter, by method and layer, in that layer's positions.

    Parameters
    ----------
    forward
        A batch with the activations of ``input``.
    seed
        Of the controls; draws are an utterance's own (by its position in the pass), whatever its batch.
    """
    layout = {name: cone for name, cone in cones(recogniser.network).items() if cone.shifts}
    draws = [generator(seed, "controls of offsets", position) for position in forward.positions]
    other = np.empty_like(letters.label)
    for item, random in enumerate(draws):
        own = letters.item == item
        other[own] = another_letter(letters.label[own], recogniser.symbols, random)
    step = letters.step
    return {
        "none": aligned({}, layout, step),
        "ctc": aligned({}, layout, letters.best),
        "phone": at_times(letters.middle, layout, recogniser.features.frame_seconds),
        "random": uniform(forward, letters.item, step, layout, draws),
        **_walked(recogniser, forward, letters, other),
        "lrp": _by_curves(recogniser, forward, letters.item, step, letters.label, strongest, "lrp"),
        "scrambled": _by_curves(
            recogniser, scrambled(forward, draws), letters.item, step, letters.label, strongest
        ),
    }


def _walked(
    recogniser: Recogniser, forward: Forward, letters: Emitted, other: np.ndarray
) -> dict[str, Positions]:
    """Both readings of the gradient's curve, and another letter's, from one walk."""
    count = len(letters.step)
    item, step = (np.concatenate([each, each]) for each in (letters.item, letters.step))
    found: dict[str, Positions] = {"gradient": {}, "centre": {}, "other-letter": {}}
    for part in curves(recogniser, forward, item, step, np.concatenate([letters.label, other])):
        rows = part.rows
        own = rows < count
        for layer, values in part.values.items():
            lengths, starts = positions_of(forward, layer)[item[rows]], part.starts[layer]
            largest = strongest(values, starts, lengths)
            for method, chosen, positions in (
                ("gradient", own, largest),
                ("centre", own, centre_of_mass(values, starts, lengths)),
                ("other-letter", ~own, largest),
            ):
                kept = found[method].setdefault(layer, np.zeros(count, np.int64))
                kept[rows[chosen] % count] = positions[chosen]
    return found


def _by_curves(
    recogniser: Recogniser,
    forward: Forward,
    item: np.ndarray,
    step: np.ndarray,
    label: np.ndarray,
    find: Find,
    method: CurveMethod = "gradient",
) -> Positions:
    found: Positions = {}
    for part in curves(recogniser, forward, item, step, label, method):
        for layer, values in part.values.items():
            lengths = positions_of(forward, layer)[item[part.rows]]
            kept = found.setdefault(layer, np.zeros(len(step), np.int64))
            kept[part.rows] = find(values, part.starts[layer], lengths)
    return found


def another_letter(label: np.ndarray, symbols: SymbolTable, random: np.random.Generator) -> np.ndarray:
    """For each class another one drawn among the letters A to Z (of a table without, all but the blank)."""
    choices = [symbols.symbols.index(name) for name in LETTERS if name in symbols.symbols]
    if len(choices) < 2:
        choices = [i for i in range(len(symbols)) if i != symbols.blank]
    places = np.array(choices)
    drawn = random.integers(0, len(places), len(label))
    # One that is drawn itself gives way to the next: every other letter stays possible.
    return np.asarray(np.where(places[drawn] == label, places[(drawn + 1) % len(places)], places[drawn]))


def uniform(
    forward: Forward,
    item: np.ndarray,
    step: np.ndarray,
    layout: Mapping[str, Cone],
    draws: Sequence[np.random.Generator],
) -> Positions:
    """Positions uniform in what each step sees of its utterance, from the utterance's own generator."""
    found: Positions = {}
    for name, cone in layout.items():
        low = np.maximum(cone.stride * step + cone.first, 0)
        high = np.minimum(cone.stride * step + cone.first + cone.positions, positions_of(forward, name)[item])
        found[name] = np.zeros(len(step), np.int64)
        for number, random in enumerate(draws):
            own = item == number
            found[name][own] = random.integers(low[own], high[own])
    return found


def at_times(seconds: np.ndarray, layout: Mapping[str, Cone], frame_seconds: float) -> Positions:
    """The position of each layer whose centre is nearest a time, ``(N,)`` each."""
    frames = seconds / frame_seconds
    return {
        name: np.rint((frames - cone.centre) / cone.frames).astype(np.int64) for name, cone in layout.items()
    }


def scrambled(forward: Forward, draws: Sequence[np.random.Generator]) -> Forward:
    """The batch with the phases of each utterance's spectrogram scrambled (its inputs only)."""
    spectrograms = forward.activations[INPUT].clone()
    for item, random in enumerate(draws):
        frames = int(forward.frames[item])
        spectrograms[item, :, :frames] = phase_scrambled(spectrograms[item, :, :frames], random)
    return Forward(
        *(forward.utterances, forward.positions, forward.lengths, forward.frames, forward.logits),
        {INPUT: spectrograms},
    )


def phase_scrambled(spectrogram: Tensor, random: np.random.Generator) -> Tensor:
    """A spectrogram ``(F, T)`` of the same two-dimensional power spectrum with the phases of noise."""
    noise = torch.from_numpy(random.normal(size=tuple(spectrogram.shape)).astype(np.float32))
    phases = torch.fft.rfft2(noise.to(spectrogram.device))
    spectrum = torch.fft.rfft2(spectrogram).abs() * phases / phases.abs().clamp_min(1e-12)
    found: Tensor = torch.fft.irfft2(spectrum, s=spectrogram.shape[-2:])
    return found
