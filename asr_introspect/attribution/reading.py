"""Recorded calls read as operations: one reader per torch function."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from asr_introspect.attribution.graph import Node, substitute
from asr_introspect.attribution.operations import (
    Affine,
    ChannelSlice,
    Concatenation,
    Convolution,
    Dense,
    Elementwise,
    Identity,
    MaxPool,
    Mixing,
    Operation,
    Pad,
    Pads,
    Reordering,
    Sum,
    TransposedConvolution,
    Widths,
    flat_pads,
)
from asr_introspect.errors import UsageError


def _tensors(node: Node) -> tuple[Node, ...]:
    """The tensors a node reads; those behind a tuple (of ``chunk``, say) instead of the tuple."""
    sources = tuple(node.sources())
    while len(sources) == 1 and not isinstance(sources[0].value, torch.Tensor):
        sources = tuple(sources[0].sources())
    return sources


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Node) else value


def _arguments(node: Node, names: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments by name."""
    given = dict(zip(names, node.args, strict=False))
    return {**defaults, **given, **node.kwargs}


def _per_axis(value: Any, axes: int) -> Widths:
    if isinstance(value, int):
        return (value,) * axes
    values = tuple(int(part) for part in value)
    return values * axes if len(values) == 1 else values


def _depends(value: Any) -> bool:
    return isinstance(value, Node) and value.depends


