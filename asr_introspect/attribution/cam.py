"""Grad-CAM in one and two dimensions, at any layer, for every target (Selvaraju et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from asr_introspect.attribution.geometry import windows
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.operations import Widths
from asr_introspect.attribution.question import Chunks, Question
from asr_introspect.attribution.relevance import Relevance
from asr_introspect.attribution.session import Session
from asr_introspect.errors import UsageError


def grad_cam(question: Question, layer: str | None = None, upsample: bool = False) -> Chunks:
    """``ReLU(sum_k alpha_k A^k)``; ``alpha_k``: mean gradient over the cone's positions in the sentence.

    Windows ``(N, *W)`` in the layer's own positions; with ``upsample`` in those of the input, linearly
    between the centres of the positions' receptive fields. ``layer``: by default the last module whose
    output a target sees at more than one position (choice).
    """
    for session, name, rows, cam in _maps(question, layer):
        if upsample:
            yield rows, {"input": _upsampled(session, name, rows, cam)}
        else:
            yield rows, {name: cam}


def guided_grad_cam(question: Question, layer: str | None = None) -> Chunks:
    """Guided backprop times the upsampled Grad-CAM, ``(N, C, *W)``."""
    question.only_input("guided-grad-cam")
    guided = question.session()
    sweep = guided.sweep(backward="guided-backprop")
    for session, name, rows, cam in _maps(question, layer):
        some = replace(guided, targets=guided.targets.part(rows))
        ((_, found),) = some.explain(sweep, len(cam))
        over = _upsampled(session, name, rows, cam).windows
        windows = found["input"].windows * over[:, None]
        yield rows, {"input": replace(found["input"], windows=windows, method="guided-grad-cam")}


def _maps(question: Question, layer: str | None) -> Iterator[tuple[Session, str, slice, Relevance]]:
    if question.at is not None and layer is not None:
        raise UsageError("grad-cam: give the layer once, as at=[...] or as layer=...")
    if question.at is not None and len(question.at) != 1:
        raise UsageError("grad-cam explains one layer at a time")
    named = layer or (question.at[0] if question.at else None)
    session = replace(question, at=[named] if named else None).session()
    if named is None:
        named, node = _default_layer(session)
        session = replace(session, layers={named: node})
    node = session.layers[named]
    if node.tensor.dim() < 3:
        raise UsageError(f"grad-cam needs a layer with positions; {named!r} has {tuple(node.tensor.shape)}")
    sweep = session.sweep()
    for rows, found in session.explain(sweep, question.chunk):
        relevance = found[named]
        gradients = relevance.windows
        positions = tuple(range(2, gradients.dim()))
        valid = session.valid.get(node, torch.ones_like(node.tensor[:, :1]))
        inside = session.cut(valid, named, rows)
        count = inside.flatten(1).sum(1).clamp_min(1)
        alpha = gradients.sum(positions) / count[:, None]
        activations = session.cut(node.tensor, named, rows)
        cam = torch.einsum("nc,nc...->n...", alpha, activations).clamp_min(0)
        shape = tuple(node.tensor.shape[2:])
        yield (
            session,
            named,
            rows,
            replace(relevance, windows=cam, shape=shape, method="grad-cam"),
        )


def _default_layer(session: Session) -> tuple[str, Node]:
    """The last module's output that a target sees at more than one position."""
    found: list[tuple[int, int, str, Node]] = []
    for name, calls in session.program.graph.modules.items():
        node = calls[0]
        if not name or len(calls) > 1 or node not in session.program.operations or node.tensor.dim() < 3:
            continue
        cone = session.cones.get(node)
        seen = node.tensor.shape[2:] if cone is None else cone.widths
        if node in session.cones and math.prod(seen) > 1:
            found.append((node.index, -len(name), name, node))
    if not found:
        raise UsageError("grad-cam: no layer is seen at more than one position; name one")
    _, _, name, node = max(found)
    return name, node


def _upsampled(session: Session, name: str, rows: slice, cam: Relevance) -> Relevance:
    """The map at the input's positions: linear between the centres of the layer's receptive fields."""
    node, top = session.layers[name], session.program.graph.input
    centres, spacing = _centres(session, node)
    starts = cam.starts[:, None] if cam.starts.dim() == 1 else cam.starts
    here = session.cones.get(top)
    shape: Widths = tuple(top.tensor.shape[2:])
    count = len(cam.windows)
    if here is None:
        first, widths = torch.zeros(count, len(shape), dtype=torch.long, device=starts.device), shape
    else:
        first, widths = here.starts[rows], here.widths
    values = cam.windows
    for axis, width in enumerate(widths):
        frames = torch.arange(width, device=starts.device) + first[:, axis, None]
        at = (frames - centres[axis]) / spacing[axis] - starts[:, axis, None]
        values = _interpolated(values, at.to(values.dtype), axis)
    inside = torch.ones(count, 1, *shape, dtype=values.dtype, device=values.device)
    if here is not None:
        from asr_introspect.attribution.windows import reframe

        values = values * reframe(inside, torch.zeros_like(first), first, widths)[:, 0]
    flat = first[:, 0] if first.shape[1] == 1 else first
    return replace(cam, windows=values, starts=flat, shape=shape, layer="input")


def _interpolated(values: torch.Tensor, at: torch.Tensor, axis: int) -> torch.Tensor:
    """Values ``(N, *W)`` at fractional positions ``(N, W')`` of one axis, constant past the ends."""
    size = values.shape[1 + axis]
    at = at.clamp(0, size - 1)
    low = at.floor().long().clamp(0, max(size - 2, 0))
    high = (low + 1).clamp_max(size - 1)
    share = at - low
    shape = [len(values)] + [1] * (values.dim() - 1)
    shape[1 + axis] = at.shape[1]
    target = list(values.shape)
    target[1 + axis] = at.shape[1]

    def read(index: torch.Tensor) -> torch.Tensor:
        return values.gather(1 + axis, index.view(shape).expand(target))

    return read(low) * (1 - share.view(shape)) + read(high) * share.view(shape)


def _centres(session: Session, node: Node) -> tuple[list[float], list[float]]:
    """Per axis: the input position at the centre of what layer position 0 sees, and the step to the next."""
    program = replace(session.program, graph=replace(session.program.graph, output=node))
    axes = node.tensor.dim() - 2
    samples = torch.arange(9, device=node.tensor.device)[:, None].expand(-1, axes)
    top = session.program.graph.input
    seen = windows(program, samples).get(top)
    if seen is None:
        raise UsageError("grad-cam cannot be upsampled: the layer sees the whole input at every position")
    jump = (seen.starts[-1] - seen.starts[0]) / 8
    centres = [
        float(start) + (width - 1) / 2 for start, width in zip(seen.starts[0], seen.widths, strict=True)
    ]
    return centres, [float(step) for step in jump]
