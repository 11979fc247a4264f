"""Steps that have no cone, walked on whole maps by torch's own derivative of that one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.operations import Mixing
from asr_introspect.attribution.relevance import Entry
from asr_introspect.attribution.rules import stabilised_inverse
from asr_introspect.attribution.windows import Signal
from asr_introspect.errors import UsageError

if TYPE_CHECKING:
    from asr_introspect.attribution.sweep import Sweep
    from asr_introspect.attribution.targets import Targets


def mixing(
    sweep: Sweep, operation: Mixing, signal: Signal, items: torch.Tensor, entries: list[Entry]
) -> list[tuple[Node, Signal]]:
    """Walks a call that mixes positions, e.g. a mean, a softmax, a product of two activations.

    Gradient family: its derivative. LRP by kind: *linear* and *product* (each factor half): ``x * dz/dx``
    shares of z (norm; uniform rule of Achtibat et al. 2024); *selection*: winner takes all; *softmax*: ``x (R
    - s sum R)`` (the same paper); *layer-norm*: linear with its deviation held fixed (Ali et al. 2022).
    """
    signal = sweep.as_whole(signal, operation.node, items)
    if sweep.rules is None:
        backs = _derivative(operation, signal.values, items)
        return [(source, Signal(back, None)) for source, back in zip(operation.sources, backs, strict=True)]
    out = signal.total
    assert out is not None
    z = operation.node.tensor
    epsilon = sweep.rules[operation.node].parts[0].epsilon
    match operation.kind:
        case "selection":
            shares = _derivative(operation, signal.values, items)
        case "softmax":
            shares = [_softmax(operation, signal.values, items)]
        case "layer-norm":
            shares = [_layer_norm(operation, signal.values * stabilised_inverse(z, epsilon)[items], items)]
        case _:
            divided = signal.values * stabilised_inverse(z, epsilon)[items]
            halves = 0.5 if operation.kind == "product" else 1.0
            backs = _derivative(operation, divided, items)
            shares = [
                halves * source.tensor[items] * back
                for source, back in zip(operation.sources, backs, strict=True)
            ]
    walked = [
        (source, Signal(share, None, total=share.flatten(1).sum(1)))
        for source, share in zip(operation.sources, shares, strict=True)
    ]
    incoming = torch.stack([below.total for _, below in walked if below.total is not None]).sum(0)
    rule = sweep.rules[operation.node].name
    entries.append(Entry(operation.layer, rule, out, incoming, torch.zeros_like(out), out - incoming))
    return walked


def gradients_by_autograd(
    outputs: torch.Tensor, nodes: dict[str, Node], targets: Targets
) -> dict[str, torch.Tensor]:
    """Derivatives ``(N, *layer shape of one item)`` of the targets by layer; outputs ``(B, V, *U)`` are live.

    Raises UsageError for a layer whose batch axis is not the first.
    """
    logits = outputs.movedim(1, -1)[(targets.items, *targets.positions.unbind(1))]
    scores = (targets.coefficients * logits).sum(1)
    tensors = [node.tensor for node in nodes.values()]
    for name, tensor in zip(nodes, tensors, strict=True):
        if tensor.shape[0] != len(outputs):
            raise UsageError(f"layer {name!r} does not have the batch axis first: {tuple(tensor.shape)}")
    found = {
        name: torch.zeros_like(tensor[:1]).expand(len(targets), *tensor.shape[1:]).contiguous()
        for name, tensor in zip(nodes, tensors, strict=True)
    }
    for row, item in enumerate(targets.items.tolist()):
        gradients = torch.autograd.grad(scores[row], tensors, retain_graph=True, allow_unused=True)
        for values, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                values[row] = gradient[item]
    return {name: values.detach() for name, values in found.items()}


def _derivative(operation: Mixing, values: torch.Tensor, items: torch.Tensor) -> list[torch.Tensor]:
    """``(N, ...)`` times the transposed Jacobian of the call, per source ``(N, *source shape of one item)``.

    The call may mix the items of a batch in its arguments (shapes, masks), so it is run on the whole batch,
    once.
    """
    with torch.enable_grad():
        inputs = [source.tensor.detach().requires_grad_() for source in operation.sources]
        outputs = operation.function(*inputs)
        collected = [values.new_zeros(len(values), *source.tensor.shape[1:]) for source in operation.sources]
        for item in torch.unique(items).tolist():
            rows = (items == item).nonzero()[:, 0]
            for start in range(0, len(rows), 64):
                some = rows[start : start + 64]
                cotangents = outputs.new_zeros(len(some), *outputs.shape)
                cotangents[:, item] = values[some]
                found = torch.autograd.grad(
                    outputs, inputs, cotangents, retain_graph=True, is_grads_batched=True, allow_unused=True
                )
                for into, gradient in zip(collected, found, strict=True):
                    if gradient is not None:
                        into[some] = gradient[:, item]
    return collected


def _softmax(operation: Mixing, relevance: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    axis = operation.node.kwargs.get("dim", operation.node.args[1] if len(operation.node.args) > 1 else -1)
    axis = axis % operation.node.tensor.dim()
    weights = operation.node.tensor[items]
    inputs = operation.source.tensor[items]
    inputs = torch.where(torch.isfinite(inputs), inputs, 0.0)
    return inputs * (relevance - weights * relevance.sum(axis, keepdim=True))


def _layer_norm(operation: Mixing, divided: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """``x`` times the transposed map ``g (x - mean) / deviation`` with the deviation held fixed."""
    node = operation.node
    given = (
        dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), node.args, strict=False))
        | node.kwargs
    )
    axes = tuple(range(-len(given["normalized_shape"]), 0))
    inputs = operation.source.tensor
    inverse = torch.rsqrt(inputs.var(axes, correction=0, keepdim=True) + given.get("eps", 1e-5))[items]
    weight = given.get("weight")
    if weight is not None:
        divided = divided * (weight.value if isinstance(weight, Node) else weight)
    scaled = divided * inverse
    return inputs[items] * (scaled - scaled.mean(axes, keepdim=True))
