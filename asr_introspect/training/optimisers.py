"""What moves the weights: AdamW, or Muon for the hidden layers' weights and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from asr_introspect.errors import IntrospectError, unknown_name

OptimiserName = Literal["adamw", "muon"]

MUON_MOMENTUM = 0.95


class Optimisers:
    """The optimisers of a network, stepped and stored as one.

    Muon (Jordan 2024) takes the averaged gradient of a weight to the nearest matrix with orthonormal rows or
    columns before it is applied; a convolution's weight ``(C', C, K)`` counts as a matrix ``(C', C K)``. The
    last layer's weight, where rows are symbols, biases and norms stay with AdamW, as Muon's author advises.

    Parameters
    ----------
    name
        ``muon`` or ``adamw``.

    Raises
    ------
    UsageError
        No optimiser of that name.
    IntrospectError
        This torch is too old for Muon.
    """

    def __init__(
        self, network: nn.Module, name: OptimiserName, *, weight_decay: float, betas: tuple[float, float]
    ) -> None:
        if name not in get_args(OptimiserName):
            raise unknown_name("optimiser", name, get_args(OptimiserName))
        trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        weights = [n for n, p in trained.items() if p.ndim > 1]
        self._network = trained
        self._flat = {n: _flattened(trained[n]) for n in weights[:-1]} if name == "muon" else {}
        matrices = [trained[n] for n in weights if n not in self._flat]
        vectors = [p for p in trained.values() if p.ndim <= 1]
        self._adamw = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=betas,
            fused=True,
        )
        self._muon = _muon(list(self._flat.values()), weight_decay) if self._flat else None

    def step(self, rate: float) -> None:
        """Moves the weights along their gradients at this learning rate."""
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        if self._muon is None:
            return
        for name, flat in self._flat.items():
            gradient = self._network[name].grad
            flat.grad = None if gradient is None else gradient.flatten(1)
        for group in self._muon.param_groups:
            group["lr"] = rate
        self._muon.step()

    def state(self) -> Iterator[tuple[str, str, Tensor]]:
        """What must be kept to go on: (key, name of the parameter, tensor)."""
        for name, parameter in self._network.items():
            for key, value in self._of(name).state.get(self._flat.get(name, parameter), {}).items():
                yield key, name, value

    def load(self, key: str, name: str, value: Tensor) -> None:
        """Puts back what :meth:`state` gave; of a parameter that is not trained it is left out."""
        if name in self._network:
            parameter = self._flat.get(name, self._network[name])
            kept = self._of(name).state[parameter]
            kept[key] = value.to("cpu" if key == "step" else parameter.device)

    def _of(self, name: str) -> torch.optim.Optimizer:
        if name in self._flat:
            assert self._muon is not None
            return self._muon
        return self._adamw


def _flattened(weight: nn.Parameter) -> nn.Parameter:
    """The weight as a matrix in the same memory."""
    return nn.Parameter(weight.detach().view(len(weight), -1))


def _muon(matrices: list[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    kind: Any = getattr(torch.optim, "Muon", None)
    if kind is None:
        raise IntrospectError("Muon needs torch 2.9 or newer; or train with --schedule.optimiser adamw")
    optimiser: torch.optim.Optimizer = kind(
        matrices,
        weight_decay=weight_decay,
        momentum=MUON_MOMENTUM,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
    )
    return optimiser
