"""What is explained: output positions, classes, contrasts, and the signal that a walk starts with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from asr_introspect.attribution.canonical import Program
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.linear import piece
from asr_introspect.attribution.operations import (
    Affine,
    Convolution,
    Dense,
    Identity,
    Operation,
    Reordering,
    grouped,
)
from asr_introspect.attribution.relevance import Entry
from asr_introspect.attribution.rules import Part, Rule, stabilised_inverse
from asr_introspect.attribution.sweep import Sweep
from asr_introspect.attribution.windows import Signal, cut
from asr_introspect.errors import UsageError


@dataclass(frozen=True)
class Targets:
    """N explained outputs: items ``(N,)``, positions ``(N, axes)``, class weights ``(N, V)``, values."""

    items: torch.Tensor
    positions: torch.Tensor
    coefficients: torch.Tensor
    scores: torch.Tensor
    contrasted: bool

    def part(self, rows: slice) -> Targets:
        return Targets(
            self.items[rows],
            self.positions[rows],
            self.coefficients[rows],
            self.scores[rows],
            self.contrasted,
        )

    def __len__(self) -> int:
        return len(self.items)


def check(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Targets as int64 ``(N, 2 + axes)`` for outputs ``(B, V, *U)``. Raises UsageError for wrong ones."""
    targets = torch.as_tensor(targets, device=outputs.device)
    columns = outputs.dim()
    if targets.dim() != 2 or targets.shape[1] != columns or targets.is_floating_point():
        kind = (
            "item, class"
            if columns == 2
            else "item, output step, class"
            if columns == 3
            else "item, y, x, class"
        )
        raise UsageError(f"targets must be integers (N, {columns}): {kind}; got {tuple(targets.shape)}")
    targets = targets.long()
    limits = (outputs.shape[0], *outputs.shape[2:], outputs.shape[1])
    names = ("item", *("output step", "output column")[: columns - 2], "class")
    for column, (limit, name) in enumerate(zip(limits, names, strict=True)):
        wrong = (targets[:, column] < 0) | (targets[:, column] >= limit)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise UsageError(f"target {row}: {name} {int(targets[row, column])} is not below {limit}")
    return targets


def resolve(targets: torch.Tensor, outputs: torch.Tensor, against: str | int | None) -> Targets:
    """Checked targets with their contrast: ``outputs`` ``(B, V, *U)``.

    ``against``: None (the output itself), "mean" (of the other classes), "runner-up" (the highest other class
    at that position), or a class index. Raises UsageError for anything else and for targets out of range.
    """
    targets = check(targets, outputs)
    items, positions, classes = targets[:, 0], targets[:, 1:-1], targets[:, -1]
    logits = outputs.movedim(1, -1)[(items, *positions.unbind(1))]
    count = logits.shape[1]
    own = torch.nn.functional.one_hot(classes, count).to(logits.dtype)
    if against is None:
        coefficients = own
    elif against == "mean":
        if count < 2:
            raise UsageError("a contrast needs at least two classes")
        coefficients = own - (1 - own) / (count - 1)
    elif against == "runner-up":
        if count < 2:
            raise UsageError("a contrast needs at least two classes")
        others = logits.masked_fill(own.bool(), float("-inf")).argmax(1)
        coefficients = own - torch.nn.functional.one_hot(others, count).to(logits.dtype)
    elif isinstance(against, int) and not isinstance(against, bool):
        if not 0 <= against < count:
            raise UsageError(f"against: class {against} is not below {count}")
        coefficients = own - torch.nn.functional.one_hot(torch.full_like(classes, against), count).to(
            logits.dtype
        )
    else:
        raise UsageError(f"against must be None, 'mean', 'runner-up' or a class index, not {against!r}")
    scores = (coefficients * logits).sum(1)
    return Targets(items, positions, coefficients, scores, against is not None)


def output_signal(node: Node, targets: Targets, axis: int, values: torch.Tensor) -> Signal:
    """Class values ``(N, V)`` placed at each target's position of the network's output."""
    shape = node.tensor.shape[1:]
    if axis == 1 and len(shape) > 1:
        ones = (1,) * targets.positions.shape[1]
        return Signal(values.reshape(*values.shape, *ones), targets.positions)
    whole = values.new_zeros(len(values), *shape)
    if len(shape) == 1:
        return Signal(values, None)
    rows = torch.arange(len(values), device=values.device)
    whole[(rows, *targets.positions.unbind(1))] = values
    return Signal(whole, None)


