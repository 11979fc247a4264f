"""The one backward walk: from the explained outputs to the input, in each target's cone.

Gradients, LRP, guided backprop, deconvnet and the gradients of Grad-CAM are the same walk with other factors.
What depends on the sentence only (masks, ``1/z``, clamped activations) is computed once, as maps; the targets
are a batch of windows that each map is cut to. An operation that has no cone (flatten, attention, a mean over
all positions) is walked on whole maps, one per target, and :class:`~relevance.Coverage` says so.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F

from asr_introspect.attribution import linear
from asr_introspect.attribution.canonical import Program
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.maps import Key, Maps
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
    Reordering,
    Sum,
    TransposedConvolution,
)
from asr_introspect.attribution.relevance import Entry, Treatment
from asr_introspect.attribution.rules import Rule, stabilised_inverse
from asr_introspect.attribution.whole import mixing
from asr_introspect.attribution.windows import Signal, cut, inside, place, reframe

Backward = Literal["gradient", "guided-backprop", "deconvnet"]


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
        self.weights: dict[tuple[Node, object], torch.Tensor] = {}
        self._reached = self._above(self.wanted)
        # What makes maps must not hold the sweep that holds the maps: a batch's values would be freed only by
        # the collector, and several batches of half a gigabyte pile up until it comes.
        self.itself: Sweep = weakref.proxy(self)

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
                    return [
                        (operation.source, linear.propagate(self.itself, operation, signal, items, entries))
                    ]
                return [(operation.source, linear.differentiate(self.itself, operation, signal, items))]
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
                return mixing(self.itself, operation, signal, items, entries)
            case _:
                raise AssertionError(operation)

    # ---------------------------------------------------------------- signals

    def inside_map(self, node: Node) -> Key:
        """The map of ones at the positions of the sentence (all positions, if there is no padding)."""

        valid = self.valid.get(node)

        def make() -> torch.Tensor:
            like = node.tensor
            ones = like.new_ones(len(like), 1, *like.shape[2:])
            return ones if valid is None else ones * valid.to(like.dtype)

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
        like, itself = operation.source.tensor, self.itself
        if self.rules is None:
            key = self.maps.define(("scale", operation.node.index), lambda: operation.scale.expand_as(like))
            return replace(signal, pending=(*signal.pending, key))
        if not bool(operation.shift.any()):
            return signal
        (part,) = self.rules[operation.node].parts

        def share() -> torch.Tensor:
            inverse = stabilised_inverse(operation.node.tensor, linear.stabiliser(itself, operation, part))
            return operation.scale * like * inverse

        def bias_share() -> torch.Tensor:
            inverse = stabilised_inverse(operation.node.tensor, linear.stabiliser(itself, operation, part))
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
        inner = (self.inside_map(operation.source),)
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
        itself = self.itself
        walked: list[tuple[Node, Signal]] = []
        for at, (source, factor) in enumerate(zip(operation.sources, operation.factors, strict=True)):

            def share(source: Node = source, factor: float = factor) -> torch.Tensor:
                inverse = stabilised_inverse(node.tensor, linear.stabiliser(itself, operation, part))
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
