"""Linear layers on the way back: transposed products, and the rules of LRP run for every type of layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from asr_introspect.attribution.maps import Key
from asr_introspect.attribution.operations import Convolution, Dense, Linear, Operation, TransposedConvolution
from asr_introspect.attribution.relevance import Entry
from asr_introspect.attribution.rules import Part, Rule, stabilised_inverse
from asr_introspect.attribution.windows import Signal, place, reframe

if TYPE_CHECKING:
    from asr_introspect.attribution.graph import Node
    from asr_introspect.attribution.sweep import Sweep


def _weight(sweep: Sweep, operation: Linear, key: object, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """A weight derived from the layer's, made once."""
    if (operation.node, key) not in sweep.weights:
        sweep.weights[operation.node, key] = make()
    return sweep.weights[operation.node, key]


def _back(
    sweep: Sweep, operation: Linear, values: torch.Tensor, starts: torch.Tensor | None, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Values at a linear layer's output times the transposed matrix, with their new starts."""
    groups = None if isinstance(operation, Dense) else operation.groups
    if isinstance(operation, Dense):
        return operation.transpose(values, weight), None
    if starts is None:
        return _back_whole(sweep, operation, values, weight), None
    if isinstance(operation, TransposedConvolution):
        aligned, wide = operation.align(starts, tuple(values.shape[2:]))
        first, _ = operation.window(starts, tuple(values.shape[2:]))
        return operation.transpose(reframe(values, starts, aligned, wide), weight, groups), first
    first, _ = operation.window(starts, tuple(values.shape[2:]))
    back = operation.transpose(values, weight, groups)
    shape = tuple(operation.source.tensor.shape[2:])
    if math.prod(back.shape[2:]) > 1.5 * math.prod(shape):
        return place(back, first, shape), None
    return back, first


def _back_whole(
    sweep: Sweep, operation: Convolution | TransposedConvolution, values: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    shape = operation.source.tensor.shape[2:]
    pads: list[int] = []
    if isinstance(operation, TransposedConvolution):
        for axis in reversed(range(len(shape))):
            reach = (weight.shape[2 + axis] - 1) * operation.dilation[axis] + 1
            left = operation.padding[axis]
            need = (shape[axis] - 1) * operation.stride[axis] + reach
            pads += [left, need - values.shape[2 + axis] - left]
        return operation.transpose(F.pad(values, pads), weight)
    back = operation.transpose(values, weight)
    for axis in reversed(range(len(shape))):
        left = operation.pads[axis][0]
        pads += [-left, shape[axis] - (back.shape[2 + axis] - left)]
    return F.pad(back, pads)


def differentiate(sweep: Sweep, operation: Linear, signal: Signal, items: torch.Tensor) -> Signal:
    if isinstance(operation, Dense):
        signal = sweep.as_whole(signal, operation.node, items)
    signal = _with_divisor(sweep, operation, signal)
    signal = sweep.resolve(signal, operation.node, items)
    values, starts = _back(sweep, operation, signal.values, signal.starts, operation.weight)
    return Signal(values, starts, (sweep.inside_map(operation.source),))


def _with_divisor(sweep: Sweep, operation: Linear, signal: Signal) -> Signal:
    if operation.divisor is None:
        return signal
    divisor = operation.divisor
    key = sweep.maps.define(
        ("divisor", operation.node.index),
        lambda: divisor.expand(len(operation.node.tensor), *divisor.shape[1:]),
    )
    return replace(signal, pending=(*signal.pending, key))


def piece(sweep: Sweep, operation: Linear, kind: str) -> Key | None:
    """A part of a layer's input as a map; None where it is zero throughout."""
    source = operation.source
    inputs = source.tensor
    lowest = _weight(
        sweep, operation, "lowest", lambda: inputs.amin() if inputs.numel() else inputs.new_zeros(())
    )
    if kind in {"positive", "input"} and (kind == "input" or float(lowest) >= 0):
        return sweep.maps.define(("input", source.index), lambda: inputs)
    if kind == "positive":
        return sweep.maps.define(("positive", source.index), lambda: inputs.clamp_min(0))
    if kind == "negative":
        if float(lowest) >= 0:
            return None
        return sweep.maps.define(("negative", source.index), lambda: inputs.clamp_max(0))
    inside_map = sweep.inside_map(source)

    def constant() -> torch.Tensor:
        ones = sweep.maps.get(inside_map).expand_as(inputs)
        if kind == "ones":
            return ones
        assert sweep.bounds is not None
        return ones * sweep.bounds[0 if kind == "low" else 1]

    return sweep.maps.define((kind, source.index), constant)


def denominators(sweep: Sweep, operation: Linear, part: Part) -> torch.Tensor:
    """``z_p`` of one part of a rule, ``(B, C', *U)``, bias and divisor included."""
    if part.products == (("input", part.bias),) and part.bias.name == "W":
        return operation.node.tensor
    total: torch.Tensor | float = 0.0
    for kind, weight_part in part.products:
        key = piece(sweep, operation, kind)
        if key is not None:
            weight = _weight(sweep, operation, weight_part, lambda w=weight_part: w(operation.weight))  # type: ignore[misc]
            total = total + operation.forward(sweep.maps.get(key), weight)
    if operation.bias is not None:
        channels = (-1,) if isinstance(operation, Dense) else (-1, *(1,) * (operation.node.tensor.dim() - 2))
        total = total + part.bias(operation.bias).view(channels)
    return total if isinstance(total, torch.Tensor) else torch.zeros_like(operation.node.tensor)


def stabiliser(sweep: Sweep, operation: Operation, part: Part) -> torch.Tensor:
    """The part's epsilon ``(B, 1, ...)``: absolute, or relative to rms(z) over valid positions."""
    z = operation.node.tensor
    shape = (len(z), *(1,) * (z.dim() - 1))
    if not part.relative:
        return z.new_full(shape, part.epsilon)
    return part.epsilon * _rms(sweep, operation.node).view(shape)


def _rms(sweep: Sweep, node: Node) -> torch.Tensor:
    z = node.tensor
    if node not in sweep.valid:
        return z.flatten(1).square().mean(1).sqrt()
    weights = sweep.valid[node].to(z.dtype).expand_as(z).flatten(1)
    return ((z.flatten(1).square() * weights).sum(1) / weights.sum(1).clamp_min(1)).sqrt()


def _factor_maps(sweep: Sweep, operation: Linear, rule: Rule) -> tuple[list[Key], Key]:
    """Per part ``c_p / z_p`` where it acts, and the share of relevance that stabilisers keep."""
    index, name = operation.node.index, rule
    keys: list[Key] = []

    def factor(part: Part) -> torch.Tensor:
        inverse = stabilised_inverse(denominators(sweep, operation, part), stabiliser(sweep, operation, part))
        if part.where != "all":
            z = operation.node.tensor
            inverse = inverse * (z > 0 if part.where == "positive" else z < 0)
        return part.coefficient * inverse

    def lost() -> torch.Tensor:
        kept: torch.Tensor | float = 0.0
        for part, key in zip(rule.parts, keys, strict=True):
            inverse = sweep.maps.get(key)
            share = (inverse != 0) * part.coefficient
            if part.epsilon:
                sign = torch.where(denominators(sweep, operation, part) < 0, -1.0, 1.0).to(inverse.dtype)
                share = share - inverse * sign * stabiliser(sweep, operation, part)
            kept = kept + share
        return torch.as_tensor(1 - kept, dtype=operation.node.tensor.dtype)

    for position, part in enumerate(rule.parts):
        keys.append(sweep.maps.define(("factor", index, name, position), lambda part=part: factor(part)))  # type: ignore[misc]
    return keys, sweep.maps.define(("lost", index, name), lost)


def propagate(
    sweep: Sweep, operation: Linear, signal: Signal, items: torch.Tensor, entries: list[Entry]
) -> Signal:
    assert sweep.rules is not None
    rule = sweep.rules[operation.node]
    if isinstance(operation, Dense):
        signal = sweep.as_whole(signal, operation.node, items)
    keys, lost = _factor_maps(sweep, operation, rule)
    divided = _with_divisor(sweep, operation, replace(signal, pending=()))
    shares = [
        signal.values * sweep.factor((*signal.pending, key, *divided.pending), signal, items) for key in keys
    ]
    out = signal.total
    assert out is not None
    bias, stabiliser = _absorbed(sweep, operation, rule, signal, shares, lost, items)
    entries.append(Entry(operation.layer, rule.name, out, out - bias - stabiliser, bias, stabiliser))
    below = _weighted(sweep, operation, rule, shares, signal.starts, items)
    return replace(below, total=out - bias - stabiliser)


def _absorbed(
    sweep: Sweep,
    operation: Linear,
    rule: Rule,
    signal: Signal,
    shares: list[torch.Tensor],
    lost: Key,
    items: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance that biases and stabilisers keep, per target."""
    none = signal.values.new_zeros(len(items))
    channel = -1 if isinstance(operation, Dense) else 1
    by_channel = [
        share.movedim(channel, 1).flatten(2).sum(2) if share.dim() > 2 else share for share in shares
    ]
    bias = none
    if operation.bias is not None:
        for part, sums in zip(rule.parts, by_channel, strict=True):
            if part.bias.name != "0":
                bias = bias + sums @ part.bias(operation.bias)
    key = ("kept", *signal.pending, lost)
    kept = sweep.maps.define(key, lambda: sweep.maps.product((*signal.pending, lost)))
    nothing = sweep.maps.define((*key, "none"), lambda: (sweep.maps.get(kept) == 0).all())
    if bool(sweep.maps.get(nothing)):
        return bias, none
    (part, *others) = rule.parts
    if not others and part.epsilon and part.where == "all" and operation.divisor is None:
        uniform = sweep.maps.define((*key, "signs"), lambda: _only_positive(sweep, operation, part, signal))
        if bool(sweep.maps.get(uniform)):
            return bias, stabiliser(sweep, operation, part).flatten()[items] * by_channel[0].sum(1)
    return bias, (signal.values * sweep.factor((*signal.pending, lost), signal, items)).flatten(1).sum(1)


def _only_positive(sweep: Sweep, operation: Linear, part: Part, signal: Signal) -> torch.Tensor:
    """Whether relevance arrives only where the denominator is safely positive."""
    z = denominators(sweep, operation, part)
    factors = sweep.maps.product(signal.pending) if signal.pending else torch.ones_like(z)
    return ~((z <= 0) & (factors != 0)).any()


def _weighted(
    sweep: Sweep,
    operation: Linear,
    rule: Rule,
    shares: list[torch.Tensor],
    starts: torch.Tensor | None,
    items: torch.Tensor,
) -> Signal:
    """``sum_p a_p W_p^T shares_p``, one transposed product per part of the input that is not zero."""
    products: dict[Key, list[tuple[int, object]]] = {}
    for position, part in enumerate(rule.parts):
        for kind, weight_part in part.products:
            key = piece(sweep, operation, kind)
            if key is not None:
                products.setdefault(key, []).append((position, weight_part))
    signals: list[Signal] = []
    for key, terms in products.items():
        values, first = _stacked(sweep, operation, shares, starts, terms)
        signals.append(Signal(values, first, (key,)))
    if not signals:
        values, first = _back(sweep, operation, torch.zeros_like(shares[0]), starts, operation.weight)
        return Signal(values, first, (sweep.inside_map(operation.source),))
    if len(signals) == 1:
        return signals[0]
    summed = [sweep.resolve(signal, operation.source, items).values for signal in signals]
    return Signal(torch.stack(summed).sum(0), signals[0].starts)


def _stacked(
    sweep: Sweep,
    operation: Linear,
    shares: list[torch.Tensor],
    starts: torch.Tensor | None,
    terms: list[tuple[int, object]],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``sum_t W_t^T shares_t``; without groups as one product with the weights on top of each other."""

    def made(weight_part: object) -> torch.Tensor:
        assert callable(weight_part)
        return _weight(sweep, operation, weight_part, lambda: weight_part(operation.weight))

    if len(terms) == 1:
        position, weight_part = terms[0]
        return _back(sweep, operation, shares[position], starts, made(weight_part))
    if isinstance(operation, Convolution) and operation.groups == 1:
        key = ("stack", *(weight_part for _, weight_part in terms))
        weight = _weight(sweep, operation, key, lambda: torch.cat([made(part) for _, part in terms]))
        stacked = torch.cat([shares[position] for position, _ in terms], 1)
        return _back(sweep, operation, stacked, starts, weight)
    backs = [_back(sweep, operation, shares[position], starts, made(part)) for position, part in terms]
    return torch.stack([values for values, _ in backs]).sum(0), backs[0][1]
