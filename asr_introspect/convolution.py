"""1-D convolution by the fastest form that is equal to ``conv1d`` in value and gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def channels_last(signal: Tensor) -> Tensor:
    """``(B, C, T)`` with the same values, the C channels of one position side by side in memory."""
    return signal.transpose(1, 2).contiguous().transpose(1, 2)


def pad(signal: Tensor, padding: tuple[int, int]) -> Tensor:
    """``(B, C, T)`` with zeros before and after along time; the memory format is kept."""
    if signal.ndim == 3 and signal.transpose(1, 2).is_contiguous():
        return F.pad(signal.transpose(1, 2), (0, 0, *padding)).transpose(1, 2)
    return F.pad(signal, padding)


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """``conv1d``: inputs ``(B, C, T)``, weight ``(C', C, K)``; returns ``(B, C', (T - K) // stride + 1)``.

    In bfloat16 on a processor (inputs of that type, or under autocast) it goes channels last: oneDNN's
    matrix-unit kernels then read and write the tensors as they are, where ``conv1d`` reorders everything
    there and back. The result is channels last too, and what is done to it elementwise stays so.
    """
    if inputs.ndim == 3 and inputs.device.type == "cpu" and _type(inputs) == torch.bfloat16:
        rows = channels_last(inputs).unsqueeze(2)
        return F.conv2d(rows, weight.unsqueeze(2), bias, (1, stride)).squeeze(2)
    return F.conv1d(inputs, weight, bias, stride)


def _type(inputs: Tensor) -> torch.dtype:
    """The type that a convolution of these inputs runs in."""
    if torch.is_autocast_enabled("cpu") and inputs.is_floating_point() and inputs.dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return inputs.dtype


class Convolution1d(nn.Conv1d):
    """``nn.Conv1d`` without padding, dilation or groups, computed by :func:`convolve`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, C', U)``."""
        return convolve(input, self.weight, self.bias, self.stride[0])


class Padding1d(nn.ConstantPad1d):
    """``nn.ConstantPad1d`` with zeros that keeps the memory format."""

    def __init__(self, padding: tuple[int, int]) -> None:
        super().__init__(padding, 0.0)

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, C, T + left + right)``."""
        return pad(input, self.padding)
