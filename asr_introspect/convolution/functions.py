"""Convolution and transposed convolution as functions of tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor

from asr_introspect.convolution import blocks as by_blocks
from asr_introspect.convolution.blocks import Blocks
from asr_introspect.convolution.choice import choose, choose_transposed, takes_columns
from asr_introspect.convolution.columns import convolve_by_columns
from asr_introspect.convolution.direct import direct_gradients
from asr_introspect.convolution.layout import as_phases, as_rows, channels_last, from_phases

LARGEST_PASSING = 2**24
"""Numbers in the widest passing result of a pass without gradients: longer batches go in pieces."""


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """``conv1d`` without padding, with both gradients, by the fastest form.

    On a processor, in float32, float64 or bfloat16 (or under autocast), the result is channels last (its
    values are those of ``conv1d``; only its strides differ), and what is done to it elementwise stays so:
    the next convolution then takes it as it is. Where no gradient is asked for, the transformed weight is
    kept for the next call as long as the weight lives and is not changed. (A change through ``weight.data``
    is invisible to torch's count of changes, so also here: change weights under ``torch.no_grad()``.)

    On a GPU in half precision the result is channels last too, by unfolded inputs; else it is ``conv1d``'s.

    Parameters
    ----------
    inputs, weight, bias
        ``(B, C, T)``, ``(C', C, K)`` and ``(C',)``.

    Returns
    -------
    Tensor
        ``(B, C', (T - K) // stride + 1)``.
    """
    inputs, weight = _as_autocast(inputs), _as_autocast(weight)
    bias = None if bias is None else _as_autocast(bias)
    plain = _is_plain(inputs, weight) and inputs.shape[2] >= weight.shape[2]
    if plain and takes_columns(inputs.device, inputs.dtype):
        return convolve_by_columns(inputs, weight, bias, stride)
    if not (plain and _is_on_processor(inputs)):
        return F.conv1d(inputs, weight, bias, stride)
    length = choose(weight.shape, stride, inputs.dtype)
    if length is None and weight.shape[2] == 1:
        return F.linear(inputs[..., ::stride].transpose(1, 2), weight[..., 0], bias).transpose(1, 2)
    if length is None:
        rows = channels_last(inputs).unsqueeze(2)
        return F.conv2d(rows, weight.unsqueeze(2), bias, (1, stride)).squeeze(2)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (inputs, weight, bias)):
        positions = (inputs.shape[2] - weight.shape[2]) // stride + 1
        convolved: Tensor = _ByBlocks.apply(inputs, weight, bias, stride, length)  # type: ignore[no-untyped-call]
        return convolved[:, :positions].transpose(1, 2)
    return _without_gradient(inputs, weight, bias, stride, length)


def transpose_convolve(signal: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """``conv_transpose1d`` without padding: what the sweep does to windows, by the fastest form.

    Every window is one block: its transform, one product per frequency, and back. The result of that form has
    positions outermost in memory, then windows, then channels; a signal that comes so (what elementwise
    operations make of an earlier result does) is read without a copy. The transformed weight is kept as
    :func:`convolve` keeps it. Gradients: where they are asked for, the direct form is taken.

    Parameters
    ----------
    signal
        N windows of P positions at a convolution's output, ``(N, C', P)``.
    weight
        The convolution's own weight, ``(C', C, K)``.

    Returns
    -------
    Tensor
        ``(N, C, (P - 1) * stride + K)``: the windows that they see at its input.
    """
    signal, weight = _as_autocast(signal), _as_autocast(weight)
    count, _, positions = signal.shape
    _, channels, taps = weight.shape
    if not (_is_plain(signal, weight) and _is_on_processor(signal)):
        return F.conv_transpose1d(signal, weight, stride=stride)
    length = None
    if not (torch.is_grad_enabled() and (signal.requires_grad or weight.requires_grad)):
        length = choose_transposed(weight.shape, stride, signal.shape, signal.dtype)
    if length is None and positions == 1:
        return (signal[..., 0] @ weight.flatten(1)).view(count, channels, taps)
    if length is None:
        rows = channels_last(signal).unsqueeze(2)
        return F.conv_transpose2d(rows, weight.unsqueeze(2), stride=(1, stride)).squeeze(2)
    blocks = Blocks(-(-taps // stride), length)
    columns = signal.permute(2, 0, 1)
    found = signal.new_empty(length, count, stride * channels)
    step = max(1, LARGEST_PASSING // (2 * length * max(stride * channels, len(weight))))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        parts = _parts(weight, stride, blocks)
        for first in range(0, count, step):
            piece = columns[:, first : first + step]
            found[:, first : first + step] = by_blocks.transpose(piece, parts, blocks)
    phases = found.view(length, count, stride, channels).permute(1, 3, 0, 2)
    return phases.flatten(2)[..., : (positions - 1) * stride + taps]


def _as_autocast(tensor: Tensor) -> Tensor:
    """The tensor in the type that a convolution runs in here, as ``conv1d`` would take it."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.is_floating_point() and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor


def _is_plain(inputs: Tensor, weight: Tensor) -> bool:
    """Whether the tensors are of the kind that the forms here are for; all else is torch's."""
    return (
        inputs.ndim == 3
        and inputs.dtype == weight.dtype
        and inputs.shape[0] > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    )


