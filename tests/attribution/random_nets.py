"""Random convolutional networks of every kind whose geometry the engine derives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from attribution_nets import randomised
from torch import nn

KINDS = (
    "sequential",
    "dilated",
    "strided",
    "grouped",
    "residual",
    "branches",
    "pooling",
    "padded",
    "transposed",
)


class Residual(nn.Module):
    """``x + f(x)`` where f keeps the shape."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs + self.inner(inputs)


class Branches(nn.Module):
    """Two paths side by side, joined along the channels."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.left(inputs), self.right(inputs)], 1)


class Padding(nn.Module):
    """Explicit zero padding by ``F.pad``, as many sides as there are numbers."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return F.pad(inputs, self.sides)


class Draw:
    """Draws the parts of a network with ``axes`` position axes."""

    def __init__(self, axes: int, seed: int, activation: type[nn.Module]) -> None:
        self.axes = axes
        self.generator = torch.Generator().manual_seed(seed)
        self.activation = activation
        self.channels = 4

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def of(self, one: type[nn.Module], two: type[nn.Module]) -> type[nn.Module]:
        return one if self.axes == 1 else two

    def convolution(self, **changes: object) -> nn.Module:
        kernel = self.integer(1, 4)
        given: dict[str, object] = {
            "padding": self.integer(0, kernel - 1),
            "bias": self.integer(0, 3) > 0,
            **changes,
        }
        kind = self.of(nn.Conv1d, nn.Conv2d)
        return kind(self.channels, self.channels, given.pop("kernel_size", kernel), **given)

    def layer(self, kind: str) -> list[nn.Module]:
        norm = self.of(nn.BatchNorm1d, nn.BatchNorm2d)(self.channels)
        after = [norm, self.activation()] if self.integer(0, 1) else [self.activation()]
        if kind == "dilated":
            return [self.convolution(dilation=self.integer(2, 3)), *after]
        if kind == "strided":
            return [self.convolution(stride=self.integer(2, 3)), *after]
        if kind == "grouped":
            return [self.convolution(groups=(2, 4)[self.integer(0, 1)]), *after]
        if kind == "residual":
            size = 2 * self.integer(1, 2) + 1
            inner = [self.convolution(kernel_size=size, padding=size // 2), *after]
            return [Residual(nn.Sequential(*inner)), self.activation()]
        if kind == "branches":
            small, large = 1, 2 * self.integer(1, 2) + 1
            left = nn.Sequential(self.convolution(kernel_size=small, padding=0), *after)
            right = self.convolution(kernel_size=large, padding=large // 2)
            joined = self.of(nn.Conv1d, nn.Conv2d)(2 * self.channels, self.channels, 1)
            return [Branches(left, right), joined]
        if kind == "pooling":
            size = self.integer(2, 3)
            step = self.integer(1, 2)
            if self.integer(0, 1):
                ceil = self.integer(0, 1) > 0
                pool = self.of(nn.MaxPool1d, nn.MaxPool2d)(
                    size, step, padding=self.integer(0, 1), ceil_mode=ceil
                )
            else:
                counted = self.integer(0, 1) > 0
                pool = self.of(nn.AvgPool1d, nn.AvgPool2d)(
                    size, step, padding=self.integer(0, 1), count_include_pad=counted
                )
            return [self.convolution(), *after, pool]
        if kind == "padded":
            sides = tuple(self.integer(0, 3) for _ in range(2 * self.axes))
            module = self.of(nn.ConstantPad1d, nn.ConstantPad2d)(sides, 0.0)
            return [module if self.integer(0, 1) else Padding(sides), self.convolution(padding=0), *after]
        if kind == "transposed":
            stride = self.integer(1, 3)
            size = self.integer(1, 4)
            up = self.of(nn.ConvTranspose1d, nn.ConvTranspose2d)(
                self.channels, self.channels, size, stride, output_padding=stride - 1 if size >= stride else 0
            )
            return [up, *after]
        return [self.convolution(), *after]


def random_net(kind: str, axes: int, seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A network of 2 or 3 layers of one kind (``mixed``: of any) and a convolution; 4 channels in and out."""
    draw = Draw(axes, seed, activation)
    layers: list[nn.Module] = []
    for _ in range(draw.integer(2, 3)):
        layers += draw.layer(KINDS[draw.integer(0, len(KINDS) - 1)] if kind == "mixed" else kind)
    return randomised(nn.Sequential(*layers, draw.convolution(bias=True)), seed)


def size_that_fits(network: nn.Module, axes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs ``(2, 4, *S)`` from 7 positions upwards that leave an output, and that output."""
    generator = torch.Generator().manual_seed(seed)
    for size in (9, 13, 24, 40, 90, 200) if axes == 1 else (7, 10, 16, 24, 60, 100, 150):
        shape = [size] if axes == 1 else [size, size + 2]
        inputs = torch.randn(2, 4, *shape, generator=generator, dtype=torch.float64)
        try:
            outputs = network(inputs)
        except RuntimeError:
            continue
        if outputs[0, 0].numel() > 1:
            return inputs, outputs
    raise AssertionError("no size fits")


def every_target(outputs: torch.Tensor, seed: int, most: int = 12) -> torch.Tensor:
    """Targets at the corners and at drawn positions of outputs ``(B, V, *U)``."""
    generator = torch.Generator().manual_seed(seed)
    shape = outputs.shape[2:]
    corners = [[0] * len(shape), [size - 1 for size in shape]]
    drawn = [[int(torch.randint(size, (1,), generator=generator)) for size in shape] for _ in range(most - 2)]
    rows = []
    for number, position in enumerate(corners + drawn):
        rows.append([number % outputs.shape[0], *position, number % outputs.shape[1]])
    return torch.tensor(rows)
