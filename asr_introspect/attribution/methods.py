"""The methods by name, and those that are one walk, or an average of walks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from asr_introspect.attribution.cam import grad_cam, guided_grad_cam
from asr_introspect.attribution.composites import assign
from asr_introspect.attribution.occlusion import occlusion
from asr_introspect.attribution.question import Chunks, Question
from asr_introspect.attribution.relevance import Relevance, join
from asr_introspect.attribution.taylor import deep_taylor
from asr_introspect.errors import UsageError
from asr_introspect.random import torch_generator


def gradient(question: Question) -> Chunks:
    """Sensitivity: the derivative of the score."""
    session = question.session()
    yield from session.explain(session.sweep(), question.chunk)


def gradient_times_input(question: Question) -> Chunks:
    """The derivative times the value it is taken by."""
    session = question.session()
    for rows, found in session.explain(session.sweep(), question.chunk):
        yield (
            rows,
            {
                name: replace(
                    relevance,
                    windows=relevance.windows * session.cut(session.layers[name].tensor, name, rows),
                    method="gradient-x-input",
                )
                for name, relevance in found.items()
            },
        )


def guided_backprop(question: Question) -> Chunks:
    """Springenberg et al. 2015: through a non-linearity only where activation and signal are positive."""
    session = question.session()
    yield from session.explain(session.sweep(backward="guided-backprop"), question.chunk)


def deconvnet(question: Question) -> Chunks:
    """Zeiler & Fergus 2014: through a non-linearity only where the signal is positive; max-pool switches."""
    session = question.session()
    yield from session.explain(session.sweep(backward="deconvnet"), question.chunk)


def lrp(question: Question, bounds: Any = None) -> Chunks:
    """Layer-wise relevance propagation with the question's composite.

    ``bounds=(low, high)``: lowest and highest input for z^B, each ``(F,)``, a number, or like one input;
    ``details["outside bounds"]`` counts the item's values beyond them.
    """
    session = question.session()
    rules = assign(session.program, question.composite)
    boxes = box(question.inputs, bounds) if bounds is not None else None
    if boxes is None and any(rule.takes_bounds for rule in rules.values()):
        raise UsageError("the rule z^B needs the option bounds=(low, high)")
    outside = None if boxes is None else _outside(session.program.graph.input.tensor, boxes, question.lengths)
    for rows, found in session.explain(session.sweep(rules, bounds=boxes), question.chunk):
        if outside is None:
            yield rows, found
            continue
        details = {"outside bounds": outside[session.targets.items[rows]]}
        yield rows, {name: replace(relevance, details=details) for name, relevance in found.items()}


def _outside(
    inputs: torch.Tensor, boxes: tuple[torch.Tensor, torch.Tensor], lengths: torch.Tensor | None
) -> torch.Tensor:
    """How many values of each item lie outside the bounds, ``(B,)``; padding does not count."""
    beyond = (inputs < boxes[0]) | (inputs > boxes[1])
    if lengths is not None:
        inside = torch.arange(inputs.shape[-1], device=inputs.device) < lengths[:, None]
        beyond = beyond & inside.view(len(inputs), *(1,) * (inputs.dim() - 2), -1)
    return beyond.flatten(1).sum(1)


def box(inputs: torch.Tensor, bounds: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds shaped to multiply with the inputs. Raises UsageError where low exceeds high."""
    low, high = (torch.as_tensor(bound, dtype=inputs.dtype, device=inputs.device) for bound in bounds)
    if bool((low > high).any()):
        raise UsageError("bounds: the low bound exceeds the high one")

    def shaped(bound: torch.Tensor) -> torch.Tensor:
        return (
            bound.view(1, -1, *(1,) * (inputs.dim() - 2)) if bound.dim() == 1 and inputs.dim() > 2 else bound
        )

    return shaped(low), shaped(high)


