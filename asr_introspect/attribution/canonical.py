"""The canonical form: batch norm folded wherever that is exact, padding merged into convolutions.

Folding works on the recorded operations and makes new weights; the user's module is never touched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch

from asr_introspect.attribution.graph import Graph, Node
from asr_introspect.attribution.operations import (
    Affine,
    Convolution,
    Dense,
    Identity,
    Operation,
    Pad,
    TransposedConvolution,
    grouped,
)
from asr_introspect.attribution.reading import read


@dataclass(frozen=True)
class Program:
    """The operations between a graph's input and its output, in order, by the node they make."""

    graph: Graph
    operations: dict[Node, Operation]
    consumers: dict[Node, list[Operation]]

    def deviation(self) -> float:
        """Largest absolute difference between the linear layers' folded form and the recorded values."""
        worst = 0.0
        for node, operation in self.operations.items():
            if isinstance(operation, (Convolution, TransposedConvolution, Dense)):
                again = operation.forward(operation.source.tensor, operation.weight, operation.bias)
                worst = max(worst, float((again - node.tensor).abs().max()))
        return worst


def canonical(graph: Graph, keep: Collection[Node] = ()) -> Program:
    """The graph's operations in canonical form.

    Folded, each exact: zero padding into the convolution after it; batch norm (any per-channel affine map)
    into the linear layer before it, dropout between them ignored, or else into an unpadded linear layer after
    it. Batch norm before a *padded* convolution is not: the padding is not shifted. It stays an affine layer
    of its own. Nodes in ``keep`` stay visible: nothing is folded across them.
    """
    operations = _reachable(graph)
    kept = set(keep) | {graph.output}
    changed = True
    while changed:
        changed = any(_fold(operations, node, kept) for node in sorted(operations, key=lambda n: n.index))
    return Program(graph, operations, _consumers(operations))


def _reachable(graph: Graph) -> dict[Node, Operation]:
    """The operations that the output depends on, read from the recording, first to last."""
    found: dict[Node, Operation] = {}
    waiting = [graph.output]
    while waiting:
        node = waiting.pop()
        if node in found or node is graph.input:
            continue
        found[node] = read(node)
        waiting.extend(found[node].sources)
    return {node: found[node] for node in sorted(found, key=lambda node: node.index)}


def _consumers(operations: dict[Node, Operation]) -> dict[Node, list[Operation]]:
    consumers: dict[Node, list[Operation]] = {}
    for operation in operations.values():
        for source in operation.sources:
            consumers.setdefault(source, []).append(operation)
    return consumers


def _fold(operations: dict[Node, Operation], node: Node, kept: set[Node]) -> bool:
    """Folds the operation of ``node`` with that of its only source, if exact; says whether it did."""
    operation = operations.get(node)
    if operation is None or len(operation.sources) != 1:
        return False
    below = operations.get(operation.source)
    if below is None or below.node in kept or len(_consumers(operations)[below.node]) != 1:
        return False
    merged = _merged(operation, below)
    if merged is None:
        return False
    del operations[below.node]
    operations[node] = merged
    return True


def _merged(operation: Operation, below: Operation) -> Operation | None:
    match below, operation:
        case Pad(value=0.0), Convolution(pooling=False):
            pads = tuple((a + c, b + d) for (a, b), (c, d) in zip(below.pads, operation.pads, strict=True))
            return replace(operation, sources=below.sources, pads=pads)
        case ((Convolution(pooling=False) | TransposedConvolution() | Dense()), Affine()):
            return _folded_after(below, operation)
        case ((Convolution(pooling=False) | TransposedConvolution() | Dense()), Identity()):
            return replace(below, node=_named(operation.node, below.node))
        case Affine(), (Convolution(pooling=False) | Dense()):
            return _folded_before(operation, below)
        case _:
            return None


def _named(node: Node, like: Node) -> Node:
    """A folded layer is called after its linear part, so that rules find it."""
    node.module, node.module_type = like.module, like.module_type
    return node


def _per_channel(factor: torch.Tensor, channels: int, axes: int, last: bool) -> torch.Tensor | None:
    """A scale or shift as ``(C,)`` if it depends on the channel only."""
    if factor.numel() == 1:
        return factor.reshape(1).expand(channels)
    shape = (*(1,) * (axes - 1), channels) if last else (1, channels, *(1,) * (axes - 2))
    full = (1,) * (axes - factor.dim()) + tuple(factor.shape)
    return factor.reshape(channels) if full == shape else None


def _folded_after(below: Operation, affine: Affine) -> Operation | None:
    assert isinstance(below, (Convolution, TransposedConvolution, Dense))
    if affine.mask:
        return None
    channels = below.node.tensor.shape[-1 if isinstance(below, Dense) else 1]
    axes = below.node.tensor.dim()
    scale = _per_channel(affine.scale, channels, axes, isinstance(below, Dense))
    shift = _per_channel(affine.shift, channels, axes, isinstance(below, Dense))
    if scale is None or shift is None:
        return None
    weight = below.weight
    if isinstance(below, TransposedConvolution):  # (C, C' / groups, *K)
        split = grouped(weight, 0, below.groups)
        factors = scale.view(below.groups, 1, -1, *(1,) * (weight.dim() - 2))
        weight = (split * factors).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *(1,) * (weight.dim() - 1))
    bias = shift if below.bias is None else below.bias * scale + shift
    return replace(below, node=_named(affine.node, below.node), weight=weight, bias=bias)


def _folded_before(above: Operation, affine: Affine) -> Operation | None:
    assert isinstance(above, (Convolution, Dense))
    if affine.mask or (isinstance(above, Convolution) and any(map(any, above.pads))):
        return None
    tensor = affine.node.tensor
    channels = tensor.shape[-1 if isinstance(above, Dense) else 1]
    scale = _per_channel(affine.scale, channels, tensor.dim(), isinstance(above, Dense))
    shift = _per_channel(affine.shift, channels, tensor.dim(), isinstance(above, Dense))
    if scale is None or shift is None:
        return None
    groups = above.groups if isinstance(above, Convolution) else 1
    weight = grouped(above.weight, 0, groups)  # (groups, C' / groups, C / groups, *K)
    shape = (groups, 1, -1, *(1,) * (weight.dim() - 3))
    moved = (weight * shift.view(shape)).flatten(2).sum(-1).flatten()
    bias = moved if above.bias is None else above.bias + moved
    return replace(
        above, sources=affine.sources, weight=(weight * scale.view(shape)).flatten(0, 1), bias=bias
    )
