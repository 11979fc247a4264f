"""The public face of the engine: :func:`attribute` and its chunked form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from asr_introspect.attribution.composites import Mapped
from asr_introspect.attribution.graph import takes_lengths
from asr_introspect.attribution.methods import METHODS
from asr_introspect.attribution.question import Question
from asr_introspect.attribution.relevance import Relevance, join
from asr_introspect.attribution.rules import Rule
from asr_introspect.errors import UsageError, unknown_name

Reduce = Callable[[torch.Tensor], torch.Tensor]


def attribute(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    method: str = "lrp",
    composite: str | Mapped | Rule = "epsilon",
    lengths: torch.Tensor | None = None,
    at: Sequence[str] | None = None,
    against: str | int | None = None,
    *,
    output_axis: int = 1,
    chunk: int | str = "auto",
    reduce: Reduce | None = None,
    **options: Any,
) -> Any:
    """The relevance of every target, all of them from one backward walk through their cones.

    See :func:`attribute_chunks` for the arguments. Returns a :class:`Relevance`, or with ``at`` a dictionary
    of them by layer name. ``reduce`` is applied to the windows ``(n, C, *W)`` of each chunk before they are
    kept, so that a pass over a corpus holds only what it needs. All layers' mean absolute gradients, for
    instance, are::

        layers = ["input", *(f"layer{i}" for i in range(1, 12))]
        found = attribute(network, batch, targets, method="gradient", against="mean", lengths=lengths,
                          at=layers, reduce=lambda windows: windows.abs().mean(1))
        found["layer9"].windows   # (N, P_9)
        found["layer9"].starts    # (N,) first position of each window in layer 9's own positions
    """
    parts: dict[str, list[Relevance]] = {}
    order: list[torch.Tensor] = []
    for rows, found in attribute_chunks(
        network,
        inputs,
        targets,
        method,
        composite,
        lengths,
        at,
        against,
        output_axis=output_axis,
        chunk=chunk,
        **options,
    ):
        order.append(rows)
        for name, relevance in found.items():
            kept = relevance if reduce is None else replace(relevance, windows=reduce(relevance.windows))
            parts.setdefault(name, []).append(kept)
    joined = {name: join(pieces) for name, pieces in parts.items()}
    rows = torch.cat(order)
    if bool((rows[1:] < rows[:-1]).any()):
        joined = {name: relevance.take(rows.argsort()) for name, relevance in joined.items()}
    if at is not None:
        return joined
    (only,) = joined.values()
    return only


def attribute_chunks(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    method: str = "lrp",
    composite: str | Mapped | Rule = "epsilon",
    lengths: torch.Tensor | None = None,
    at: Sequence[str] | None = None,
    against: str | int | None = None,
    *,
    output_axis: int = 1,
    chunk: int | str = "auto",
    **options: Any,
) -> Iterator[tuple[torch.Tensor, dict[str, Relevance]]]:
    """Like :func:`attribute`, but yields chunk by chunk ``(rows, {layer: Relevance})``.

    Parameters
    ----------
    network
        Any module in evaluation mode. It is not changed, and no hook is left behind.
    inputs
        ``(B, F, T)`` speech, ``(B, C, H, W)`` images, ``(B, 1, N)`` waveforms, ``(B, N)`` vectors; float32,
        float64, bfloat16.
    targets
        Integers ``(N, 3)``: item, output step, class; ``(N, 2)``: item, class; ``(N, 4)``: item, y, x, class.
    method
        ``lrp``, ``gradient``, ``gradient-x-input``, ``integrated-gradients``, ``smoothgrad``,
        ``guided-backprop``, ``deconvnet``, ``grad-cam``, ``guided-grad-cam``, ``occlusion``, ``deep-taylor``.
    composite
        For LRP: a name of ``composites.COMPOSITES``, a rule for every linear layer, or a mapping of layers or
        layer types to rules or their names.
    lengths
        ``(B,)`` valid frames; what lies beyond counts as outside. A network with an argument ``lengths`` gets
        it and masks; any other is run on each item alone, cut to its length.
    at
        Layers by module name (``"input"`` for the input).
    against
        Contrast: None, ``"mean"`` of the other classes, ``"runner-up"``, or a class index.
    output_axis
        Axis of the classes in the network's output: 1, or the last.
    chunk
        Targets walked at once; ``"auto"`` keeps within ``session.MEMORY``.
    options
        Of the method; see ``methods``.

    Yields
    ------
    ``rows``: indices into ``targets`` ``(n,)``; and by layer the :class:`Relevance` of those targets.

    Raises
    ------
    UsageError
        For unknown names, wrong shapes, targets out of range, options a method does not have, and layers that
        LRP has no rule for (naming them).
    IntrospectError
        Where values are not finite, or the network hides its computation from torch's function protocol.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    function, allowed = METHODS[method]
    for name in options:
        if name not in allowed:
            raise unknown_name(f"option of {method}", name, sorted(allowed) or ["(none)"])
    if lengths is not None:
        lengths = torch.as_tensor(lengths, device=inputs.device)
        if lengths.shape != inputs.shape[:1]:
            raise UsageError(f"lengths must be ({len(inputs)},), not {tuple(lengths.shape)}")
        if bool((lengths < 0).any()) or bool((lengths > inputs.shape[-1]).any()):
            raise UsageError(f"lengths must lie between 0 and {inputs.shape[-1]}")
    targets = torch.as_tensor(targets, device=inputs.device)
    if targets.dim() != 2 or targets.is_floating_point():
        raise UsageError("targets must be integers (N, 3): item, output step, class; or (N, 2): item, class")
    question = Question(network, inputs, targets, composite, lengths, at, against, output_axis, chunk)
    if not len(targets):
        session = question.session()
        yield targets[:, 0], {name: session.blank(name, slice(0, 0)) for name in session.layers}
        return
    for rows, alone in _groups(question):
        for part, found in function(alone, **options):
            yield rows[part], found


def _groups(question: Question) -> Iterator[tuple[torch.Tensor, Question]]:
    """The question itself; if the network cannot mask by ``lengths``, one per item, cut to its length."""
    targets = question.targets
    everything = torch.arange(len(targets), device=targets.device)
    if question.lengths is None or takes_lengths(question.network):
        yield everything, question
        return
    items = targets[:, 0]
    if bool((items < 0).any()) or bool((items >= len(question.inputs)).any()):
        raise UsageError(f"a target's item is not below {len(question.inputs)}")
    for item in torch.unique(items).tolist():
        rows = everything[items == item]
        length = int(question.lengths[item])
        alone = question.inputs[item : item + 1, ..., :length]
        inner = targets[rows].clone()
        inner[:, 0] = 0
        yield rows, replace(question, inputs=alone, targets=inner, lengths=None)
