"""Memory formats of signals ``(B, C, T)``: which axis lies closest together."""

from __future__ import annotations

import math
import threading

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGEST_KEPT = 2**26
_kept = threading.local()


def channels_last(signal: Tensor) -> Tensor:
    """``(B, C, T)`` with the same values, the C channels of one position side by side in memory."""
    return signal.transpose(1, 2).contiguous().transpose(1, 2)


def pad(signal: Tensor, padding: tuple[int, int]) -> Tensor:
    """``(B, C, T)`` with zeros before and after along time; the memory format is kept."""
    if signal.ndim == 3 and signal.stride(1) == 1 and signal.stride(2) >= signal.shape[1]:
        return F.pad(signal.transpose(1, 2), (0, 0, *padding)).transpose(1, 2)
    return F.pad(signal, padding)


def as_phases(weight: Tensor, stride: int) -> Tensor:
    """``(C', C, K)`` as ``(C', stride * C, ceil(K / stride))``: a stride as more channels."""
    outputs, channels, taps = weight.shape
    if stride == 1:
        return weight
    padded = F.pad(weight, (0, -taps % stride))
    return (
        padded.view(outputs, channels, -1, stride).permute(0, 3, 1, 2).reshape(outputs, stride * channels, -1)
    )


def as_rows(inputs: Tensor, stride: int) -> Tensor:
    """``(B, C, T)`` as rows ``(B, ceil(T / stride), stride * C)``."""
    rows = inputs.transpose(1, 2)
    if stride > 1:
        rows = F.pad(rows, (0, 0, 0, -rows.shape[1] % stride))
    return rows.contiguous().view(len(rows), -1, stride * rows.shape[2])


def from_phases(phases: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The inverse of :func:`as_phases`, for a gradient."""
    if stride == 1:
        return phases
    outputs, channels, taps = shape
    taken = phases.view(outputs, stride, channels, -1).permute(0, 2, 3, 1)
    return taken.reshape(outputs, channels, -1)[..., :taps]


def scratch(purpose: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory on the processor for a passing result, unset; the same call gets the same memory again.

    Fresh memory costs as much as the product written to it (the system hands it out page by page). Each
    thread keeps its own, up to 64 MiB for each purpose; the result is only good until the next call.
    """
    size = math.prod(shape)
    if size * dtype.itemsize > _LARGEST_KEPT:
        return torch.empty(shape, dtype=dtype, device="cpu")
    key = f"{purpose} {dtype}"
    memory: Tensor | None = getattr(_kept, key, None)
    if memory is None or memory.numel() < size:
        with torch.inference_mode(False):
            memory = torch.empty(size, dtype=dtype, device="cpu")
        setattr(_kept, key, memory)
    return memory[:size].view(shape)
