"""Random networks: gradients by cones are autograd's, receptive fields are their support."""

from __future__ import annotations

import pytest
import torch
from attribution_nets import deviation, gradients, noise, randomised
from random_nets import KINDS, every_target, random_net, size_that_fits
from torch import nn

from asr_introspect.attribution import attribute, receptive_field
from asr_introspect.errors import UsageError

NETS = 50


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_gradients_by_cones_are_autograds(kind: str, axes: int) -> None:
    for seed in range(NETS):
        network = random_net(kind, axes, seed)
        inputs, outputs = size_that_fits(network, axes, seed)
        targets = every_target(outputs, seed, most=8)
        found = attribute(network, inputs, targets, method="gradient")
        assert not found.coverage.whole, f"net {seed} of kind {kind} went whole: {found.coverage}"
        assert deviation(found.dense(), gradients(network, inputs, targets)) < 1e-10, f"net {seed}"


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"pooling", "transposed"}])
def test_the_receptive_field_is_the_support_of_the_gradient(kind: str, axes: int) -> None:
    """Positive weights and inputs: no path is blocked or cancelled, so the support is the receptive field."""
    whole_cones, size = 0, 90 if axes == 1 or kind == "strided" else 56
    for seed in range(NETS):
        network = random_net(kind, axes, seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_().add_(0.1)
            for name, buffer in network.named_buffers():
                if name.endswith("running_mean"):
                    buffer.zero_()
        inputs = noise(1, 4, *(size,) * axes, seed=seed).abs()
        outputs = network(inputs)
        middle = [size // 2 for size in outputs.shape[2:]]
        (support,) = gradients(network, inputs, torch.tensor([[0, *middle, 0]])) != 0
        cone = receptive_field(network, inputs)["input"]
        assert cone is not None
        for axis in range(axes):
            others = tuple(other for other in range(axes + 1) if other != axis + 1)
            seen = support.amax(others).nonzero()[:, 0]
            first = cone.first[axis] + int(cone.jump[axis] * middle[axis])
            last = first + cone.width[axis] - 1
            assert first <= seen[0], f"net {seed} of kind {kind}"
            assert seen[-1] <= last, f"net {seed} of kind {kind}"
            if first >= 0 and last < size:
                whole_cones += 1
                assert (seen[0], seen[-1]) == (first, last), f"net {seed} of kind {kind}"
    assert whole_cones >= 0.8 * NETS * axes


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 5, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(inputs).relu().mean(-1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 5, 3, padding=1)
        self.recurrent = nn.GRU(5, 3, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.recurrent(self.convolution(inputs).transpose(1, 2))
        return hidden.transpose(1, 2)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        steps = inputs.transpose(1, 2)
        attended, _ = self.attention(steps, steps, steps, need_weights=False)
        return self.head(self.norm(steps + attended)).transpose(1, 2)


class Unfolded(nn.Module):
    """A moving difference that no rule of geometry knows; local all the same."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.diff(inputs, dim=-1).cumsum(1)


def test_unknown_steps_are_measured_by_gradient_support() -> None:
    network = randomised(
        nn.Sequential(nn.Conv1d(4, 3, 5, stride=2, padding=2), Unfolded(), nn.Conv1d(3, 2, 3)), 2
    )
    inputs = noise(1, 4, 80)
    cone = receptive_field(network, inputs)["input"]
    assert cone is not None
    assert (cone.width, cone.jump, cone.first) == ((11,), (2.0,), (-2,))
    targets = torch.tensor([[0, 3, 1], [0, 30, 0]])
    found = attribute(network, inputs, targets, method="gradient")
    assert found.coverage.whole
    assert deviation(found.dense(), gradients(network, inputs, targets)) < 1e-12


class TimeFirst(nn.Module):
    """A recurrent net that moves the batch axis behind time, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.recurrent(inputs.permute(2, 0, 1))
        return hidden.permute(1, 2, 0)


@pytest.mark.parametrize("items", [2, 9])
def test_a_moved_batch_axis_is_walked_by_autograd(items: int) -> None:
    """Nine items of nine steps: the axes cannot be told apart by their sizes."""
    network = randomised(TimeFirst(), 5)
    inputs = noise(items, 4, 9)
    targets = torch.tensor([[0, 2, 1], [1, 8, 2]])
    found = attribute(network, inputs, targets, method="gradient")
    assert found.coverage.whole
    assert deviation(found.dense(), gradients(network, inputs, targets)) < 1e-12
    with pytest.raises(UsageError, match="permute"):
        attribute(network, inputs, targets)
    with pytest.raises(UsageError, match="batch axis"):
        attribute(network, inputs, targets, method="guided-backprop")


@pytest.mark.parametrize("kind", [Pooled, Recurrent, Attending])
def test_global_steps_are_recognised_said_and_walked_whole(kind: type[nn.Module]) -> None:
    network = randomised(kind(), 5)
    inputs = noise(2, 4, 9)
    targets = torch.tensor([[0, 1], [1, 2]]) if kind is Pooled else torch.tensor([[0, 2, 1], [1, 8, 2]])
    found = attribute(network, inputs, targets, method="gradient")
    assert found.coverage.whole
    assert receptive_field(network, inputs)["input"] is None
    assert found.windows.shape == (2, 4, 9)
    assert deviation(found.dense(), gradients(network, inputs, targets)) < 1e-10
