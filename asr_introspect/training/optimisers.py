"""What moves the weights: AdamW, or Muon for the hidden layers' weights and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from asr_introspect.errors import unknown_name

OptimiserName = Literal["adamw", "muon"]


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
    """

    def __init__(
        self, network: nn.Module, name: OptimiserName, *, weight_decay: float, betas: tuple[float, float]
    ) -> None:
        if name not in get_args(OptimiserName):
            raise unknown_name("optimiser", name, get_args(OptimiserName))
        self._network = {n: p for n, p in network.named_parameters() if p.requires_grad}
        weights = [n for n, p in self._network.items() if p.ndim > 1]
        self._orthogonal = frozenset(weights[:-1]) if name == "muon" else frozenset()
        matrices = [self._network[n] for n in weights if n not in self._orthogonal]
        vectors = [p for p in self._network.values() if p.ndim <= 1]
        self._adamw = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=betas,
            fused=True,
        )
        hidden = [self._network[n] for n in weights if n in self._orthogonal]
        self._muon = Muon(hidden, weight_decay) if hidden else None

    def step(self, rate: float) -> None:
        """Moves the weights along their gradients at this learning rate."""
        for optimiser in (self._adamw, self._muon):
            if optimiser is not None:
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.step()

    def state(self) -> Iterator[tuple[str, str, Tensor]]:
        """What must be kept to go on: (key, name of the parameter, tensor)."""
        for name, parameter in self._network.items():
            for key, value in self._of(name).state.get(parameter, {}).items():
                yield key, name, value

    def load(self, key: str, name: str, value: Tensor) -> None:
        """Puts back what :meth:`state` gave; of a parameter that is not trained it is left out."""
        if name in self._network:
            parameter = self._network[name]
            kept = value if key == "step" else value.view_as(parameter)
            self._of(name).state[parameter][key] = kept.to(parameter.device)

    def _of(self, name: str) -> torch.optim.Optimizer:
        if name in self._orthogonal:
            assert self._muon is not None
            return self._muon
        return self._adamw


class Muon(torch.optim.Optimizer):
    """Moves weights along the orthogonal matrix nearest to their averaged gradient.

    Nesterov momentum (Jordan 2024), updates of AdamW's size: times ``0.2 sqrt(max(rows, columns))`` (Liu
    2025, section 2.2). As ``torch.optim.Muon``, but a weight of more axes counts as a matrix of its rows, and
    :func:`orthogonalised` takes half of the time.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], weight_decay: float, momentum: float = 0.95, lr: float = 1e-3
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves the weights that have a gradient."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weights in _alike([weight for weight in group["params"] if weight.grad is not None]):
                gradients = [weight.grad for weight in weights if weight.grad is not None]
                averaged = [self._averaged(weight) for weight in weights]
                torch._foreach_lerp_(averaged, gradients, 1 - momentum)
                ahead = [g.lerp(a, momentum).flatten(1) for g, a in zip(gradients, averaged, strict=True)]
                updates = orthogonalised(torch.stack(ahead) if len(ahead) > 1 else ahead[0])
                size = rate * 0.2 * max(updates.shape[-2:]) ** 0.5
                torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
                for weight, update in zip(weights, updates.view(-1, *weights[0].shape), strict=True):
                    weight.add_(update, alpha=-size)

    def _averaged(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        averaged: Tensor = state["momentum_buffer"]
        return averaged


def _alike(weights: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Weights that are moved together: on a GPU those of one shape, where one product does for all."""
    groups: dict[Any, list[Tensor]] = {}
    for place, weight in enumerate(weights):
        groups.setdefault(weight.shape if weight.is_cuda else place, []).append(weight)
    return groups.values()


def orthogonalised(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix nearest to a matrix (or to each of many), in bfloat16.

    Five Newton-Schulz steps, for ``(..., R, C)``.

    A step takes ``X`` to ``(a + b G + c G G) X``, ``G = X X'`` (Jordan 2024). Of a wide matrix only ``G`` is
    moved along, which costs a fraction: all factors have its eigenvectors. Small singular values drown in
    the rounding of ``G`` after three steps, so it is computed anew from ``X`` after two.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    moved: Tensor = wide.bfloat16()
    moved = moved / moved.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    times_plus = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    for steps in (2, 3) if wide.shape[-1] >= 2 * wide.shape[-2] else (1,) * 5:
        gram = moved @ moved.mT
        for step in range(steps):
            factor = times_plus(gram, gram, gram, beta=b, alpha=c)
            if step == 0:
                product = factor.clone()
                product.diagonal(dim1=-2, dim2=-1).add_(a)
            else:
                product = times_plus(product, factor, product, beta=a)
            if step < steps - 1:
                half = times_plus(gram, factor, gram, beta=a)
                gram = times_plus(half, half, factor, beta=a)
        moved = product @ moved
    return moved if wide is matrix else moved.mT