def _convolution(node: Node) -> Operation:
    given = _arguments(
        node,
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    if _depends(given["weight"]) or not _depends(given["input"]):
        return _mixing(node)
    weight, bias = _plain(given["weight"]).detach(), _plain(given["bias"])
    axes = weight.dim() - 2
    if given["input"].tensor.dim() != axes + 2:
        return _mixing(node)
    dilation = _per_axis(given["dilation"], axes)
    if given["padding"] == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        pads: Pads = tuple((total // 2, total - total // 2) for total in totals)
    elif given["padding"] == "valid":
        pads = ((0, 0),) * axes
    else:
        pads = tuple((pad, pad) for pad in _per_axis(given["padding"], axes))
    return Convolution(
        node,
        (given["input"],),
        weight,
        None if bias is None else bias.detach(),
        _per_axis(given["stride"], axes),
        dilation,
        given["groups"],
        pads,
    )


def _transposed_convolution(node: Node) -> Operation:
    given = _arguments(
        node,
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
        {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1},
    )
    if _depends(given["weight"]) or not _depends(given["input"]):
        return _mixing(node)
    weight, bias = _plain(given["weight"]).detach(), _plain(given["bias"])
    axes = weight.dim() - 2
    return TransposedConvolution(
        node,
        (given["input"],),
        weight,
        None if bias is None else bias.detach(),
        _per_axis(given["stride"], axes),
        _per_axis(given["dilation"], axes),
        given["groups"],
        _per_axis(given["padding"], axes),
        _per_axis(given["output_padding"], axes),
    )


def _dense(node: Node) -> Operation:
    given = _arguments(node, ("input", "weight", "bias"), {"bias": None})
    if _depends(given["weight"]) or not _depends(given["input"]):
        return _mixing(node)
    bias = _plain(given["bias"])
    weight = _plain(given["weight"]).detach()
    return Dense(node, (given["input"],), weight, None if bias is None else bias.detach())


def _matmul(node: Node) -> Operation:
    left, right = node.args[0], node.args[1]
    if _depends(left) and not _depends(right) and _plain(right).dim() == 2:
        return Dense(node, (left,), _plain(right).detach().t(), None)
    if _depends(left) and _depends(right):
        return _mixing(node, "product")
    return _mixing(node, "linear")


def _batch_norm(node: Node) -> Operation:
    given = _arguments(
        node,
        ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
        {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5},
    )
    if given["training"] or given["running_mean"] is None:
        return _mixing(node)
    scale = torch.rsqrt(_plain(given["running_var"]) + given["eps"])
    if given["weight"] is not None:
        scale = scale * _plain(given["weight"]).detach()
    shift = -_plain(given["running_mean"]) * scale
    if given["bias"] is not None:
        shift = shift + _plain(given["bias"]).detach()
    shape = (1, -1, *(1,) * (node.tensor.dim() - 2))
    return Affine(node, (given["input"],), scale.view(shape), shift.view(shape))


def _affine(node: Node, source: Node, scale: Any, shift: Any) -> Operation:
    like = source.tensor
    if node.tensor.shape != like.shape:
        return _mixing(node, "linear" if not torch.is_tensor(shift) and shift == 0 else "unknown")
    scale = torch.as_tensor(scale, dtype=like.dtype, device=like.device).detach()
    shift = torch.as_tensor(shift, dtype=like.dtype, device=like.device).detach()
    only = bool(((scale == 0) | (scale == 1)).all()) and not bool(shift.any())
    return Affine(node, (source,), scale, shift, mask=only)


def _add(node: Node) -> Operation:
    left, right = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs["other"]
    alpha = node.kwargs.get("alpha", 1)
    sign = -1 if node.name in {"sub", "rsub"} else 1
    if node.name == "rsub":
        left, right = right, left
    factors = (1.0, float(sign * alpha))
    if _depends(left) and _depends(right):
        if left.tensor.shape != right.tensor.shape:
            return _mixing(node, "linear")
        if left is right:
            return _affine(node, left, sum(factors), 0)
        return Sum(node, (left, right), factors)
    if _depends(left):
        return _affine(node, left, 1, factors[1] * _plain(right))
    return _affine(node, right, factors[1], _plain(left))


def _multiply(node: Node) -> Operation:
    left, right = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs["other"]
    if _depends(left) and _depends(right):
        return _mixing(node, "product")
    source, factor = (left, right) if _depends(left) else (right, left)
    return _affine(node, source, _plain(factor), 0)


def _divide(node: Node) -> Operation:
    left, right = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs["other"]
    if not _depends(left) or _depends(right) or node.kwargs.get("rounding_mode"):
        return _mixing(node)
    return _affine(node, left, 1 / torch.as_tensor(_plain(right), dtype=left.tensor.dtype), 0)


def _negate(node: Node) -> Operation:
    return _affine(node, node.args[0], -1, 0)


def _masked(node: Node) -> Operation:
    """masked_fill, where, and assignment to part of a tensor: zero slope there, a constant instead."""
    (source,) = node.sources() if len(node.sources()) == 1 else (None,)
    if source is None:
        return _mixing(node)
    probe = torch.ones_like(source.tensor)
    zero = torch.zeros_like(source.tensor)
    scale = _call(node, {source: probe.clone()}) - _call(node, {source: zero.clone()})
    return _affine(node, source, scale, _call(node, {source: zero.clone()}))


def _call(node: Node, values: dict[Node, torch.Tensor]) -> torch.Tensor:
    """The recorded call with other values for some of its sources."""

    def substituted(leaf: Any) -> Any:
        if isinstance(leaf, Node):
            return values.get(leaf, leaf.value)
        return leaf

    if node.function is operator.getitem and isinstance(_plain(node.args[0]), (tuple, list)):
        parts = _call(node.args[0], values)
        return parts[node.args[1]]
    assert node.function is not None
    args, kwargs = substitute((node.args, node.kwargs), substituted)
    result = node.function(*args, **kwargs)
    return args[0] if result is None else result  # type: ignore[no-any-return]


def _elementwise(node: Node) -> Operation:
    sources = node.sources()
    if len(sources) != 1 or sources[0].tensor.shape != node.tensor.shape:
        return _mixing(node)
    (source,) = sources
    return Elementwise(
        node, (source,), lambda value: _call(node, {source: value.clone()}), node.name in _ACTIVATIONS
    )


def _identity(node: Node) -> Operation:
    source = node.sources()[0]
    if "dropout" in node.name and (
        node.kwargs.get("training") or (len(node.args) > 2 and node.args[2] is True)
    ):
        raise UsageError(f"{node.module or 'the network'}: dropout is on; call .eval() first")
    return Identity(node, (source,))


def _pad(node: Node) -> Operation:
    given = _arguments(node, ("input", "pad", "mode", "value"), {"mode": "constant", "value": None})
    pad, source = [int(side) for side in given["pad"]], given["input"]
    axes = source.tensor.dim() - 2
    if given["mode"] != "constant" or len(pad) > 2 * axes:
        return _reordering(node) if given["mode"] != "constant" else _mixing(node)
    sides = [(pad[at], pad[at + 1]) for at in range(0, len(pad), 2)]
    pads = tuple(reversed(sides + [(0, 0)] * (axes - len(sides))))
    return Pad(node, (source,), pads, float(given["value"] or 0))


def _max_pool(node: Node) -> Operation:
    given = _arguments(
        node,
        ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
        {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False},
    )
    source, axes = given["input"], int(node.name[len("max_pool")])
    if not isinstance(node.value, torch.Tensor) or source.tensor.dim() != axes + 2:
        return _mixing(node, "selection")
    kernel = _per_axis(given["kernel_size"], axes)
    stride = kernel if given["stride"] in (None, [], ()) else _per_axis(given["stride"], axes)
    dilation = _per_axis(given["dilation"], axes)
    padding = _per_axis(given["padding"], axes)
    right = [
        max((u - 1) * s + (k - 1) * d + 1 - p - size, 0)
        for u, s, k, d, p, size in zip(
            node.tensor.shape[2:], stride, kernel, dilation, padding, source.tensor.shape[2:], strict=True
        )
    ]
    pads = tuple(zip(padding, right, strict=True))
    return MaxPool(
        node, (source,), kernel, stride, dilation, pads, _switch(source, node, kernel, stride, dilation, pads)
    )


def _switch(
    source: Node, node: Node, kernel: Widths, stride: Widths, dilation: Widths, pads: Pads
) -> torch.Tensor:
    """Which tap of each pooling window was the largest (the first of equals), ``(B, C, *U)``."""
    windows = F.pad(source.tensor, flat_pads(pads), value=-math.inf)
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        windows = windows.unfold(2 + axis, (k - 1) * d + 1, s)[..., ::d]
        windows = windows.narrow(2 + axis, 0, node.tensor.shape[2 + axis])
    return windows.flatten(2 + len(kernel)).argmax(-1)


def _average_pool(node: Node) -> Operation:
    given = _arguments(
        node,
        ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
        {"stride": None, "padding": 0, "ceil_mode": False},
    )
    source, axes = given["input"], int(node.name[len("avg_pool")])
    if source.tensor.dim() != axes + 2:
        return _mixing(node, "linear")
    kernel = _per_axis(given["kernel_size"], axes)
    stride = kernel if given["stride"] in (None, [], ()) else _per_axis(given["stride"], axes)
    padding = _per_axis(given["padding"], axes)
    shape = source.tensor.shape[2:]
    right = [
        (u - 1) * s + k - p - size
        for u, s, k, p, size in zip(node.tensor.shape[2:], stride, kernel, padding, shape, strict=True)
    ]
    channels = source.tensor.shape[1]
    weight = source.tensor.new_ones(channels, 1, *kernel)
    pads = tuple(zip(padding, right, strict=True))
    pool = Convolution(node, (source,), weight, None, stride, (1,) * axes, channels, pads, pooling=True)
    ones = torch.ones_like(source.tensor[:1, :1])
    counts = replace(pool, groups=1).forward(ones, weight[:1])
    means = _call(node, {source: torch.ones_like(source.tensor[:1])})[:, :1]
    return replace(pool, divisor=means / counts)


def _concatenation(node: Node) -> Operation:
    tensors = node.args[0] if node.args else node.kwargs["tensors"]
    axis = int(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % node.tensor.dim()
    if axis == 0:
        return _mixing(node)
    sources, parts, start = [], [], 0
    for part in tensors:
        size = _plain(part).shape[axis]
        if _depends(part):
            sources.append(part)
            parts.append((start, start + size))
        start += size
    return Concatenation(node, tuple(sources), axis, tuple(parts))


def _reordering(node: Node) -> Operation:
    sources = _tensors(node)
    if len(sources) != 1:
        return _mixing(node)
    (source,) = sources
    items, size = source.tensor.shape[0], source.tensor[:1].numel()
    numbers = torch.arange(items * size, dtype=torch.float64, device=source.tensor.device)
    index = _call(node, {source: numbers.view(source.tensor.shape)})
    if index.shape[0] != items:
        return _mixing(node, "moves items")
    index = index.long().flatten(1) - size * torch.arange(items, device=index.device)[:, None]
    if bool((index != index[:1]).any()) or bool((index < 0).any()) or bool((index >= size).any()):
        return _mixing(node, "moves items")
    first = index[0]
    if node.tensor.dim() > 2 and node.tensor.shape[2:] == source.tensor.shape[2:]:
        start = int(first[0]) // source.tensor[0, 0].numel()
        expected = torch.arange(len(first), device=first.device) + start * source.tensor[0, 0].numel()
        if torch.equal(first, expected):
            return ChannelSlice(node, (source,), start, start + node.tensor.shape[1])
    return Reordering(node, (source,), first)


def _getitem(node: Node) -> Operation:
    parent = node.args[0]
    if isinstance(parent, Node) and not isinstance(parent.value, torch.Tensor):
        return (
            _reordering(node)
            if parent.name in {"chunk", "split", "unbind", "tensor_split"}
            else _mixing(node)
        )
    return _reordering(node)


def _mixing(node: Node, kind: str = "unknown") -> Operation:
    sources = _tensors(node)

    def function(*values: torch.Tensor) -> torch.Tensor:
        return _call(node, dict(zip(sources, values, strict=True)))

    return Mixing(node, sources, kind, function)


_ACTIVATIONS = {
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "sigmoid",
    ),
    *("tanh", "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid", "threshold"),
    *("clamp", "clamp_min", "clamp_max", "clip", "hardshrink", "softshrink", "tanhshrink", "glu"),
}
_FUNCTIONS = {
    "exp",
    "log",
    "log1p",
    "expm1",
    "sqrt",
    "rsqrt",
    "abs",
    "square",
    "pow",
    "sin",
    "cos",
    "erf",
    "reciprocal",
}
_IDENTITIES = {
    *(
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_alpha_dropout",
        "feature_dropout",
    ),
    *("contiguous", "clone", "to", "float", "double", "bfloat16", "type_as", "requires_grad_"),
}
_REORDERINGS = {
    *(
        "reshape",
        "view",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "squeeze",
        "unsqueeze",
        "narrow",
        "select",
    ),
    *(
        "movedim",
        "swapaxes",
        "expand",
        "expand_as",
        "repeat",
        "flip",
        "roll",
        "index_select",
        "view_as",
        "reshape_as",
    ),
    *(
        "pixel_shuffle",
        "pixel_unshuffle",
        "upsample_nearest",
        "repeat_interleave",
        "t",
        "swapdims",
        "unsafe_chunk",
    ),
}

_MIXING = {
    "softmax": "softmax",
    "layer_norm": "layer-norm",
    **dict.fromkeys(("mean", "sum", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "interpolate"), "linear"),
    **dict.fromkeys(("max", "amax", "adaptive_max_pool1d", "adaptive_max_pool2d"), "selection"),
}

_READERS: dict[str, Callable[[Node], Operation]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    "linear": _dense,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("add", "sub", "rsub"), _add),
    **dict.fromkeys(("mul", "multiply"), _multiply),
    **dict.fromkeys(("div", "truediv", "divide"), _divide),
    **dict.fromkeys(("neg", "negative"), _negate),
    **dict.fromkeys(("masked_fill", "where", "setitem"), _masked),
    **dict.fromkeys((*_ACTIVATIONS, *_FUNCTIONS), _elementwise),
    **dict.fromkeys(_IDENTITIES, _identity),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), _max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _average_pool),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenation),
    **dict.fromkeys(_REORDERINGS, _reordering),
    "getitem": _getitem,
    **{name: partial(_mixing, kind=kind) for name, kind in _MIXING.items()},
}


def read(node: Node) -> Operation:
    """The operation of a recorded call."""
    operation = _READERS.get(node.name, _mixing)(node)
    if any(not isinstance(source.value, torch.Tensor) for source in operation.sources):
        return _mixing(node)
    return operation
