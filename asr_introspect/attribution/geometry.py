"""Receptive fields: which window of every layer an output position depends on, derived from the graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

from asr_introspect.attribution.canonical import Program, canonical
from asr_introspect.attribution.graph import Graph, Node, record
from asr_introspect.attribution.operations import (
    Concatenation,
    Convolution,
    Dense,
    MaxPool,
    Mixing,
    Operation,
    Pad,
    Reordering,
    TransposedConvolution,
    Widths,
)


@dataclass(frozen=True)
class Window:
    """The windows of N output positions at one node: first positions ``(N, axes)`` and their common width."""

    starts: torch.Tensor
    widths: Widths


@dataclass(frozen=True)
class Cone:
    """What output position ``u`` sees of a layer: ``width`` positions from ``first + jump * u`` on.

    One number per position axis. ``jump`` may be a fraction after transposed convolutions; the window is then
    the widest over the phases.
    """

    width: Widths
    jump: tuple[float, ...]
    first: Widths


def windows(program: Program, positions: torch.Tensor) -> dict[Node, Window | None]:
    """The window of each node that the output positions ``(N, axes)`` depend on; None: the whole map.

    The output's own window is one position wide. Where branches meet, the window holds those of all branches.
    """
    output = program.graph.output
    local = positions.shape[1] > 0 and output.tensor.dim() == 2 + positions.shape[1]
    found: dict[Node, list[Window | None]] = {
        output: [Window(positions, (1,) * positions.shape[1]) if local else None]
    }
    result: dict[Node, Window | None] = {}
    for node in sorted({*program.operations, program.graph.input}, key=lambda node: -node.index):
        if node not in found:
            continue
        here = _union(found[node])
        result[node] = here
        if node not in program.operations:
            continue
        operation = program.operations[node]
        for source in operation.sources:
            found.setdefault(source, []).append(_below(operation, here))
    return result


def _below(operation: Operation, here: Window | None) -> Window | None:
    match operation:
        case Dense() | Reordering() | Mixing():
            return None
        case Concatenation(axis=axis) if axis != 1:
            return None
        case Convolution() | TransposedConvolution() | Pad() | MaxPool() if here is not None:
            return Window(*operation.window(here.starts, here.widths))
        case _:
            return here


def _union(parts: list[Window | None]) -> Window | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if len(known) == 1:
        return known[0]
    if not len(known[0].starts):
        return known[0]
    first = torch.stack([part.starts for part in known]).amin(0)
    ends = torch.stack([part.starts + part.starts.new_tensor(part.widths) for part in known]).amax(0)
    return Window(first, tuple(int(size) for size in (ends - first).amax(0)))


def valid_positions(graph: Graph, program: Program) -> dict[Node, torch.Tensor]:
    """By node, ``(B, 1, *S)`` ones at positions that belong to the sentence, where the network masks them.

    A mask is a multiplication by zeros and ones that are equal for all channels. It holds for the value it
    makes and, through elementwise steps, for the layer below whose output it masks.
    """
    from asr_introspect.attribution.operations import Affine, Elementwise, Identity

    valid: dict[Node, torch.Tensor] = {}
    for node, operation in program.operations.items():
        if isinstance(operation, Affine) and operation.mask and node.tensor.dim() > 2:
            scale = operation.scale.expand_as(node.tensor)
            if bool((scale == scale[:, :1]).all()):
                valid[node] = scale[:, :1]
        elif isinstance(operation, (Elementwise, Identity, Affine)) and operation.source in valid:
            valid[node] = valid[operation.source]
    for node in sorted(valid, key=lambda node: -node.index):
        below: Operation | None = program.operations[node]
        while isinstance(below, (Affine, Elementwise, Identity)):
            if below.source not in program.operations:
                valid.setdefault(below.source, valid[node])
            below = program.operations.get(below.source)
            if below is not None:
                valid.setdefault(below.node, valid[node])
    return valid


def receptive_field(
    network: nn.Module, inputs: torch.Tensor, layers: Collection[str] = ("input",)
) -> dict[str, Cone | None]:
    """The cone of each layer named, from the network's graph on these inputs ``(B, C, *S)``.

    Where a step has no known geometry, the cone is measured: see :func:`measured_field`. None: the layer is
    seen whole (attention, recurrence, global pooling, a matrix over all positions lie above it).

    Raises UsageError for unknown layers.
    """
    graph = record(network, inputs)
    nodes = {name: graph.layer(name) for name in layers}
    program = canonical(graph, keep=nodes.values())
    axes = graph.output.tensor.dim() - 2
    samples = torch.arange(64)[:, None].expand(-1, max(axes, 0))
    found = windows(program, samples)
    cones: dict[str, Cone | None] = {}
    for name, node in nodes.items():
        here = found.get(node)
        if here is None:
            cones[name] = measured_field(network, inputs, name) if axes > 0 else None
            continue
        jump = tuple(float(step) for step in (here.starts[-1] - here.starts[0]) / (len(samples) - 1))
        cones[name] = Cone(here.widths, jump, tuple(int(start) for start in here.starts[0]))
    return cones


def measured_field(network: nn.Module, inputs: torch.Tensor, layer: str = "input") -> Cone | None:
    """The cone of a layer by the support of gradients: what changes an output, on noise around ``inputs``.

    Two neighbouring output positions in the middle are looked at, on three draws each. None where their
    support reaches an edge of the layer, or does not move with the position: then it cannot be told from
    seeing it whole.
    """
    generator = torch.Generator().manual_seed(0)
    first: list[torch.Tensor] = []
    last: list[torch.Tensor] = []
    for _ in range(3):
        noise = torch.randn(inputs.shape, generator=generator, dtype=torch.float64).to(inputs)
        graph = record(network, inputs + noise, live=True)
        node, output = graph.layer(layer), graph.output.tensor
        if node.tensor.dim() < 3 or node.tensor.dim() != output.dim():
            return None
        middle = [size // 2 for size in output.shape[2:]]
        bounds = [_support(output, node.tensor, [at + step for at in middle]) for step in (0, 1)]
        first.append(torch.stack([low for low, _ in bounds]))
        last.append(torch.stack([high for _, high in bounds]))
    low, high = torch.stack(first).amin(0), torch.stack(last).amax(0)
    size = low.new_tensor(node.tensor.shape[2:])
    if bool((low <= 0).any()) or bool((high >= size - 1).any()):
        return None
    jump = low[1] - low[0]
    if bool((jump <= 0).any()) or bool((high[1] - high[0] != jump).any()):
        return None
    origin = low[0] - jump * jump.new_tensor(middle)
    width = (high - low + 1).amax(0)
    return Cone(
        tuple(int(size) for size in width),
        tuple(float(step) for step in jump),
        tuple(int(start) for start in origin),
    )


def _support(
    output: torch.Tensor, values: torch.Tensor, position: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last position per axis of ``values`` ``(B, C, *S)`` that change the output at a position."""
    at = [min(step, size - 1) for step, size in zip(position, output.shape[2:], strict=True)]
    score = output[0].movedim(0, -1)[tuple(at)].sum()
    (gradient,) = torch.autograd.grad(score, values, retain_graph=True, allow_unused=True)
    nothing = torch.zeros(len(at), dtype=torch.long, device=values.device)
    if gradient is None:
        return nothing, nothing
    where = (gradient[0] != 0).any(0).nonzero()
    if not len(where):
        return nothing, nothing
    return where.amin(0), where.amax(0)
