"""Operations: what the backward walk has to know about each kind of torch function.

Every operation names the node it makes, the nodes it reads, and the layer (module) it belongs to. Those that
act position by position also say which window of their input a window of their output needs (``window``).
Shapes: ``(B, C, *S)`` with one or two position axes ``S`` for operations that have windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from asr_introspect.attribution.graph import Node
from asr_introspect.convolution import transpose_convolve

Widths = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of the network: ``node`` is computed from ``sources``, inside the module ``layer``."""

    node: Node
    sources: tuple[Node, ...]

    @property
    def layer(self) -> str:
        return self.node.module or self.node.name

    @property
    def source(self) -> Node:
        return self.sources[0]

    @property
    def description(self) -> str:
        """The torch functions it stands for."""
        made = self.node.name
        match self:
            case Convolution(pooling=False) | TransposedConvolution():
                transposed = "_transpose" if isinstance(self, TransposedConvolution) else ""
                own = f"conv{transposed}{self.weight.dim() - 2}d"
            case Dense():
                own = "linear"
            case _:
                own = made
        return own if own == made or made == "matmul" else f"{own} + {made}"


@dataclass(frozen=True, eq=False)
class Convolution(Operation):
    """``(B, C, *S)`` to ``(B, C', *U)``; zero padding may differ on both sides of each axis.

    ``divisor`` multiplies the output, ``(1, 1, *U)``: average pooling is a depthwise convolution of ones.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    stride: Widths
    dilation: Widths
    groups: int
    pads: Pads
    divisor: torch.Tensor | None = None
    pooling: bool = False

    def forward(
        self, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        padded = F.pad(inputs, flat_pads(self.pads)) if any(map(any, self.pads)) else inputs
        convolve = _CONVOLVE[len(self.stride)]
        outputs = convolve(padded, weight, bias, self.stride, 0, self.dilation, self.groups)
        return outputs if self.divisor is None else outputs * self.divisor

    def window(self, starts: torch.Tensor, widths: Widths) -> tuple[torch.Tensor, Widths]:
        stride = torch.tensor(self.stride, device=starts.device)
        left = torch.tensor([pad[0] for pad in self.pads], device=starts.device)
        reach = self._reach()
        grown = tuple((w - 1) * s + r for w, s, r in zip(widths, self.stride, reach, strict=True))
        return starts * stride - left, grown

    def _reach(self) -> Widths:
        return tuple((k - 1) * d + 1 for k, d in zip(self.weight.shape[2:], self.dilation, strict=True))

    def transpose(
        self, values: torch.Tensor, weight: torch.Tensor, groups: int | None = None
    ) -> torch.Tensor:
        """``(N, C', *W)`` back to ``(N, C, *window(W))``: the product with the transposed matrix."""
        groups = self.groups if groups is None else groups
        plain = groups == 1 and all(step == 1 for step in self.dilation)
        one_tap = all(size == 1 for size in weight.shape[2:]) and all(s == 1 for s in self.stride)
        if plain and all(size == 1 for size in values.shape[2:]):
            flat = values.flatten(1) @ weight.flatten(1)
            return flat.view(len(values), *weight.shape[1:])
        if plain and len(self.stride) == 1 and not one_tap:
            return transpose_convolve(values, weight, self.stride[0])
        if groups == 1 and one_tap:
            flat = torch.matmul(weight.flatten(1).t(), values.flatten(2))
            return flat.view(len(values), weight.shape[1], *values.shape[2:])
        return _TRANSPOSE[len(self.stride)](values, weight, None, self.stride, 0, 0, groups, self.dilation)


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Operation):
    """The transpose of a convolution as a layer; output position ``o`` reads ``(o + pad - k d) / stride``."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    stride: Widths
    dilation: Widths
    groups: int
    padding: Widths
    output_padding: Widths
    divisor: torch.Tensor | None = None
    pooling: bool = False

    def forward(
        self, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return _TRANSPOSE[len(self.stride)](
            inputs, weight, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def window(self, starts: torch.Tensor, widths: Widths) -> tuple[torch.Tensor, Widths]:
        aligned, wide = self.align(starts, widths)
        first = torch.div(
            aligned + aligned.new_tensor(self.padding), aligned.new_tensor(self.stride), rounding_mode="floor"
        )
        reach = self._reach()
        return first, tuple((w - r) // s + 1 for w, r, s in zip(wide, reach, self.stride, strict=True))

    def _reach(self) -> Widths:
        return tuple((k - 1) * d + 1 for k, d in zip(self.weight.shape[2:], self.dilation, strict=True))

    def align(self, starts: torch.Tensor, widths: Widths) -> tuple[torch.Tensor, Widths]:
        """The output window widened so that it starts where an input's own window starts.

        Input ``i`` writes to outputs ``i * stride - padding`` to ``... + reach - 1``. The widened window
        begins with the outputs of the first input that reaches into the given one and ends with those of the
        last.
        """
        stride, padding = starts.new_tensor(self.stride), starts.new_tensor(self.padding)
        reach = starts.new_tensor(self._reach())
        first = -torch.div(-(starts + padding - reach + 1), stride, rounding_mode="floor")
        inputs = [(w + r - 2) // s + 1 for w, r, s in zip(widths, self._reach(), self.stride, strict=True)]
        wide = tuple((n - 1) * s + r for n, s, r in zip(inputs, self.stride, self._reach(), strict=True))
        return first * stride - padding, wide

    def transpose(
        self, values: torch.Tensor, weight: torch.Tensor, groups: int | None = None
    ) -> torch.Tensor:
        """Aligned ``(N, C', *W)`` back to the inputs that write into it."""
        groups = self.groups if groups is None else groups
        return _CONVOLVE[len(self.stride)](values, weight, None, self.stride, 0, self.dilation, groups)


@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """``(B, ..., C)`` to ``(B, ..., C')``: a matrix on the last axis."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    divisor: torch.Tensor | None = None
    pooling: bool = False

    def forward(
        self, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return F.linear(inputs, weight, bias)

    def transpose(
        self, values: torch.Tensor, weight: torch.Tensor, groups: int | None = None
    ) -> torch.Tensor:
        return values @ weight


Linear = Convolution | TransposedConvolution | Dense


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """``scale * input + shift`` element by element; both broadcast to the input's shape.

    ``mask``: ``scale`` holds zeros and ones only and ``shift`` is zero.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    mask: bool = False


@dataclass(frozen=True, eq=False)
class Elementwise(Operation):
    """A function of one number. ``activation``: a non-linearity that LRP passes through."""

    function: Callable[[torch.Tensor], torch.Tensor]
    activation: bool = True


@dataclass(frozen=True, eq=False)
class Identity(Operation):
    """Dropout in evaluation mode, copies, conversions."""


@dataclass(frozen=True, eq=False)
class Pad(Operation):
    """Constant padding of the position axes."""

    pads: Pads
    value: float

    def window(self, starts: torch.Tensor, widths: Widths) -> tuple[torch.Tensor, Widths]:
        left = torch.tensor([pad[0] for pad in self.pads], device=starts.device)
        return starts - left, widths


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The largest of each window; ``switch`` says which tap (0, 1, ... row by row) it was, ``(B, C, *U)``."""

    kernel: Widths
    stride: Widths
    dilation: Widths
    pads: Pads
    switch: torch.Tensor

    def window(self, starts: torch.Tensor, widths: Widths) -> tuple[torch.Tensor, Widths]:
        stride = torch.tensor(self.stride, device=starts.device)
        left = torch.tensor([pad[0] for pad in self.pads], device=starts.device)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        grown = tuple((w - 1) * s + r for w, s, r in zip(widths, self.stride, reach, strict=True))
        return starts * stride - left, grown


@dataclass(frozen=True, eq=False)
class Sum(Operation):
    """``sum_k factors[k] * sources[k]``."""

    factors: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Concatenation(Operation):
    """Sources side by side along ``axis``; ``parts`` are their (start, end) there, constants left out."""

    axis: int
    parts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ChannelSlice(Operation):
    """Channels ``start`` to ``end`` of the source."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Reordering(Operation):
    """Flatten, transpose, slice: output element j of an item is its input element ``index[j]``."""

    index: torch.Tensor


@dataclass(frozen=True, eq=False)
class Mixing(Operation):
    """Anything else, walked by torch's own derivative of this one call.

    ``kind``: ``linear`` (means, global average pooling), ``selection`` (largest over an axis), ``product``
    (of two things that both depend on the input), ``softmax``, ``layer-norm``, or ``unknown``: no rule of
    LRP.
    """

    kind: str
    function: Callable[..., torch.Tensor]


def flat_pads(pads: Pads) -> list[int]:
    """Pads per axis, first axis first, as ``F.pad`` wants them."""
    return [side for pad in reversed(pads) for side in pad]


def grouped(tensor: torch.Tensor, axis: int, groups: int) -> torch.Tensor:
    """The tensor with ``axis`` split into ``(groups, size / groups)``."""
    shape = tensor.shape
    return tensor.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
