"""Cones against the support of gradients."""

from __future__ import annotations

import torch

from asr_introspect.introspection.cones import cones
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.network import LAYERS, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import INPUT


def test_cones_are_the_support_of_the_gradient() -> None:
    network = Wav2Letter(NetworkConfig(mels=3, narrow=4, wide=5, activation="elu"), 6).double().eval()
    network.initialise(torch_generator(0, "cones"))
    step = 140
    inputs = torch.randn(1, 3, 600, dtype=torch.float64, generator=torch_generator(1, "cones"))
    values = {INPUT: inputs.requires_grad_()}
    for name, block in network.blocks():
        values[name] = block(values[list(values)[-1]])
    seen = torch.autograd.grad(values[LAYERS[-1]][0, :, step].sum(), list(values.values()))
    for (name, cone), gradient in zip(cones(network).items(), seen, strict=True):
        positions = gradient[0].abs().sum(0).nonzero()[:, 0]
        first = cone.stride * step + cone.first
        assert positions.tolist() == list(range(first, first + cone.positions)), name


def test_the_anchors_and_sizes_of_the_method() -> None:
    found = list(cones(Wav2Letter(NetworkConfig(mels=3, narrow=4, wide=5), 6)).values())
    assert [cone.positions for cone in found] == [206, 80, 74, 68, 62, 56, 50, 44, 38, 32, 1, 1, 1]
    assert [cone.anchor for cone in found] == [101, 39, 36, 33, 30, 27, 24, 21, 18, 15, 0, 0, 0]
    assert [cone.shifts for cone in found] == [True] * 10 + [False] * 3


def test_the_centre_of_a_position_is_the_middle_of_what_it_sees() -> None:
    """Layer position p of layers 1 to 9 lies at frame 2p + 0.5, a step at frame 2i + 1.5."""
    found = cones(Wav2Letter(NetworkConfig(mels=3, narrow=4, wide=5), 6))
    assert [(cone.frames, cone.centre) for cone in found.values()] == [
        (1, 0.0),
        *[(2, 0.5)] * 9,
        *[(2, 1.5)] * 3,
    ]
