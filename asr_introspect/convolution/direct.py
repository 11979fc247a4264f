"""The gradients of torch's own convolution, differentiable again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def direct_gradients(
    gradient: Tensor, inputs: Tensor, weight: Tensor, stride: int, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The gradients by inputs, weight and bias, those that are wanted, of an output's ``(B, C', U)``."""
    found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, [len(weight)], [stride], [0], [1], False, [0], 1, list(wanted)
    )
    return found
