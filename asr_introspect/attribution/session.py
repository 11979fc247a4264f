"""One batch of sentences ready to be explained: recorded, folded, measured; targets walked in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from asr_introspect.attribution.canonical import Program, canonical
from asr_introspect.attribution.geometry import Window, valid_positions, windows
from asr_introspect.attribution.graph import Node, record
from asr_introspect.attribution.operations import Mixing, Operation
from asr_introspect.attribution.relevance import Coverage, Entry, Ledger, Relevance, Treatment
from asr_introspect.attribution.rules import Rule
from asr_introspect.attribution.sweep import Backward, Sweep
from asr_introspect.attribution.targets import Targets, neuron_start, output_signal, resolve, top_layer
from asr_introspect.attribution.whole import gradients_by_autograd
from asr_introspect.attribution.windows import Signal, cut, place, reframe
from asr_introspect.errors import IntrospectError, UsageError

MEMORY = 256 * 2**20
"""Bytes that the windows of one chunk of targets may take."""


@dataclass(eq=False)
class Session:
    """The network's run on one batch, and what is asked about it.

    Build it with :func:`prepare`; ``explain`` walks the targets and yields a result per chunk and layer.
    """

    network: nn.Module
    program: Program
    layers: dict[str, Node]
    targets: Targets
    output_axis: int
    lengths: torch.Tensor | None

    def __post_init__(self) -> None:
        self.cones = windows(self.program, self.targets.positions)
        self.valid = valid_positions(self.program.graph, self.program)
        self._check_valid()
        graph_input = self.program.graph.input
        if self.lengths is not None and graph_input not in self.valid:
            frames = torch.arange(graph_input.tensor.shape[-1], device=self.lengths.device)
            mask = (frames < self.lengths[:, None])[:, None]
            while mask.dim() < graph_input.tensor.dim():
                mask = mask[:, :, None]
            self.valid[graph_input] = mask.to(graph_input.tensor.dtype)

    def _check_valid(self) -> None:
        """Raises UsageError for a target at an output position that the network masks."""
        output = self.program.graph.output
        if output not in self.valid or self.output_axis != 1:
            return
        valid = self.valid[output].expand(len(output.tensor), -1, *output.tensor.shape[2:])
        at = valid.movedim(1, -1)[(self.targets.items, *self.targets.positions.unbind(1))]
        beyond = (at[:, 0] == 0).nonzero()[:, 0]
        if len(beyond):
            row = int(beyond[0])
            step = self.targets.positions[row].tolist()
            raise UsageError(f"target {row}: output step {step[0]} lies past the length of its item")

    def sweep(
        self,
        rules: Mapping[Node, Rule] | None = None,
        backward: Backward = "gradient",
        bounds: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Sweep:
        layers = tuple(self.layers.values())
        return Sweep(self.program, layers, rules, backward, self.valid, bounds, self.cones)

    def chunks(self, chunk: int | str) -> Iterator[slice]:
        """Slices of the targets; ``"auto"``: as many as keep within :data:`MEMORY`."""
        if chunk == "auto":
            size = max(1, min(self._chunk_size(), 4096))
        elif isinstance(chunk, int) and chunk > 0:
            size = chunk
        else:
            raise UsageError(f"chunk must be 'auto' or a positive number of targets, not {chunk!r}")
        for start in range(0, len(self.targets), size):
            yield slice(start, min(start + size, len(self.targets)))

    def _chunk_size(self) -> int:
        widest = 1
        for node, cone in self.cones.items():
            shape = node.tensor.shape[1:]
            whole = math.prod(shape)
            widest = max(widest, whole if cone is None else shape[0] * math.prod(cone.widths))
        kept = sum(
            math.prod(node.tensor.shape[1:])
            if (cone := self.cones.get(node)) is None
            else node.tensor.shape[1] * math.prod(cone.widths)
            for node in self.layers.values()
        )
        size = self.program.graph.output.tensor.element_size()
        return MEMORY // (size * (6 * widest + kept))

    def explain(
        self, sweep: Sweep, chunk: int | str, whole: bool = False
    ) -> Iterator[tuple[slice, dict[str, Relevance]]]:
        """Walks the targets chunk by chunk; for each: which targets, and by layer their windows.

        ``whole``: on whole maps instead of cones, the slow way that the cones are tested against.
        """
        if any(
            isinstance(each, Mixing) and each.kind == "moves items"
            for each in self.program.operations.values()
        ):
            if sweep.rules is not None or sweep.backward != "gradient":
                raise UsageError("the network moves the batch axis; only gradient methods can explain it")
            yield from self._by_autograd(chunk)
            return
        for rows in self.chunks(chunk):
            part = self.targets.part(rows)
            entries: list[Entry] = []
            first: tuple[Treatment, ...] = ()
            if sweep.rules is None:
                node = self.program.graph.output
                start = (node, output_signal(node, part, self.output_axis, part.coefficients))
            else:
                source, signal, entry = neuron_start(sweep, part, self.output_axis)
                start = (source, signal)
                entries.append(entry)
                top, _ = top_layer(self.program)
                if top is not None:
                    first = (Treatment(top.layer, top.description, entry.rule, self._passes(top)),)
            if whole:
                start = (start[0], sweep.as_whole(start[1], start[0], part.items))
            found, walked = sweep.run([start], part.items)
            entries += walked
            coverage = Coverage((*first, *sweep.treatments))
            method = "lrp" if sweep.rules is not None else sweep.backward
            yield (
                rows,
                {
                    name: self._result(name, node, rows, found.get(node), entries, coverage, method)
                    for name, node in self.layers.items()
                },
            )

    def _by_autograd(self, chunk: int | str) -> Iterator[tuple[slice, dict[str, Relevance]]]:
        """One of autograd's passes per target: for networks whose batch axis does not stay first."""
        graph = record(self.network, self.program.graph.input.tensor, self.lengths, live=True)
        nodes = {name: graph.layer(name) for name in self.layers}
        outputs = graph.output.tensor.movedim(self.output_axis, 1)
        coverage = Coverage((Treatment("the network", "autograd", "gradient", "whole"),))
        for rows in self.chunks(chunk):
            found = gradients_by_autograd(outputs, nodes, self.targets.part(rows))
            yield (
                rows,
                {
                    name: self._result(
                        name, nodes[name], rows, Signal(values, None), [], coverage, "gradient"
                    )
                    for name, values in found.items()
                },
            )

    def _passes(self, operation: Operation) -> str:
        return "whole" if self.cones.get(operation.source) is None else "cone"

    def window(self, node: Node, rows: slice) -> Window | None:
        """Where the windows of some targets lie at a node; None: the whole map."""
        cone = self.cones.get(node)
        return None if cone is None else Window(cone.starts[rows], cone.widths)

    def cut(self, maps: torch.Tensor, layer: str, rows: slice) -> torch.Tensor:
        """Windows of maps ``(B, C, *S)`` at a layer for some targets, zero outside; or whole maps."""
        here = self.window(self.layers[layer], rows)
        items = self.targets.items[rows]
        if here is None:
            return maps[items]
        pads = [width for width in reversed(here.widths) for _ in range(2)]
        padded = torch.nn.functional.pad(maps, pads)
        return cut(padded, items, here.starts, here.widths, here.widths)

    def blank(self, layer: str, rows: slice) -> Relevance:
        """Windows of zeros for some targets: what a method fills in that does not walk."""
        node = self.layers[layer]
        shape = tuple(node.tensor.shape[1:])
        signal = Signal(node.tensor.new_zeros(rows.stop - rows.start, *shape), None)
        windows, starts = framed(signal, self.window(node, rows), shape)
        scores = self.targets.scores[rows]
        return Relevance(
            scores, windows, starts, shape, layer, "", Ledger(), torch.zeros_like(scores), Coverage()
        )

    def _result(
        self,
        name: str,
        node: Node,
        rows: slice,
        signal: Signal | None,
        entries: list[Entry],
        coverage: Coverage,
        method: str,
    ) -> Relevance:
        here = self.window(self.layers[name], rows)
        shape = tuple(node.tensor.shape[1:])
        count = rows.stop - rows.start
        if signal is None:
            signal = Signal(node.tensor.new_zeros(count, *shape), None)
        values, starts = framed(signal, here, shape)
        scores = self.targets.scores[rows]
        leak = torch.zeros_like(scores)
        residual = None
        if method == "lrp":
            held = values.flatten(1).sum(1)
            lost = scores - held
            small = scores.abs() < 1e-6
            leak = torch.where(small, lost, lost / torch.where(small, 1.0, scores))
            if signal.total is not None:
                residual = held - signal.total
        ledger = Ledger(tuple(entries), residual)
        return Relevance(scores, values, starts, shape, name, method, ledger, leak, coverage)


