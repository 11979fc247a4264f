"""A question to a network: the arguments of ``attribute`` that every method shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from asr_introspect.attribution.composites import Mapped
from asr_introspect.attribution.relevance import Relevance
from asr_introspect.attribution.rules import Rule
from asr_introspect.attribution.session import Session, prepare
from asr_introspect.attribution.targets import Targets
from asr_introspect.errors import UsageError

Chunks = Iterator[tuple[slice, dict[str, Relevance]]]


@dataclass(frozen=True)
class Question:
    """Network, inputs, targets and how to look at them; see ``attribute`` for each."""

    network: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    composite: str | Mapped | Rule
    lengths: torch.Tensor | None
    at: Sequence[str] | None
    against: str | int | None
    output_axis: int
    chunk: int | str

    @property
    def layers(self) -> tuple[str, ...]:
        return ("input",) if self.at is None else tuple(self.at)

    def session(self) -> Session:
        """The network's run on the inputs, ready to be walked."""
        return prepare(
            self.network,
            self.inputs,
            self.targets,
            lengths=self.lengths,
            layers=self.layers,
            against=self.against,
            output_axis=self.output_axis,
        )

    def session_on(self, inputs: torch.Tensor, targets: Targets) -> Session:
        """The same question about other inputs: the classes and contrasts stay those of the first run."""

        def resolved(outputs: torch.Tensor) -> Targets:
            return replace(targets, scores=scores(outputs, targets))

        return prepare(
            self.network,
            inputs,
            resolved,
            lengths=self.lengths,
            layers=self.layers,
            output_axis=self.output_axis,
        )

    def only_input(self, method: str) -> None:
        """Raises UsageError if an inner layer is asked for."""
        if set(self.layers) != {"input"}:
            raise UsageError(f"{method} explains the input only; leave out 'at'")

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs ``(B, V, *U)`` without recording."""
        from asr_introspect.attribution.graph import takes_lengths

        extra = {"lengths": self.lengths} if self.lengths is not None and takes_lengths(self.network) else {}
        with torch.no_grad():
            found: torch.Tensor = self.network(inputs, **extra)
        return found.movedim(self.output_axis, 1)

    def baseline(self, baseline: Any) -> torch.Tensor:
        """A baseline like the inputs, from a number, one per bin ``(F,)``, or a tensor that broadcasts."""
        given = torch.as_tensor(baseline, dtype=self.inputs.dtype, device=self.inputs.device)
        if given.dim() == 1 and self.inputs.dim() > 2:
            given = given.view(1, -1, *(1,) * (self.inputs.dim() - 2))
        try:
            return given.expand_as(self.inputs)
        except RuntimeError:
            raise UsageError(
                f"baseline {tuple(given.shape)} does not fit inputs {tuple(self.inputs.shape)}"
            ) from None


def scores(outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """The targets' values ``(N,)`` in outputs ``(B, V, *U)``."""
    logits = outputs.movedim(1, -1)[(targets.items, *targets.positions.unbind(1))]
    return (targets.coefficients * logits).sum(1)
