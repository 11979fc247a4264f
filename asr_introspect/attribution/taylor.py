"""Deep Taylor decomposition, of the whole function and layer by layer (Montavon et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from asr_introspect.attribution import rules
from asr_introspect.attribution.canonical import Program
from asr_introspect.attribution.composites import is_linear, places
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.operations import Elementwise, Mixing
from asr_introspect.attribution.question import Chunks, Question, scores
from asr_introspect.attribution.rules import Part, Rule
from asr_introspect.attribution.targets import Targets
from asr_introspect.errors import UsageError

Z_PLUS_ROOT = Rule("deep Taylor z+", (Part((("positive", rules.POSITIVE), ("negative", rules.NEGATIVE))),))
"""The root on the segment to ``x_i 1[x_i w_ij < 0]``: like z+, without a bias in the denominator."""


def deep_taylor(
    question: Question,
    kind: str = "layerwise",
    first: str = "w^2",
    bounds: Any = None,
    baseline: Any = 0.0,
    iterations: int = 40,
) -> Chunks:
    """Deep Taylor decomposition.

    ``kind="layerwise"``: one root per neuron: ``first`` (``w^2``, the nearest root; ``z^B``, a corner of the
    box ``bounds``; ``z+``) at the layer that reads the input, z+ above. Needs ReLU;
    ``details["positive biases"]`` is the share of biases above zero, for which the theory does not hold.

    ``kind="function"``: first-order Taylor of the score at a root found by bisection between the input and
    ``baseline``. ``details``: ``root`` (1 where one was found), ``value`` f(x0), ``remainder``
    ``f(x) - f(x0) - sum R``; where there is no root the relevance is zero. One forward pass per target
    and iteration.
    """
    if kind == "layerwise":
        yield from _layerwise(question, first, bounds)
    elif kind == "function":
        question.only_input("deep-taylor of the whole function")
        yield from _whole_function(question, baseline, iterations)
    else:
        raise UsageError(f"deep-taylor: kind must be 'layerwise' or 'function', not {kind!r}")


def _layerwise(question: Question, first: str, bounds: Any) -> Chunks:
    from asr_introspect.attribution.methods import box

    choices = {"w^2": rules.W_SQUARE, "z^B": rules.Z_BOX, "z+": Z_PLUS_ROOT}
    if first not in choices:
        raise UsageError(f"deep-taylor: first must be one of {', '.join(choices)}, not {first!r}")
    if choices[first].takes_bounds and bounds is None:
        raise UsageError("the rule z^B needs the option bounds=(low, high)")
    session = question.session()
    assigned, positive = _roots(session.program, choices[first])
    boxes = None if bounds is None else box(question.inputs, bounds)
    for rows, found in session.explain(session.sweep(assigned, bounds=boxes), question.chunk):
        share = question.inputs.new_full((rows.stop - rows.start,), positive)
        details = {"positive biases": share}
        yield (
            rows,
            {name: replace(each, method="deep-taylor", details=details) for name, each in found.items()},
        )


def _roots(program: Program, first: Rule) -> tuple[dict[Node, Rule], float]:
    """The rule of every layer, and the share of biases that are positive."""
    for operation in program.operations.values():
        if isinstance(operation, Elementwise) and operation.node.name != "relu":
            raise UsageError(f"deep Taylor needs ReLU; {operation.layer} is {operation.node.name}")
        if isinstance(operation, Mixing) and operation.kind not in {"linear", "selection"}:
            raise UsageError(f"deep Taylor has no rule for {operation.node.name!r} in {operation.layer}")
    where = places(program)
    reads_input = {node for node, place in where.items() if place == 2}
    if not reads_input and where:
        reads_input = {min(where, key=lambda node: node.index)}
    assigned: dict[Node, Rule] = {}
    positive = total = 0
    for node, operation in program.operations.items():
        if is_linear(operation):
            assigned[node] = first if node in reads_input else Z_PLUS_ROOT
            bias = getattr(operation, "bias", None)
            if bias is not None:
                positive, total = positive + int((bias > 0).sum()), total + bias.numel()
        else:
            assigned[node] = rules.NORM
    return assigned, positive / max(total, 1)


def _whole_function(question: Question, baseline: Any, iterations: int) -> Chunks:
    session = question.session()
    start = question.baseline(baseline)
    for row in range(len(session.targets)):
        rows = slice(row, row + 1)
        target = session.targets.part(rows)
        item = int(target.items[0])
        lengths = None if question.lengths is None else question.lengths[item : item + 1]
        alone = replace(question, inputs=question.inputs[item : item + 1], lengths=lengths)
        one = replace(target, items=torch.zeros_like(target.items))
        yield rows, {"input": _at_root(alone, one, start[item : item + 1], iterations)}


def _at_root(question: Question, target: Targets, start: torch.Tensor, iterations: int):  # type: ignore[no-untyped-def]
    """The Taylor expansion of one target at its root."""
    inputs = question.inputs

    def value(share: float) -> float:
        return float(scores(question.outputs(start + share * (inputs - start)), target))

    low, high = 0.0, 1.0
    at_start, at_input = value(low), value(high)
    found = at_start * at_input <= 0
    if found:
        for _ in range(iterations):
            middle = (low + high) / 2
            at_middle = value(middle)
            if at_middle * at_input > 0:
                high = middle
            else:
                low = middle
    root = start + low * (inputs - start)
    session = question.session_on(root.contiguous(), target)
    ((_, walked),) = session.explain(session.sweep(), "auto")
    relevance = walked["input"]
    windows = relevance.windows * session.cut(inputs - root, "input", slice(0, 1))
    if not found:
        windows = torch.zeros_like(windows)
    at_root = session.targets.scores if found else torch.full_like(target.scores, at_start)
    return replace(
        relevance,
        scores=target.scores,
        windows=windows,
        method="deep-taylor",
        details={
            "root": torch.full_like(target.scores, float(found)),
            "value": at_root,
            "remainder": target.scores - at_root - windows.flatten(1).sum(1),
        },
    )