def _is_on_processor(inputs: Tensor) -> bool:
    """Whether blocks and channels-last rows, which were chosen for processors, may take the inputs."""
    return inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.float64, torch.bfloat16)


def _without_gradient(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int, length: int
) -> Tensor:
    taps = -(-weight.shape[2] // stride)
    blocks = Blocks(taps, length)
    positions = (inputs.shape[2] - weight.shape[2]) // stride + 1
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        parts = _parts(weight, stride, blocks)
        rows = as_rows(inputs, stride)
        outputs = rows.new_empty(len(rows), positions, len(weight))
        for items, first, size in _pieces(len(rows), positions, blocks, max(parts.shape[2:])):
            piece = rows[items, first : first + size + taps - 1]
            spectrum = by_blocks.analyse(piece, blocks, size)
            found = by_blocks.correlate(spectrum, parts, blocks, len(piece), size)
            outputs[items, first : first + size] = found[:, :size]
        if bias is not None:
            outputs += bias
    return outputs.transpose(1, 2)


def _pieces(batch: int, positions: int, blocks: Blocks, channels: int) -> Iterator[tuple[slice, int, int]]:
    """Items, first output and number of outputs of passes that keep to :data:`LARGEST_PASSING`."""
    most = max(1, LARGEST_PASSING // (2 * blocks.length * channels))
    items, span = max(1, most // blocks.count(positions)), most * blocks.hop
    for item in range(0, batch, items):
        for first in range(0, positions, span):
            yield slice(item, item + items), first, min(span, positions - first)


class _ByBlocks(torch.autograd.Function):
    """The convolution in blocks, with its gradients from the same products."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int, length: int
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            positions = (inputs.shape[2] - weight.shape[2]) // stride + 1
            phases = as_phases(weight, stride)
            blocks = Blocks(phases.shape[2], length)
            parts = by_blocks.spectra(phases, blocks)
            spectrum = by_blocks.analyse(as_rows(inputs, stride), blocks, positions)
            outputs = by_blocks.correlate(spectrum, parts, blocks, len(inputs), positions)
            if bias is not None:
                outputs += bias
        ctx.save_for_backward(inputs, weight, spectrum, parts)
        ctx.blocks, ctx.stride, ctx.positions = blocks, stride, positions
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, spectrum, parts = ctx.saved_tensors
        blocks, stride = ctx.blocks, ctx.stride
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # a gradient of the gradient is asked for
            outputs = gradient[:, : ctx.positions].transpose(1, 2)
            return *direct_gradients(outputs, inputs, weight, stride, wanted), None, None
        by_inputs = by_weight = by_bias = None
        with torch.autocast("cpu", enabled=False):
            if wanted[0] or wanted[1]:
                gradients = by_blocks.gradient_spectrum(gradient, blocks)
            if wanted[1]:
                phases = by_blocks.weight_gradient(gradients, spectrum, blocks)
                by_weight = from_phases(phases, stride, weight.shape)
            if wanted[0]:
                frames = -(-inputs.shape[2] // stride)
                found = by_blocks.input_gradient(gradients, parts, blocks, len(inputs), frames)
                by_inputs = found.reshape(len(inputs), -1, inputs.shape[1]).transpose(1, 2)
                by_inputs = by_inputs[..., : inputs.shape[2]]
            if wanted[2]:
                by_bias = gradient.sum((0, 1))
        return by_inputs, by_weight, by_bias, None, None


# ------------------------------------------------------------------ transformed weights, kept

_Key = tuple[int, int, Blocks]
_Kept = tuple["ref[Tensor]", tuple[int, int], Tensor, Tensor]
_kept: OrderedDict[_Key, _Kept] = OrderedDict()
LARGEST_KEPT = 2**29
"""Bytes of transformed weights that are kept; those not used for longest go first."""


def _parts(weight: Tensor, stride: int, blocks: Blocks) -> Tensor:
    """The transformed weight: the kept one, where the weight is the same and unchanged."""
    if weight.is_inference():
        return by_blocks.spectra(as_phases(weight, stride), blocks)
    key = (id(weight), stride, blocks)
    kept = _kept.get(key)
    state, probe = (weight._version, weight.data_ptr()), _probe(weight)
    if kept is not None and kept[0]() is weight and kept[1] == state and torch.equal(kept[2], probe):
        _kept.move_to_end(key)
        return kept[3]
    with torch.inference_mode(False), torch.no_grad():
        parts = by_blocks.spectra(as_phases(weight.detach(), stride), blocks)
    _kept[key] = (ref(weight), state, probe, parts)
    for old in [key for key, entry in _kept.items() if entry[0]() is None]:
        _kept.pop(old, None)
    while len(_kept) > 1 and sum(entry[3].nbytes for entry in _kept.values()) > LARGEST_KEPT:
        _kept.popitem(last=False)
    return parts


def _probe(weight: Tensor) -> Tensor:
    """Some 500 of a weight's values: fused optimisers change all without counting it as a change."""
    flat = weight.detach().flatten()
    return flat[:: len(flat) // 512 + 1].clone()
