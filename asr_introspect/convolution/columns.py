"""The convolution as one product with unfolded inputs: what the matrix units of a GPU take best.

cuDNN's weight gradients of long one-dimensional kernels are slow (11 of the 20 ms of a training step of the
full preset on an H200), and it plans anew for every length.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from asr_introspect.convolution.direct import direct_gradients
from asr_introspect.convolution.layout import as_phases, as_rows, from_phases


def convolve_by_columns(inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """``conv1d`` without padding, ``(B, C, T)`` to ``(B, C', U)``, channels last, with all gradients."""
    convolved: Tensor = _ByColumns.apply(inputs, weight, bias, stride)  # type: ignore[no-untyped-call]
    return convolved.transpose(1, 2)


class _ByColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.positions = stride, (inputs.shape[2] - weight.shape[2]) // stride + 1
        matrix = _matrix(weight, stride)
        columns = _columns(as_rows(inputs, stride), -(-weight.shape[2] // stride), ctx.positions)
        return F.linear(columns, matrix, bias).view(len(inputs), ctx.positions, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        stride, wanted = ctx.stride, ctx.needs_input_grad
        if torch.is_grad_enabled():  # a gradient of the gradient is asked for
            return *direct_gradients(gradient.transpose(1, 2), inputs, weight, stride, wanted[:3]), None
        gradient = gradient.contiguous()
        taps = -(-weight.shape[2] // stride)
        by_inputs = by_weight = by_bias = None
        if wanted[0]:
            by_inputs = _folded(gradient, _matrix(weight, stride), taps)
            missing = -(-inputs.shape[2] // stride) - by_inputs.shape[1]
            by_inputs = F.pad(by_inputs, (0, 0, 0, missing)).reshape(len(inputs), -1, inputs.shape[1])
            by_inputs = by_inputs[:, : inputs.shape[2]].transpose(1, 2)
        if wanted[1]:
            columns = _columns(as_rows(inputs, stride), taps, ctx.positions)
            product = gradient.flatten(0, 1).T @ columns
            by_weight = product.view(len(weight), taps, -1).transpose(1, 2)
            by_weight = from_phases(by_weight, stride, weight.shape)
        if wanted[2]:
            by_bias = gradient.sum((0, 1))
        return by_inputs, by_weight, by_bias, None


def _matrix(weight: Tensor, stride: int) -> Tensor:
    """A weight as ``(C', taps * stride * C)``: what each tap takes from a row, one tap after another."""
    return as_phases(weight, stride).transpose(1, 2).flatten(1)


def _columns(signal: Tensor, taps: int, positions: int) -> Tensor:
    """Rows ``(B, R, C)`` to ``(B * positions, taps * C)``: beside each other what one output sees."""
    batch, count, channels = signal.shape
    if taps == 1 and positions == count:
        return signal.flatten(0, 1)
    seen = (batch, positions, taps * channels), (count * channels, channels, 1)
    return signal.as_strided(*seen, signal.storage_offset()).flatten(0, 1)


def _folded(gradient: Tensor, matrix: Tensor, taps: int) -> Tensor:
    """The gradient ``(B, U, C')`` taken back to the rows ``(B, U + taps - 1, C)`` that were unfolded.

    With zeros around it, the products of the taps that meet in a row lie at one distance in memory.
    """
    batch, positions, _ = gradient.shape
    around = F.pad(gradient, (0, 0, taps - 1, taps - 1)) @ matrix
    width, channels = matrix.shape[1], matrix.shape[1] // taps
    meeting = around.as_strided(
        (batch, positions + taps - 1, taps, channels),
        (around.shape[1] * width, width, width - channels, 1),
        width - channels,
    )
    return meeting.sum(2)