def framed(signal: Signal, here: Window | None, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """A signal's values in the windows of the geometry, with their starts ``(N,)`` or ``(N, axes)``."""
    axes = max(len(shape) - 1, 0)
    if here is None:
        values = signal.values
        if signal.starts is not None:
            values = place(values, signal.starts, shape[1:])
        zeros = torch.zeros(len(values), max(axes, 1), dtype=torch.long, device=values.device)
        return values, zeros[:, 0] if axes < 2 else zeros
    origin = torch.zeros_like(here.starts) if signal.starts is None else signal.starts
    values = reframe(signal.values, origin, here.starts, here.widths)
    return values, here.starts[:, 0] if axes == 1 else here.starts


def prepare(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor | Callable[[torch.Tensor], Targets],
    *,
    lengths: torch.Tensor | None = None,
    layers: Sequence[str] = ("input",),
    against: str | int | None = None,
    output_axis: int = 1,
) -> Session:
    """Runs the network once and makes it ready for walks.

    ``targets`` are integers as in :func:`attribute`, or a function from the outputs ``(B, V, *U)`` to
    resolved :class:`Targets`.

    Raises UsageError for wrong inputs, lengths, layers or targets; IntrospectError where outputs are not
    finite.
    """
    if not inputs.is_floating_point():
        raise UsageError(f"inputs must be floating-point, not {inputs.dtype}")
    if not bool(torch.isfinite(inputs).all()):
        raise IntrospectError("the inputs hold values that are not finite")
    graph = record(network, inputs, lengths)
    if not bool(torch.isfinite(graph.output.tensor).all()):
        raise IntrospectError("the network's output is not finite: look for NaN in its weights")
    nodes = {name: graph.layer(name) for name in layers}
    axes = graph.output.tensor.dim()
    if not -axes <= output_axis < axes or output_axis % axes not in {1, axes - 1}:
        raise UsageError(f"output_axis must be 1 or the last axis of the output, not {output_axis}")
    axis = 1 if output_axis % axes == 1 else axes - 1
    outputs = graph.output.tensor.movedim(axis, 1)
    resolved = targets(outputs) if callable(targets) else resolve(targets, outputs, against)
    return Session(network, canonical(graph, keep=nodes.values()), nodes, resolved, axis, lengths)
