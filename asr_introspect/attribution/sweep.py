"""The one backward walk: from the explained outputs to the input, in each target's cone.

Gradients, LRP, guided backprop, deconvnet and the gradients of Grad-CAM are the same walk with other factors.
What depends on the sentence only (masks, ``1/z``, clamped activations) is computed once, as maps; the targets
are a batch of windows that each map is cut to. An operation that has no cone (flatten, attention, a mean over
all positions) is walked on whole maps, one per target, and :class:`~relevance.Coverage` says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F

from asr_introspect.attribution.canonical import Program
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.operations import (
    Affine,
    ChannelSlice,
    Concatenation,
    Convolution,
    Dense,
    Elementwise,
    Identity,
    Linear,
    MaxPool,
    Mixing,
    Operation,
    Pad,
    Reordering,
    Sum,
    TransposedConvolution,
    Widths,
)
from asr_introspect.attribution.relevance import Entry, Treatment
from asr_introspect.attribution.rules import Part, Rule, stabilised_inverse
from asr_introspect.attribution.windows import Signal, cut, inside, place, reframe

Key = tuple[object, ...]
Backward = Literal["gradient", "guided-backprop", "deconvnet"]


class Maps:
    """Maps ``(B, C, *S)`` that depend on the sentence only, made on demand, multiplied and padded once."""

    def __init__(self) -> None:
        self._makers: dict[Key, Callable[[], torch.Tensor]] = {}
        self._made: dict[Key, torch.Tensor] = {}

    def define(self, key: Key, make: Callable[[], torch.Tensor]) -> Key:
        self._makers.setdefault(key, make)
        return key

    def get(self, key: Key) -> torch.Tensor:
        if key not in self._made:
            self._made[key] = self._makers[key]()
        return self._made[key]

    def product(self, keys: tuple[Key, ...]) -> torch.Tensor:
        """The product of several maps; ``inside`` maps are ones and drop out beside others."""
        factors = tuple(key for key in keys if key[0] != "inside") or keys[:1]
        if len(factors) == 1:
            return self.get(factors[0])
        key = ("product", *factors)
        if key not in self._made:
            self._made[key] = math.prod(
                (self.get(factor) for factor in factors[1:]), start=self.get(factors[0])
            )
        return self._made[key]

    def padded(self, keys: tuple[Key, ...], widths: Widths, fill: float = 0.0) -> torch.Tensor:
        """The product with a margin of one window on every side, so that windows may reach outside."""
        key = ("padded", keys, widths)
        if key not in self._made:
            pads = [width for width in reversed(widths) for _ in range(2)]
            padded = F.pad(self.product(keys), pads, value=fill)
            if len(widths) == 1:  # channels last, as windows are cut
                padded = padded.transpose(1, 2).contiguous().transpose(1, 2)
            self._made[key] = padded
        return self._made[key]


@dataclass(eq=False)
class Sweep:
    """The walk over one batch of sentences; ``run`` it for one chunk of targets after the other.

    Parameters
    ----------
    program
        The network in canonical form, with the values of this batch.
    wanted
        Nodes whose signal is asked for; nothing below the lowest of them is walked.
    rules
        The LRP rule of each operation by the node it makes; None for the gradient family.
    backward
        What the gradient family does at a non-linearity.
    valid
        By node, ``(B, 1, *S)``: ones where a position belongs to the sentence.
    bounds
        Lowest and highest input for z^B, broadcast to the input's shape.
    cones
        By node, its windows, or None where it is seen whole: for the coverage report.
    """

    program: Program
    wanted: tuple[Node, ...]
    rules: Mapping[Node, Rule] | None = None
    backward: Backward = "gradient"
    valid: dict[Node, torch.Tensor] = field(default_factory=dict)
    bounds: tuple[torch.Tensor, torch.Tensor] | None = None
    cones: Mapping[Node, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.maps = Maps()
        self.treatments: list[Treatment] = []
        self._weights: dict[tuple[Node, object], torch.Tensor] = {}
        self._reached = self._above(self.wanted)

    def _above(self, wanted: tuple[Node, ...]) -> set[Node]:
        """Nodes that depend on a wanted one: all others need no walk."""
        reached = set(wanted)
        for node, operation in self.program.operations.items():
            if any(source in reached for source in operation.sources):
                reached.add(node)
        return reached

    # ---------------------------------------------------------------- the walk

    @torch.no_grad()
    def run(
        self, starts: list[tuple[Node, Signal]], items: torch.Tensor
    ) -> tuple[dict[Node, Signal], list[Entry]]:
        """Walks down from the given signals; returns the signals at wanted nodes and the ledger's entries."""
        arriving: dict[Node, list[Signal]] = {}
        for node, signal in starts:
            arriving.setdefault(node, []).append(signal)
        found: dict[Node, Signal] = {}
        entries: list[Entry] = []
        treatments: list[Treatment] = []
        nodes = sorted({*self.program.operations, *self.wanted}, key=lambda node: -node.index)
        for node in nodes:
            if node not in arriving:
                continue
            signal = self._join(arriving.pop(node), node, items)
            if node in self.wanted:
                found[node] = signal = self.resolve(signal, node, items)
            if node not in self.program.operations:
                continue
            operation = self.program.operations[node]
            if not any(source in self._reached for source in operation.sources):
                continue
            walked = self._step(operation, signal, items, entries)
            treatments.append(self._treatment(operation))
            for source, below in walked:
                if source in self._reached:
                    arriving.setdefault(source, []).append(below)
        self.treatments = treatments
        return found, entries

    def _treatment(self, operation: Operation) -> Treatment:
        passes = "whole" if self.cones.get(operation.source) is None else "cone"
        if self.rules is None:
            return Treatment(operation.layer, operation.description, self.backward, passes)
        named = self.rules.get(operation.node)
        unshifted = isinstance(operation, Affine) and not bool(operation.shift.any())
        rule = "pass" if named is None or unshifted else named.name
        return Treatment(operation.layer, operation.description, rule, passes)

    def _step(
        self, operation: Operation, signal: Signal, items: torch.Tensor, entries: list[Entry]
    ) -> list[tuple[Node, Signal]]:
        relevance = self.rules is not None
        match operation:
            case Convolution() | TransposedConvolution() | Dense():
                if relevance:
                    return [(operation.source, self._propagate(operation, signal, items, entries))]
                return [(operation.source, self._differentiate(operation, signal, items))]
            case Identity():
                return [(operation.source, signal)]
            case Affine():
                return [(operation.source, self._affine(operation, signal, items, entries))]
            case Elementwise():
                return [(operation.source, self._elementwise(operation, signal, items))]
            case Pad():
                return [(operation.source, self._unpad(operation, signal, items))]
            case MaxPool():
                return [(operation.source, self._unpool(operation, signal, items))]
            case Sum():
                return self._sum(operation, signal, items, entries)
            case Concatenation():
                return self._split(operation, signal, items, entries)
            case ChannelSlice():
                return [(operation.source, self._unslice(operation, signal, items))]
            case Reordering():
                return [(operation.source, self._reorder(operation, signal, items))]
            case Mixing():
                from asr_introspect.attribution.whole import mixing

                return mixing(self, operation, signal, items, entries)
            case _:
                raise AssertionError(operation)

    # ---------------------------------------------------------------- signals

    def _inside(self, node: Node) -> Key:
        """The map of ones at the positions of the sentence (all positions, if there is no padding)."""

        def make() -> torch.Tensor:
            like = node.tensor
            ones = like.new_ones(len(like), 1, *like.shape[2:])
            return ones * self.valid[node].to(like.dtype) if node in self.valid else ones

        return self.maps.define(("inside", node.index), make)

    def factor(self, keys: tuple[Key, ...], signal: Signal, items: torch.Tensor) -> torch.Tensor:
        """A product of maps cut to the windows of a signal."""
        if signal.whole:
            return self.maps.product(keys)[items]
        assert signal.starts is not None
        padded = self.maps.padded(keys, signal.widths)
        return cut(padded, items, signal.starts, signal.widths, signal.widths)

    def resolve(self, signal: Signal, node: Node, items: torch.Tensor) -> Signal:
        """The signal with its pending maps multiplied on."""
        keys = signal.pending
        if not keys:
            return signal
        only_inside = all(key[0] == "inside" for key in keys) and node not in self.valid
        if only_inside:
            if signal.whole:
                return replace(signal, pending=())
            assert signal.starts is not None
            if inside(signal.starts, signal.widths, tuple(node.tensor.shape[2:])):
                return replace(signal, pending=())
        return replace(signal, values=signal.values * self.factor(keys, signal, items), pending=())

    def as_whole(self, signal: Signal, node: Node, items: torch.Tensor) -> Signal:
        """The signal as whole maps."""
        signal = self.resolve(signal, node, items)
        if signal.starts is None:
            return signal
        values = place(signal.values, signal.starts, tuple(node.tensor.shape[2:]))
        return replace(signal, values=values, starts=None)

    def _join(self, signals: list[Signal], node: Node, items: torch.Tensor) -> Signal:
        """The sum of what arrives over several branches, in windows that hold them all."""
        if len(signals) == 1:
            return signals[0]
        totals = [signal.total for signal in signals]
        total = (
            None
            if any(t is None for t in totals)
            else torch.stack([t for t in totals if t is not None]).sum(0)
        )
        if any(signal.whole for signal in signals):
            wholes = [self.as_whole(signal, node, items).values for signal in signals]
            return Signal(torch.stack(wholes).sum(0), None, total=total)
        resolved = [self.resolve(signal, node, items) for signal in signals]
        placed = [signal.starts for signal in resolved if signal.starts is not None]
        first = torch.stack(placed).amin(0)
        ends = [at + at.new_tensor(signal.widths) for at, signal in zip(placed, resolved, strict=True)]
        widths = tuple(int(size) for size in (torch.stack(ends).amax(0) - first).amax(0))
        values = torch.stack(
            [reframe(signal.values, at, first, widths) for at, signal in zip(placed, resolved, strict=True)]
        ).sum(0)
        return Signal(values, first, total=total)

    def measured(self, signal: Signal, node: Node, items: torch.Tensor) -> torch.Tensor:
        """Sum of a signal per target ``(N,)``."""
        return self.resolve(signal, node, items).values.flatten(1).sum(1)

    # ---------------------------------------------------------------- linear layers

    def weight(self, operation: Linear, key: object, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """A weight derived from the layer's, made once."""
        if (operation.node, key) not in self._weights:
            self._weights[operation.node, key] = make()
        return self._weights[operation.node, key]

    def _back(
        self, operation: Linear, values: torch.Tensor, starts: torch.Tensor | None, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Values at a linear layer's output times the transposed matrix, with their new starts."""
        groups = None if isinstance(operation, Dense) else operation.groups
        if isinstance(operation, Dense):
            return operation.transpose(values, weight), None
        if starts is None:
            return self._back_whole(operation, values, weight), None
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
        self, operation: Convolution | TransposedConvolution, values: torch.Tensor, weight: torch.Tensor
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

    def _differentiate(self, operation: Linear, signal: Signal, items: torch.Tensor) -> Signal:
        if isinstance(operation, Dense):
            signal = self.as_whole(signal, operation.node, items)
        signal = self._with_divisor(operation, signal)
        signal = self.resolve(signal, operation.node, items)
        values, starts = self._back(operation, signal.values, signal.starts, operation.weight)
        return Signal(values, starts, (self._inside(operation.source),))

    def _with_divisor(self, operation: Linear, signal: Signal) -> Signal:
        if operation.divisor is None:
            return signal
        divisor = operation.divisor
        key = self.maps.define(
            ("divisor", operation.node.index),
            lambda: divisor.expand(len(operation.node.tensor), *divisor.shape[1:]),
        )
        return replace(signal, pending=(*signal.pending, key))

    def _piece(self, operation: Linear, piece: str) -> Key | None:
        """A part of a layer's input as a map; None where it is zero throughout."""
        source = operation.source
        inputs = source.tensor
        lowest = self.weight(
            operation, "lowest", lambda: inputs.amin() if inputs.numel() else inputs.new_zeros(())
        )
        if piece in {"positive", "input"} and (piece == "input" or float(lowest) >= 0):
            return self.maps.define(("input", source.index), lambda: inputs)
        if piece == "positive":
            return self.maps.define(("positive", source.index), lambda: inputs.clamp_min(0))
        if piece == "negative":
            if float(lowest) >= 0:
                return None
            return self.maps.define(("negative", source.index), lambda: inputs.clamp_max(0))
        inside_map = self._inside(source)

        def constant() -> torch.Tensor:
            ones = self.maps.get(inside_map).expand_as(inputs)
            if piece == "ones":
                return ones
            assert self.bounds is not None
            return ones * self.bounds[0 if piece == "low" else 1]

        return self.maps.define((piece, source.index), constant)

    def denominators(self, operation: Linear, part: Part) -> torch.Tensor:
        """``z_p`` of one part of a rule, ``(B, C', *U)``, bias and divisor included."""
        if part.products == (("input", part.bias),) and part.bias.name == "W":
            return operation.node.tensor
        total: torch.Tensor | float = 0.0
        for piece, weight_part in part.products:
            key = self._piece(operation, piece)
            if key is not None:
                weight = self.weight(operation, weight_part, lambda w=weight_part: w(operation.weight))  # type: ignore[misc]
                total = total + operation.forward(self.maps.get(key), weight)
        if operation.bias is not None:
            channels = (
                (-1,) if isinstance(operation, Dense) else (-1, *(1,) * (operation.node.tensor.dim() - 2))
            )
            total = total + part.bias(operation.bias).view(channels)
        return total if isinstance(total, torch.Tensor) else torch.zeros_like(operation.node.tensor)

    def stabiliser(self, operation: Operation, part: Part) -> torch.Tensor:
        """The part's epsilon ``(B, 1, ...)``: absolute, or relative to rms(z) over valid positions."""
        z = operation.node.tensor
        shape = (len(z), *(1,) * (z.dim() - 1))
        if not part.relative:
            return z.new_full(shape, part.epsilon)
        return part.epsilon * self._rms(operation.node).view(shape)

    def _rms(self, node: Node) -> torch.Tensor:
        z = node.tensor
        if node not in self.valid:
            return z.flatten(1).square().mean(1).sqrt()
        weights = self.valid[node].to(z.dtype).expand_as(z).flatten(1)
        return ((z.flatten(1).square() * weights).sum(1) / weights.sum(1).clamp_min(1)).sqrt()

    def _factor_maps(self, operation: Linear, rule: Rule) -> tuple[list[Key], Key]:
        """Per part ``c_p / z_p`` where it acts, and the share of relevance that stabilisers keep."""
        index, name = operation.node.index, rule
        keys: list[Key] = []

        def factor(part: Part) -> torch.Tensor:
            inverse = stabilised_inverse(self.denominators(operation, part), self.stabiliser(operation, part))
            if part.where != "all":
                z = operation.node.tensor
                inverse = inverse * (z > 0 if part.where == "positive" else z < 0)
            return part.coefficient * inverse

        def lost() -> torch.Tensor:
            kept: torch.Tensor | float = 0.0
            for part, key in zip(rule.parts, keys, strict=True):
                inverse = self.maps.get(key)
                share = (inverse != 0) * part.coefficient
                if part.epsilon:
                    sign = torch.where(self.denominators(operation, part) < 0, -1.0, 1.0).to(inverse.dtype)
                    share = share - inverse * sign * self.stabiliser(operation, part)
                kept = kept + share
            return torch.as_tensor(1 - kept, dtype=operation.node.tensor.dtype)

        for position, part in enumerate(rule.parts):
            keys.append(self.maps.define(("factor", index, name, position), lambda part=part: factor(part)))  # type: ignore[misc]
        return keys, self.maps.define(("lost", index, name), lost)

    def _propagate(
        self, operation: Linear, signal: Signal, items: torch.Tensor, entries: list[Entry]
    ) -> Signal:
        assert self.rules is not None
        rule = self.rules[operation.node]
        if isinstance(operation, Dense):
            signal = self.as_whole(signal, operation.node, items)
        keys, lost = self._factor_maps(operation, rule)
        divided = self._with_divisor(operation, replace(signal, pending=()))
        shares = [
            signal.values * self.factor((*signal.pending, key, *divided.pending), signal, items)
            for key in keys
        ]
        out = signal.total
        assert out is not None
        bias, stabiliser = self._absorbed(operation, rule, signal, shares, lost, items)
        entries.append(Entry(operation.layer, rule.name, out, out - bias - stabiliser, bias, stabiliser))
        below = self._weighted(operation, rule, shares, signal.starts, items)
        return replace(below, total=out - bias - stabiliser)

    def _absorbed(
        self,
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
        kept = self.maps.define(key, lambda: self.maps.product((*signal.pending, lost)))
        nothing = self.maps.define((*key, "none"), lambda: (self.maps.get(kept) == 0).all())
        if bool(self.maps.get(nothing)):
            return bias, none
        (part, *others) = rule.parts
        if not others and part.epsilon and part.where == "all" and operation.divisor is None:
            uniform = self.maps.define((*key, "signs"), lambda: self._only_positive(operation, part, signal))
            if bool(self.maps.get(uniform)):
                return bias, self.stabiliser(operation, part).flatten()[items] * by_channel[0].sum(1)
        return bias, (signal.values * self.factor((*signal.pending, lost), signal, items)).flatten(1).sum(1)

    def _only_positive(self, operation: Linear, part: Part, signal: Signal) -> torch.Tensor:
        """Whether relevance arrives only where the denominator is safely positive."""
        z = self.denominators(operation, part)
        factors = self.maps.product(signal.pending) if signal.pending else torch.ones_like(z)
        return ~((z <= 0) & (factors != 0)).any()

    def _weighted(
        self,
        operation: Linear,
        rule: Rule,
        shares: list[torch.Tensor],
        starts: torch.Tensor | None,
        items: torch.Tensor,
    ) -> Signal:
        """``sum_p a_p W_p^T shares_p``, one transposed product per part of the input that is not zero."""
        products: dict[Key, list[tuple[int, object]]] = {}
        for position, part in enumerate(rule.parts):
            for piece, weight_part in part.products:
                key = self._piece(operation, piece)
                if key is not None:
                    products.setdefault(key, []).append((position, weight_part))
        signals: list[Signal] = []
        for key, terms in products.items():
            values, first = self._stacked(operation, shares, starts, terms)
            signals.append(Signal(values, first, (key,)))
        if not signals:
            values, first = self._back(operation, torch.zeros_like(shares[0]), starts, operation.weight)
            return Signal(values, first, (self._inside(operation.source),))
        if len(signals) == 1:
            return signals[0]
        summed = [self.resolve(signal, operation.source, items).values for signal in signals]
        return Signal(torch.stack(summed).sum(0), signals[0].starts)

    def _stacked(
        self,
        operation: Linear,
        shares: list[torch.Tensor],
        starts: torch.Tensor | None,
        terms: list[tuple[int, object]],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``sum_t W_t^T shares_t``; without groups as one product with the weights on top of each other."""

        def made(weight_part: object) -> torch.Tensor:
            assert callable(weight_part)
            return self.weight(operation, weight_part, lambda: weight_part(operation.weight))

        if len(terms) == 1:
            position, weight_part = terms[0]
            return self._back(operation, shares[position], starts, made(weight_part))
        if isinstance(operation, Convolution) and operation.groups == 1:
            key = ("stack", *(weight_part for _, weight_part in terms))
            weight = self.weight(operation, key, lambda: torch.cat([made(part) for _, part in terms]))
            stacked = torch.cat([shares[position] for position, _ in terms], 1)
            return self._back(operation, stacked, starts, weight)
        backs = [self._back(operation, shares[position], starts, made(part)) for position, part in terms]
        return torch.stack([values for values, _ in backs]).sum(0), backs[0][1]

    # ---------------------------------------------------------------- elementwise

    def _elementwise(self, operation: Elementwise, signal: Signal, items: torch.Tensor) -> Signal:
        if self.rules is not None:
            return signal
        source, function = operation.source, operation.function

        def slope() -> torch.Tensor:
            with torch.enable_grad():
                inputs = source.tensor.detach().requires_grad_()
                (derivative,) = torch.autograd.grad(function(inputs).sum(), inputs)
            return derivative

        if operation.activation and self.backward != "gradient":
            signal = self.resolve(signal, operation.node, items)
            signal = replace(signal, values=signal.values.clamp_min(0))
            if self.backward == "deconvnet":
                return signal
        key = self.maps.define(("slope", operation.node.index), slope)
        return replace(signal, pending=(*signal.pending, key))

    def _affine(self, operation: Affine, signal: Signal, items: torch.Tensor, entries: list[Entry]) -> Signal:
        like = operation.source.tensor
        if self.rules is None:
            key = self.maps.define(("scale", operation.node.index), lambda: operation.scale.expand_as(like))
            return replace(signal, pending=(*signal.pending, key))
        if not bool(operation.shift.any()):
            return signal
        (part,) = self.rules[operation.node].parts

        def share() -> torch.Tensor:
            inverse = stabilised_inverse(operation.node.tensor, self.stabiliser(operation, part))
            return operation.scale * like * inverse

        def bias_share() -> torch.Tensor:
            inverse = stabilised_inverse(operation.node.tensor, self.stabiliser(operation, part))
            return (operation.shift * inverse).expand_as(like)

        out = signal.total
        assert out is not None
        bias_key = self.maps.define(("shift share", operation.node.index), bias_share)
        bias = self.measured(replace(signal, pending=(*signal.pending, bias_key)), operation.node, items)
        key = self.maps.define(("scale share", operation.node.index), share)
        below = replace(signal, pending=(*signal.pending, key))
        incoming = self.measured(below, operation.node, items)
        entries.append(Entry(operation.layer, "norm", out, incoming, bias, out - incoming - bias))
        return replace(below, total=incoming)

    # ---------------------------------------------------------------- positions

    def _unpad(self, operation: Pad, signal: Signal, items: torch.Tensor) -> Signal:
        signal = self.resolve(signal, operation.node, items)
        inner = (self._inside(operation.source),)
        if signal.starts is not None:
            starts, _ = operation.window(signal.starts, signal.widths)
            return replace(signal, starts=starts, pending=inner)
        pads = [-side for pad in reversed(operation.pads) for side in pad]
        return replace(signal, values=F.pad(signal.values, pads))

    def _unpool(self, operation: MaxPool, signal: Signal, items: torch.Tensor) -> Signal:
        """Each value back to where its maximum stood."""
        signal = self.resolve(signal, operation.node, items)
        key = self.maps.define(("switch", operation.node.index), lambda: operation.switch)
        shape = tuple(operation.source.tensor.shape[2:])
        if signal.starts is None:
            switch = self.maps.get(key)[items]
        else:
            padded = self.maps.padded((key,), signal.widths, fill=-1)
            switch = cut(padded, items, signal.starts, signal.widths, signal.widths)
        widths = tuple(
            (w - 1) * s + (k - 1) * d + 1
            for w, s, k, d in zip(
                signal.widths, operation.stride, operation.kernel, operation.dilation, strict=True
            )
        )
        back = signal.values.new_zeros(*signal.values.shape[:2], *widths)
        for tap, offsets in enumerate(itertools.product(*map(range, operation.kernel))):
            view = back
            for axis, offset in enumerate(offsets):
                start = offset * operation.dilation[axis]
                stop = start + (signal.widths[axis] - 1) * operation.stride[axis] + 1
                view = view[(slice(None),) * (2 + axis) + (slice(start, stop, operation.stride[axis]),)]
            view += signal.values * (switch == tap)
        if signal.starts is not None:
            starts, _ = operation.window(signal.starts, signal.widths)
            return Signal(back, starts, total=signal.total)
        pads: list[int] = []
        for axis in reversed(range(len(shape))):
            left = operation.pads[axis][0]
            pads += [-left, shape[axis] - (widths[axis] - left)]
        return Signal(F.pad(back, pads), None, total=signal.total)

    # ---------------------------------------------------------------- branches and channels

    def _sum(
        self, operation: Sum, signal: Signal, items: torch.Tensor, entries: list[Entry]
    ) -> list[tuple[Node, Signal]]:
        node = operation.node
        if self.rules is None:
            signal = self.resolve(signal, node, items)
            return [
                (source, signal if factor == 1 else replace(signal, values=signal.values * factor))
                for source, factor in zip(operation.sources, operation.factors, strict=True)
            ]
        (part,) = self.rules[node].parts
        walked: list[tuple[Node, Signal]] = []
        for at, (source, factor) in enumerate(zip(operation.sources, operation.factors, strict=True)):

            def share(source: Node = source, factor: float = factor) -> torch.Tensor:
                inverse = stabilised_inverse(node.tensor, self.stabiliser(operation, part))
                return factor * source.tensor * inverse

            key = self.maps.define(("summand", node.index, at), share)
            below = self.resolve(replace(signal, pending=(*signal.pending, key)), node, items)
            walked.append((source, replace(below, total=below.values.flatten(1).sum(1))))
        out = signal.total
        assert out is not None
        incoming = torch.stack([below.total for _, below in walked if below.total is not None]).sum(0)
        entries.append(Entry(operation.layer, "norm", out, incoming, torch.zeros_like(out), out - incoming))
        return walked

    def _split(
        self, operation: Concatenation, signal: Signal, items: torch.Tensor, entries: list[Entry]
    ) -> list[tuple[Node, Signal]]:
        if operation.axis != 1:
            signal = self.as_whole(signal, operation.node, items)
        signal = self.resolve(signal, operation.node, items)
        walked: list[tuple[Node, Signal]] = []
        for source, (start, end) in zip(operation.sources, operation.parts, strict=True):
            values = signal.values.narrow(operation.axis, start, end - start)
            total = None if signal.total is None else values.flatten(1).sum(1)
            walked.append((source, Signal(values, signal.starts, total=total)))
        if signal.total is not None and len(operation.sources) < operation.node.tensor.shape[1]:
            incoming = torch.stack([below.total for _, below in walked if below.total is not None]).sum(0)
            nothing = torch.zeros_like(incoming)
            constants = signal.total - incoming
            entries.append(Entry(operation.layer, "split", signal.total, incoming, constants, nothing))
        return walked

    def _unslice(self, operation: ChannelSlice, signal: Signal, items: torch.Tensor) -> Signal:
        signal = self.resolve(signal, operation.node, items)
        after = operation.source.tensor.shape[1] - operation.end
        pads = [0, 0] * (signal.values.dim() - 2) + [operation.start, after]
        return replace(signal, values=F.pad(signal.values, pads))

    def _reorder(self, operation: Reordering, signal: Signal, items: torch.Tensor) -> Signal:
        signal = self.as_whole(signal, operation.node, items)
        shape = operation.source.tensor.shape[1:]
        back = signal.values.new_zeros(len(items), math.prod(shape))
        back.index_add_(1, operation.index, signal.values.flatten(1))
        return replace(signal, values=back.view(-1, *shape), starts=None)
