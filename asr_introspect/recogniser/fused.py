"""Batch norm, activation, dropout of channels and mask of a block in one pass each way, for training.

Done one after another they cost as much as the convolutions of ``wav2letter-small``: each reads and writes
all activations. Here a row (a position) is read, normalised, activated, dropped and written in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor, nn

from asr_introspect.compiled import CONTRACTED, compiled


def can_be_fused(signal: Tensor, activation: nn.Module) -> bool:
    """Whether these are of a kind that :func:`normalise_activate` takes: ReLU, or ELU of scale 1."""
    elu = isinstance(activation, nn.ELU) and activation.alpha == 1
    known = elu or isinstance(activation, nn.ReLU)
    return known and signal.device.type == "cpu" and signal.dtype in (torch.float32, torch.bfloat16)


def normalise_activate(
    signal: Tensor,
    weight: Tensor,
    bias: Tensor,
    kept: Tensor | None,
    lengths: Tensor,
    statistics: tuple[Tensor, Tensor, float, float],
    *,
    elu: bool = False,
) -> Tensor:
    """``activation(batch_norm(signal)) * kept``, zero past each item's length; differentiable.

    Parameters
    ----------
    signal
        ``(B, C, U)``, float32 or bfloat16.
    weight, bias
        Of the batch norm, ``(C,)``.
    kept
        What each channel of each item is multiplied by (dropout), ``(B, C)``; None: by one.
    lengths
        Valid positions of each item, ``(B,)``. Mean and variance are taken over them.
    statistics
        Running mean and variance ``(C,)``, which are moved along, the momentum, and what is added to the
        variance.
    elu
        The activation is ``exp(x) - 1`` below zero (ELU, Clevert 2015, equation 15), not zero (ReLU).
    """
    arguments = signal, weight, bias, kept, lengths, statistics, elu
    outputs: Tensor = _NormaliseActivate.apply(*arguments)  # type: ignore[no-untyped-call]
    return outputs


class _NormaliseActivate(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, signal, weight, bias, kept, lengths, statistics, elu
    ):
        running_mean, running_variance, momentum, epsilon = statistics
        rows = signal.transpose(1, 2).contiguous()
        valid = lengths.numpy()
        count = int(valid.sum())
        sums = np.zeros((2, rows.shape[2]))
        _sum_rows(_bits(rows), valid, sums)
        mean = sums[0] / max(count, 1)
        variance = np.maximum(sums[1] / max(count, 1) - mean * mean, 0)
        deviation = 1 / np.sqrt(variance + epsilon)
        with torch.no_grad():
            running_mean.lerp_(torch.from_numpy(mean).to(running_mean.dtype), momentum)
            unbiased = variance * (count / max(count - 1, 1))
            running_variance.lerp_(torch.from_numpy(unbiased).to(running_variance.dtype), momentum)
        scale = (weight.detach().double().numpy() * deviation).astype(np.float32)
        shift = (bias.detach().double().numpy() - mean * weight.detach().double().numpy() * deviation).astype(
            np.float32
        )
        if kept is None:
            kept = torch.ones(len(rows), rows.shape[2])
        outputs = torch.empty_like(rows)
        _forward(_bits(rows), valid, scale, shift, kept.numpy(), elu, _bits(outputs))
        ctx.save_for_backward(rows, weight, kept, lengths)
        ctx.of_rows = mean, deviation, scale, shift, count, elu
        return outputs.transpose(1, 2)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        rows, weight, kept, lengths = ctx.saved_tensors
        mean, deviation, scale, shift, count, elu = ctx.of_rows
        valid = lengths.numpy()
        gradients = gradient.transpose(1, 2).contiguous()
        sums = np.zeros((2, rows.shape[2]))
        arguments = _bits(rows), _bits(gradients), valid, scale, shift, kept.numpy(), elu
        _sum_gradients(*arguments, sums)
        by_bias = sums[0]
        by_weight = (sums[1] - mean * sums[0]) * deviation
        # d x = scale (d - mean(d) - normalised mean(d normalised)) = scale d - slope x - offset
        slope = scale * by_weight * deviation / max(count, 1)
        offset = scale * by_bias / max(count, 1) - slope * mean
        inputs = torch.empty_like(rows)
        _backward(*arguments, slope.astype(np.float32), offset.astype(np.float32), _bits(inputs))
        return (
            inputs.transpose(1, 2),
            torch.from_numpy(by_weight).to(weight.dtype),
            torch.from_numpy(by_bias).to(weight.dtype),
            *(None,) * 4,
        )


def _bits(rows: Tensor) -> np.ndarray:
    """A tensor as an array on the same memory; bfloat16 as its 16 bits."""
    rows = rows.detach()
    array: np.ndarray = rows.view(torch.uint16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()
    return array


# ------------------------------------------------------------------------------------------------- compiled


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The sign of a zero may change: what is at most zero is cut off."""
    return compiled(function, CONTRACTED | {"nsz"})