def _all(question: Question, inputs: torch.Tensor, targets: Any) -> dict[str, Relevance]:
    """The gradients of all targets at other inputs."""
    session = question.session_on(inputs, targets)
    parts = [found for _, found in session.explain(session.sweep(), question.chunk)]
    return {name: join([part[name] for part in parts]) for name in parts[0]}


def integrated_gradients(question: Question, steps: int = 32, baseline: Any = 0.0) -> Chunks:
    """Sundararajan et al. 2017, midpoints: ``(x - x') mean_k df(x' + (k - 1/2) / m (x - x')) / dx``.

    ``details["completeness"]`` is ``f(x) - f(x')`` less the windows' sum, ``details["baseline"]`` is
    ``f(x')``.
    """
    question.only_input("integrated-gradients")
    if steps < 1:
        raise UsageError(f"steps must be at least 1, not {steps}")
    start = question.baseline(baseline)
    session = question.session()
    total: torch.Tensor | None = None
    for k in range(steps):
        point = start + (k + 0.5) / steps * (question.inputs - start)
        found = _all(question, point, session.targets)["input"]
        total = found.windows if total is None else total.add_(found.windows)
    assert total is not None
    everything = slice(0, len(session.targets))
    windows = total / steps * session.cut(question.inputs - start, "input", everything)
    at_start = question.session_on(start.contiguous(), session.targets).targets.scores
    missing = session.targets.scores - at_start - windows.flatten(1).sum(1)
    relevance = replace(
        found,
        scores=session.targets.scores,
        windows=windows,
        method="integrated-gradients",
        details={"completeness": missing, "baseline": at_start},
    )
    yield everything, {"input": relevance}


def smoothgrad(
    question: Question, samples: int = 25, noise: float = 0.15, squared: bool = False, seed: int = 0
) -> Chunks:
    """Smilkov et al. 2017: the mean gradient (or its square) under Gaussian noise on the input.

    ``noise`` is the deviation as a share of each item's range; past its length an item stays as it is.
    """
    if samples < 1 or noise < 0:
        raise UsageError("smoothgrad needs samples >= 1 and noise >= 0")
    session = question.session()
    inputs = question.inputs
    flat = inputs.flatten(1)
    deviation = (noise * (flat.amax(1) - flat.amin(1))).view(-1, *(1,) * (inputs.dim() - 1))
    if question.lengths is not None:
        inside = torch.arange(inputs.shape[-1], device=inputs.device) < question.lengths[:, None]
        deviation = deviation * inside.view(len(inputs), *(1,) * (inputs.dim() - 2), -1)
    totals: dict[str, torch.Tensor] = {}
    for k in range(samples):
        drawn = torch.randn(
            inputs.shape, generator=torch_generator(seed, "smoothgrad", k), dtype=torch.float64
        )
        found = _all(question, inputs + deviation * drawn.to(inputs), session.targets)
        for name, relevance in found.items():
            windows = relevance.windows.square() if squared else relevance.windows
            totals[name] = totals[name] + windows if name in totals else windows
    scores = session.targets.scores
    yield (
        slice(0, len(scores)),
        {
            name: replace(relevance, scores=scores, windows=totals[name] / samples, method="smoothgrad")
            for name, relevance in found.items()
        },
    )


METHODS: dict[str, tuple[Callable[..., Chunks], set[str]]] = {
    "lrp": (lrp, {"bounds"}),
    "gradient": (gradient, set()),
    "gradient-x-input": (gradient_times_input, set()),
    "integrated-gradients": (integrated_gradients, {"steps", "baseline"}),
    "smoothgrad": (smoothgrad, {"samples", "noise", "squared", "seed"}),
    "guided-backprop": (guided_backprop, set()),
    "deconvnet": (deconvnet, set()),
    "grad-cam": (grad_cam, {"layer", "upsample"}),
    "guided-grad-cam": (guided_grad_cam, {"layer"}),
    "occlusion": (occlusion, {"patch", "stride", "baseline"}),
    "deep-taylor": (deep_taylor, {"kind", "first", "bounds", "baseline", "iterations"}),
}
"""By name: the method and its options."""
