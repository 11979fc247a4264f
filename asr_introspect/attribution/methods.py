"""The methods, each a walk or a handful of walks: a question in, chunks of relevance out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from asr_introspect.attribution.composites import Mapped, assign
from asr_introspect.attribution.relevance import Relevance
from asr_introspect.attribution.rules import Rule
from asr_introspect.attribution.session import Session, prepare
from asr_introspect.errors import UsageError

Chunks = Iterator[tuple[slice, dict[str, Relevance]]]


@dataclass(frozen=True)
class Question:
    """The arguments of ``attribute`` that every method needs."""

    network: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    composite: str | Mapped | Rule
    lengths: torch.Tensor | None
    at: Sequence[str] | None
    against: str | int | None
    output_axis: int
    chunk: int | str

    def session(self, inputs: torch.Tensor | None = None, **changes: Any) -> Session:
        """The network's run on the question's inputs, or on others."""
        given = {
            "lengths": self.lengths,
            "layers": tuple(self.at) if self.at is not None else ("input",),
            "against": self.against,
            "output_axis": self.output_axis,
            **changes,
        }
        targets = given.pop("targets", self.targets)
        return prepare(self.network, self.inputs if inputs is None else inputs, targets, **given)


def _named(found: dict[str, Relevance], method: str) -> dict[str, Relevance]:
    return {name: replace(relevance, method=method) for name, relevance in found.items()}


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
                    windows=relevance.windows
                    * session.cut(session.layers[name].tensor, session.layers[name], rows),
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

    ``bounds=(low, high)``: lowest and highest input for z^B, each ``(F,)``, a number, or like one input.
    """
    session = question.session()
    rules = assign(session.program, question.composite)
    boxes = None
    needs = any(rule.takes_bounds for rule in rules.values())
    if needs and bounds is None:
        raise UsageError("the rule z^B needs the option bounds=(low, high)")
    if bounds is not None:
        boxes = _bounds(question.inputs, bounds)
    yield from session.explain(session.sweep(rules, bounds=boxes), question.chunk)


def _bounds(inputs: torch.Tensor, bounds: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds shaped to multiply with the inputs. Raises UsageError where low exceeds high."""
    low, high = (torch.as_tensor(bound, dtype=inputs.dtype, device=inputs.device) for bound in bounds)

    def shaped(bound: torch.Tensor) -> torch.Tensor:
        if bound.dim() == 1 and inputs.dim() > 2:
            return bound.view(1, -1, *(1,) * (inputs.dim() - 2))
        return bound

    if bool((low > high).any()):
        raise UsageError("bounds: the low bound exceeds the high one")
    return shaped(low), shaped(high)


METHODS: dict[str, tuple[Callable[..., Chunks], set[str]]] = {
    "lrp": (lrp, {"bounds"}),
    "gradient": (gradient, set()),
    "gradient-x-input": (gradient_times_input, set()),
    "guided-backprop": (guided_backprop, set()),
    "deconvnet": (deconvnet, set()),
}
"""By name: the method and its options."""