def top_layer(program: Program) -> tuple[Operation | None, list[Operation]]:
    """The linear layer that makes the output through masks and reorderings only, and those; else None."""
    node = program.graph.output
    above: list[Operation] = []
    while node in program.operations:
        operation = program.operations[node]
        match operation:
            case Convolution(pooling=False, divisor=None) | Dense():
                return operation, above
            case Identity() | Reordering():
                above.append(operation)
            case Affine(mask=True):
                above.append(operation)
            case _:
                return None, above
        node = operation.source
    return None, above


def neuron_start(sweep: Sweep, targets: Targets, axis: int) -> tuple[Node, Signal, Entry]:
    """The first step of LRP: the explained combination of outputs as *one* neuron of the last linear layer.

    Its weights are ``v^T W``, its bias ``v^T b``, its value the score; the layer's rule acts on it
    (``methods.md``, trap 3). Returns the node below with its signal, and the ledger's first entry.

    Raises UsageError for a contrast where the output is not made by a linear layer.
    """
    operation, above = top_layer(sweep.program)
    assert sweep.rules is not None
    if operation is None:
        if targets.contrasted:
            raise UsageError(
                "a contrast with LRP needs a linear last layer; explain the output before "
                f"{sweep.program.graph.output.name} or use against=None"
            )
        output = sweep.program.graph.output
        signal = output_signal(output, targets, axis, targets.coefficients * targets.scores[:, None])
        none = torch.zeros_like(targets.scores)
        entry = Entry("output", "start", targets.scores, targets.scores, none, none)
        return output, Signal(signal.values, signal.starts, total=targets.scores), entry
    channels, row = _elements(sweep.program.graph.output, operation.node, above, targets, axis)
    rule = sweep.rules[operation.node]
    if isinstance(operation, Dense):
        return _dense_start(sweep, operation, rule, targets, channels, row)
    assert isinstance(operation, Convolution)
    return _convolution_start(sweep, operation, rule, targets, channels, row)


