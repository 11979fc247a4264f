"""Tiny networks and the slow, plain answers that the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 and evaluation mode, weights and statistics drawn, norms as if trained."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
                offset = 1.0 if "Norm" in type(module).__name__ and name == "weight" else 0.0
                parameter.copy_(drawn(parameter) * scale * 1.5 + offset)
            if getattr(module, "running_var", None) is not None:
                module.running_mean.copy_(drawn(module.running_mean) * 0.3)
                module.running_var.copy_(0.5 + drawn(module.running_var).abs())
    return network


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(
    network: Callable[..., torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor, *extra: object
) -> torch.Tensor:
    """The derivative of each target's output by its item, one autograd pass each, ``(N, *item shape)``."""
    leaf = inputs.clone().requires_grad_()
    outputs = network(leaf, *extra)
    found = []
    for item, *position, label in targets.tolist():
        (gradient,) = torch.autograd.grad(outputs[(item, label, *position)], leaf, retain_graph=True)
        found.append(gradient[item])
    return torch.stack(found)


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest over targets of ``max |a - b| / max |b|``."""
    difference = (found - expected).flatten(1).abs().amax(1)
    scale = expected.flatten(1).abs().amax(1).clamp_min(torch.finfo(expected.dtype).tiny)
    return float((difference / scale).max())