def _widening(context: Any, bits: Any) -> Any:
    """float32 from a number or, for 16 bits, from bfloat16's."""
    if isinstance(bits, types.Float):
        return types.float32(bits), lambda context, builder, signature, arguments: arguments[0]

    def widened(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(types.uint32)
        wide = builder.shl(builder.zext(arguments[0], integer), integer(16))
        return builder.bitcast(wide, context.get_value_type(types.float32))

    return types.float32(bits), widened


def _narrowing(context: Any, value: Any, like: Any) -> Any:
    """A float32 as what ``like`` is; for 16 bits, the nearest bfloat16's (ties to even)."""
    if isinstance(like, types.Float):
        return like(value, like), lambda context, builder, signature, arguments: arguments[0]

    def narrowed(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(types.uint32)
        bits = builder.bitcast(arguments[0], integer)
        odd = builder.and_(builder.lshr(bits, integer(16)), integer(1))
        rounded = builder.add(bits, builder.add(integer(0x7FFF), odd))
        return builder.trunc(builder.lshr(rounded, integer(16)), context.get_value_type(types.uint16))

    return like(value, like), narrowed


def _doubling(context: Any, power: Any) -> Any:
    """Two to an integer power between -126 and 127, as float32: the power is its exponent's bits."""

    def doubled(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(types.int32)
        bits = builder.shl(builder.add(arguments[0], integer(127)), integer(23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), doubled


_as_float: Callable[..., Any] = intrinsic(_widening)
_as_kind: Callable[..., Any] = intrinsic(_narrowing)
_two_to: Callable[..., Any] = intrinsic(_doubling)


@_compiled
def _exponential(value: Any) -> Any:
    """exp of a float32 from -87 to 88; below, exp(-87). One row at a time, unlike the C library's.

    Two to the nearest whole power, times a series of the rest, which is at most half of log(2).
    """
    value = max(value, np.float32(-87))
    power = np.int32(value * np.float32(1.4426950) - np.float32(0.5))
    whole = np.float32(power)
    rest = value - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    series = np.float32(1 / 720)
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        series = series * rest + np.float32(coefficient)
    return series * _two_to(power)


@_compiled
def _activated(value: Any, elu: bool) -> Any:
    zero = np.float32(0)
    if elu:
        return max(value, zero) + (_exponential(min(value, zero)) - np.float32(1))
    return value if value > zero else zero


@_compiled
def _sum_rows(rows: np.ndarray, valid: np.ndarray, sums: np.ndarray) -> None:
    """Sums and sums of squares over valid rows: float32 over 16 rows at a time, then float64."""
    channels = rows.shape[2]
    for item in range(rows.shape[0]):
        for first in range(0, valid[item], 16):
            total = np.zeros(channels, np.float32)
            squares = np.zeros(channels, np.float32)
            for row in range(first, min(first + 16, valid[item])):
                for channel in range(channels):
                    value = _as_float(rows[item, row, channel])
                    total[channel] += value
                    squares[channel] += value * value
            for channel in range(channels):
                sums[0, channel] += total[channel]
                sums[1, channel] += squares[channel]


@_compiled
def _forward(
    rows: np.ndarray,
    valid: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    kept: np.ndarray,
    elu: bool,
    outputs: np.ndarray,
) -> None:
    for item in range(rows.shape[0]):
        for row in range(valid[item]):
            for channel in range(rows.shape[2]):
                value = _as_float(rows[item, row, channel]) * scale[channel] + shift[channel]
                value = _activated(value, elu) * kept[item, channel]
                outputs[item, row, channel] = _as_kind(value, outputs[0, 0, 0])
        outputs[item, valid[item] :] = 0


@_compiled
def _passed(value: Any, gradient: Any, scale: Any, shift: Any, kept: Any, elu: bool) -> Any:
    """What of a gradient dropout and activation let through, at a value before the norm."""
    normalised = value * scale + shift
    if elu:
        return gradient * kept * _exponential(min(normalised, np.float32(0)))
    return gradient * kept if normalised > np.float32(0) else np.float32(0)


@_compiled
def _sum_gradients(
    rows: np.ndarray,
    gradients: np.ndarray,
    valid: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    kept: np.ndarray,
    elu: bool,
    sums: np.ndarray,
) -> None:
    """Sums of the gradient by the normalised rows, and of its products with the rows."""
    channels = rows.shape[2]
    for item in range(rows.shape[0]):
        for first in range(0, valid[item], 16):
            total = np.zeros(channels, np.float32)
            products = np.zeros(channels, np.float32)
            for row in range(first, min(first + 16, valid[item])):
                for channel in range(channels):
                    value = _as_float(rows[item, row, channel])
                    gradient = _as_float(gradients[item, row, channel])
                    scaled = scale[channel], shift[channel], kept[item, channel]
                    passed = _passed(value, gradient, *scaled, elu)
                    total[channel] += passed
                    products[channel] += passed * value
            for channel in range(channels):
                sums[0, channel] += total[channel]
                sums[1, channel] += products[channel]


@_compiled
def _backward(
    rows: np.ndarray,
    gradients: np.ndarray,
    valid: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    kept: np.ndarray,
    elu: bool,
    slope: np.ndarray,
    offset: np.ndarray,
    inputs: np.ndarray,
) -> None:
    for item in range(rows.shape[0]):
        for row in range(valid[item]):
            for channel in range(rows.shape[2]):
                value = _as_float(rows[item, row, channel])
                gradient = _as_float(gradients[item, row, channel])
                scaled = scale[channel], shift[channel], kept[item, channel]
                passed = _passed(value, gradient, *scaled, elu)
                found = scale[channel] * passed - slope[channel] * value - offset[channel]
                inputs[item, row, channel] = _as_kind(found, inputs[0, 0, 0])
        inputs[item, valid[item] :] = 0
