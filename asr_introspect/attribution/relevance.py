"""Results of an attribution: windows of relevance, where each lies, and where relevance was lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from asr_introspect.attribution.windows import place


@dataclass(frozen=True)
class Entry:
    """Relevance at one layer, per target ``(N,)``.

    ``outgoing`` arrives at the layer's output, ``incoming`` is handed on to its input; the rest was absorbed
    by the bias or by the stabiliser (and by zero denominators): ``outgoing = incoming + bias + stabiliser``.
    """

    layer: str
    rule: str
    outgoing: torch.Tensor
    incoming: torch.Tensor
    bias: torch.Tensor
    stabiliser: torch.Tensor


@dataclass(frozen=True)
class Ledger:
    """What became of the relevance of each target on its way down, layer by layer from the output.

    ``residual`` ``(N,)`` is what the windows hold less what the entries say they should: rounding, if all is
    well. Empty for methods that conserve nothing.
    """

    entries: tuple[Entry, ...] = ()
    residual: torch.Tensor | None = None

    def __str__(self) -> str:
        lines = [f"{'layer':24} {'rule':18} {'out':>12} {'in':>12} {'bias':>12} {'stabiliser':>12}"]
        for entry in self.entries:
            numbers = (entry.outgoing, entry.incoming, entry.bias, entry.stabiliser)
            lines.append(
                f"{entry.layer:24} {entry.rule:18} "
                + " ".join(f"{float(n.double().mean()):12.5g}" for n in numbers)
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Treatment:
    """How one step of the network was treated: its layer, torch function, rule, and by cone or whole pass."""

    layer: str
    function: str
    rule: str
    passes: str  # "cone" | "whole"


@dataclass(frozen=True)
class Coverage:
    """Every step of the network on the way back, output first."""

    treatments: tuple[Treatment, ...] = ()

    @property
    def whole(self) -> tuple[Treatment, ...]:
        """The steps that no cone could follow."""
        return tuple(each for each in self.treatments if each.passes == "whole")

    def rules(self) -> dict[str, str]:
        """Rule by layer, for the steps that take one."""
        return {each.layer: each.rule for each in self.treatments if each.rule not in {"pass", "identity"}}

    def __str__(self) -> str:
        return "\n".join(f"{t.layer:28} {t.function:16} {t.rule:20} {t.passes}" for t in self.treatments)


@dataclass(frozen=True)
class Relevance:
    """The explanation of N targets at one layer (the input unless ``layer`` says otherwise).

    Attributes
    ----------
    scores
        ``(N,)`` the explained output, after contrast.
    windows
        ``(N, C, *W)`` relevance (or gradient) inside each target's cone; ``(N, *shape)`` where the network
        was walked whole.
    starts
        ``(N,)`` first position of each window, ``(N, 2)`` for images; may be negative or reach past the end,
        those parts are zero.
    shape
        The whole map's shape without the batch axis, e.g. ``(F, T)``.
    details
        What a method has to say beside: ``(N,)`` each, e.g. the completeness error of integrated gradients.
    ledger, leak, coverage
        Where relevance went, the share of the score that stayed in biases and stabilisers ``(N,)`` (absolute
        where ``|score| < 1e-6``; zeros for methods that conserve nothing), and which module got which rule.
    """

    scores: torch.Tensor
    windows: torch.Tensor
    starts: torch.Tensor
    shape: tuple[int, ...]
    layer: str
    method: str
    ledger: Ledger
    leak: torch.Tensor
    coverage: Coverage
    details: dict[str, torch.Tensor] = field(default_factory=dict)

    def dense(self) -> torch.Tensor:
        """``(N, C, *S)``: the windows in place."""
        starts = self.starts[:, None] if self.starts.dim() == 1 else self.starts
        axes = starts.shape[1]
        if self.windows.dim() - 1 - axes < 1:  # maps without a channel axis, of Grad-CAM for instance
            return place(self.windows[:, None], starts, self.shape[-axes:])[:, 0]
        if self.windows.shape[1:] == self.shape and not bool(starts.any()):
            return self.windows
        return place(self.windows, starts, self.shape[-axes:])

    def take(self, rows: torch.Tensor) -> Relevance:
        """Some of the targets, or all in another order; ``rows`` are indices ``(n,)``."""
        entries = tuple(
            replace(
                entry,
                outgoing=entry.outgoing[rows],
                incoming=entry.incoming[rows],
                bias=entry.bias[rows],
                stabiliser=entry.stabiliser[rows],
            )
            for entry in self.ledger.entries
        )
        residual = None if self.ledger.residual is None else self.ledger.residual[rows]
        return replace(
            self,
            scores=self.scores[rows],
            windows=self.windows[rows],
            starts=self.starts[rows],
            ledger=Ledger(entries, residual),
            leak=self.leak[rows],
            details={name: values[rows] for name, values in self.details.items()},
        )

    def __len__(self) -> int:
        return len(self.scores)


def join(parts: list[Relevance]) -> Relevance:
    """The explanations of several chunks of targets as one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def together(name: str) -> torch.Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    entries = tuple(
        Entry(
            entry.layer,
            entry.rule,
            *(
                torch.cat([getattr(part.ledger.entries[at], column) for part in parts])
                for column in ("outgoing", "incoming", "bias", "stabiliser")
            ),
        )
        for at, entry in enumerate(first.ledger.entries)
    )
    residual = None
    if first.ledger.residual is not None:
        residual = torch.cat([part.ledger.residual for part in parts if part.ledger.residual is not None])
    return Relevance(
        together("scores"),
        together("windows"),
        together("starts"),
        first.shape,
        first.layer,
        first.method,
        Ledger(entries, residual),
        together("leak"),
        first.coverage,
        {name: torch.cat([part.details[name] for part in parts]) for name in first.details},
    )
