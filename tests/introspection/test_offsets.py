"""Offsets against autograd, one letter at a time through the whole network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from asr_introspect.features import FeatureConfig
from asr_introspect.introspection import offsets
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.offsets import (
    aligned,
    curves,
    gradient_offsets,
    position_seconds,
    strongest,
)
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import INPUT, Forward
from asr_introspect.recogniser.symbols import letters

MELS = 6


def recogniser() -> Recogniser:
    network = Wav2Letter(NetworkConfig(mels=MELS, narrow=5, wide=7), 29)
    network.initialise(torch_generator(0, "offsets"))
    for _, block in network.blocks()[:-1]:  # as after training: biases and batch norm that do something
        block.normalisation.running_mean.normal_(generator=torch_generator(1, "offsets"))
        block.convolution.bias.data.normal_(generator=torch_generator(2, "offsets"))
    return Recogniser(network.eval(), FeatureConfig(mels=MELS), letters())


def batch(frames: list[int]) -> Forward:
    spectrogram = torch.zeros(len(frames), MELS, max(frames))
    for i, length in enumerate(frames):
        spectrogram[i, :, :length] = torch.randn(MELS, length, generator=torch_generator(i, "batch"))
    count = torch.tensor(frames)
    nothing = torch.zeros(len(frames), 29, max(frames) // 2)
    return Forward((), tuple(range(len(frames))), count // 2, count, nothing, {INPUT: spectrogram})


def by_autograd(net: Wav2Letter, forward: Forward, item: int, step: int, label: int) -> dict[str, np.ndarray]:
    """Mean over channels of |d g / d a| at all positions of one utterance, alone, by layer."""
    frames = int(forward.frames[item])
    values = {INPUT: forward.activations[INPUT][item : item + 1, :, :frames].clone().requires_grad_()}
    for name, block in net.blocks():
        values[name] = block(values[list(values)[-1]])
    logits = values[LAYERS[-1]][0, :, step]
    others = [i for i in range(len(logits)) if i != label]
    found = torch.autograd.grad(logits[label] - logits[others].mean(), list(values.values()))
    return {name: each[0].abs().mean(0).numpy() for name, each in zip(values, found, strict=True)}


QUESTIONS = np.array([(0, 0, 3), (0, 150, 4), (0, 299, 5), (1, 12, 6), (1, 24, 7), (2, 0, 8), (0, 151, 28)])


def test_offsets_are_those_of_autograd_in_a_padded_batch_and_at_its_borders() -> None:
    ours, forward = recogniser(), batch([600, 51, 3])
    item, step, label = QUESTIONS.T
    found = gradient_offsets(ours, forward, item, step, label)
    assert list(found) == [INPUT, *LAYERS[:9]]
    (part,) = curves(ours, forward, item, step, label)
    for n, question in enumerate(QUESTIONS):
        wanted = by_autograd(ours.network, forward, *question)
        for name, positions in found.items():
            assert positions[n] == wanted[name].argmax(), (question, name)
        for name, values in part.values.items():
            placed = np.zeros(len(wanted[name]))
            for j, value in enumerate(values[n]):
                at = part.starts[name][n] + j
                if 0 <= at < len(placed):
                    placed[at] = value
                else:
                    assert value == 0
            np.testing.assert_allclose(placed, wanted[name], atol=2e-6 * wanted[name].max())


def test_a_long_utterance_in_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, forward = recogniser(), batch([600])
    item, step, label = QUESTIONS[QUESTIONS[:, 0] == 0].T
    whole = gradient_offsets(ours, forward, item, step, label)
    monkeypatch.setattr(offsets, "LONGEST_SECONDS", 1.0)
    monkeypatch.setattr(offsets, "PIECE_STEPS", 70)
    pieces = gradient_offsets(ours, forward, item, step, label)
    for name in whole:
        assert np.array_equal(pieces[name], whole[name]), name


def test_the_strongest_position_lies_inside_the_utterance() -> None:
    values = np.array([[9.0, 1.0, 2.0, 8.0], [1.0, 3.0, 3.0, 9.0]])
    assert strongest(values, np.array([-1, 2]), np.array([2, 5])).tolist() == [1, 3]


def test_no_letter_no_offset() -> None:
    none = np.zeros(0, np.int64)
    assert all(
        len(each) == 0 for each in gradient_offsets(recogniser(), batch([40]), none, none, none).values()
    )


def test_windows_move_so_that_the_found_position_is_the_anchor() -> None:
    layout = cones(recogniser().network)
    step = np.array([10, 20])
    found = {name: cone.stride * step + 3 for name, cone in layout.items() if cone.shifts}
    at = aligned(found, layout, step)
    assert at[INPUT].tolist() == [23, 43]
    assert at["layer9"].tolist() == [13, 23]
    assert at["layer10"].tolist() == at["layer12"].tolist() == [10, 20]
    assert {name: each.tolist() for name, each in aligned({}, layout, step).items()} == {
        name: (cone.stride * step).tolist() for name, cone in layout.items()
    }


def test_times_of_positions() -> None:
    layout = cones(recogniser().network)
    assert position_seconds(np.array([7]), layout[INPUT], 0.01) == pytest.approx(0.07)
    assert position_seconds(np.array([7]), layout["layer4"], 0.01) == pytest.approx(0.145)
    assert dataclasses.asdict(layout["layer4"])["frames"] == 2