def _elements(
    output: Node, node: Node, above: list[Operation], targets: Targets, axis: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Channel weights ``(N, C')`` of each target in the last layer's output, and its flat position."""
    shape = output.tensor.shape[1:]
    sizes = shape[1:] if axis == 1 else shape[:-1]
    flat = torch.zeros_like(targets.items)
    for position, size in zip(targets.positions.unbind(1), sizes, strict=True):
        flat = flat * size + position
    classes = torch.arange(targets.coefficients.shape[1], device=flat.device)
    count = math.prod(sizes)
    elements = classes * count + flat[:, None] if axis == 1 else flat[:, None] * len(classes) + classes
    for operation in above:
        if isinstance(operation, Reordering):
            elements = operation.index[elements]
    below = node.tensor.shape[1:]
    if isinstance(node.function, type(None)):
        raise AssertionError(node)
    last = len(below) == 1 or node.name == "linear" or node.name == "matmul"
    total = below[-1] if last else below[0]
    per = math.prod(below) // total
    channel, row = (elements % total, elements // total) if last else (elements // per, elements % per)
    if bool((row != row[:, :1]).any()):
        raise UsageError("the classes of one target are not outputs of one position of the last linear layer")
    weights = targets.coefficients.new_zeros(len(targets), total)
    return weights.scatter_add_(1, channel, targets.coefficients), row[:, 0]


def _shares(
    sweep: Sweep,
    operation: Convolution | Dense,
    rule: Rule,
    targets: Targets,
    channels: torch.Tensor,
    weight: torch.Tensor,
    pieces: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, Entry]:
    """Relevance of one neuron per target: ``weight`` and every piece of the input are ``(N, ...)`` alike."""
    bias = targets.scores.new_zeros(len(targets)) if operation.bias is None else channels @ operation.bias
    scores = targets.scores
    relevance = torch.zeros_like(weight)
    kept_by_bias, handed = torch.zeros_like(scores), torch.zeros_like(scores)
    for part in rule.parts:
        contributions = torch.stack([pieces[kind] * made(weight) for kind, made in part.products]).sum(0)
        part_bias = part.bias(bias)
        z = contributions.flatten(1).sum(1) + part_bias
        inverse = part.coefficient * stabilised_inverse(
            z, _neuron_stabiliser(sweep, operation, part, targets, channels)
        )
        if part.where != "all":
            inverse = inverse * (scores > 0 if part.where == "positive" else scores < 0)
        share = scores * inverse
        relevance += contributions * share.view(-1, *(1,) * (contributions.dim() - 1))
        kept_by_bias += part_bias * share
        handed += (z - part_bias) * share
    entry = Entry(operation.layer, rule.name, scores, handed, kept_by_bias, scores - handed - kept_by_bias)
    return relevance, entry


def _neuron_stabiliser(
    sweep: Sweep, operation: Convolution | Dense, part: Part, targets: Targets, channels: torch.Tensor
) -> torch.Tensor:
    """Absolute, or relative to the rms of this neuron over the sentence's valid positions, ``(N,)``."""
    if not part.relative:
        return torch.full_like(targets.scores, part.epsilon)
    z = operation.node.tensor
    if isinstance(operation, Dense):
        values = torch.einsum("nc,n...c->n...", channels, z[targets.items]).reshape(len(targets), -1)
        return part.epsilon * values.square().mean(1).sqrt()
    values = torch.einsum("nc,nc...->n...", channels, z[targets.items]).reshape(len(targets), -1)
    weights = torch.ones_like(values)
    if operation.node in sweep.valid:
        weights = (
            sweep.valid[operation.node].to(z.dtype)[targets.items].expand(-1, 1, *z.shape[2:]).flatten(1)
        )
    return part.epsilon * ((values.square() * weights).sum(1) / weights.sum(1).clamp_min(1)).sqrt()


def _pieces(
    sweep: Sweep, operation: Convolution | Dense, rule: Rule, take: object
) -> dict[str, torch.Tensor]:
    assert callable(take)
    source = operation.source
    names = {kind for part in rule.parts for kind, _ in part.products}
    inputs = take(source.tensor)
    pieces = {"input": inputs, "positive": inputs.clamp_min(0), "negative": inputs.clamp_max(0)}
    for name in names & {"ones", "low", "high"}:
        key = piece(sweep, operation, name)
        assert key is not None
        pieces[name] = take(sweep.maps.get(key))
    return pieces


def _dense_start(
    sweep: Sweep, operation: Dense, rule: Rule, targets: Targets, channels: torch.Tensor, row: torch.Tensor
) -> tuple[Node, Signal, Entry]:
    weight = channels @ operation.weight

    def take(maps: torch.Tensor) -> torch.Tensor:
        return maps.reshape(len(maps), -1, maps.shape[-1])[targets.items, row]

    relevance, entry = _shares(
        sweep, operation, rule, targets, channels, weight, _pieces(sweep, operation, rule, take)
    )
    shape = operation.source.tensor.shape[1:]
    whole = relevance.new_zeros(len(targets), math.prod(shape[:-1]), shape[-1])
    whole[torch.arange(len(targets), device=row.device), row] = relevance
    return operation.source, Signal(whole.reshape(-1, *shape), None, total=entry.incoming), entry


def _convolution_start(
    sweep: Sweep,
    operation: Convolution,
    rule: Rule,
    targets: Targets,
    channels: torch.Tensor,
    row: torch.Tensor,
) -> tuple[Node, Signal, Entry]:
    weight = grouped(operation.weight, 0, operation.groups)
    by_group = grouped(channels, 1, operation.groups)
    merged = torch.einsum("ngo,goc...->ngc...", by_group, weight).flatten(1, 2)
    shape = operation.node.tensor.shape[2:]
    columns = []
    for size in reversed(shape):
        columns.append(row % size)
        row = row // size
    starts, widths = operation.window(torch.stack(columns[::-1], 1), (1,) * len(shape))
    taps = tuple(slice(None, None, step) for step in operation.dilation)

    def take(maps: torch.Tensor) -> torch.Tensor:
        pads = [width for width in reversed(widths) for _ in range(2)]
        padded = torch.nn.functional.pad(maps, pads)
        return cut(padded, targets.items, starts, widths, widths)[(slice(None), slice(None), *taps)]

    relevance, entry = _shares(
        sweep, operation, rule, targets, channels, merged, _pieces(sweep, operation, rule, take)
    )
    spread = relevance.new_zeros(*relevance.shape[:2], *widths)
    spread[(slice(None), slice(None), *taps)] = relevance
    return operation.source, Signal(spread, starts, total=entry.incoming), entry
