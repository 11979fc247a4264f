"""Convolution in blocks of frequencies (overlap-save; Stockham 1966), as plain products of matrices.

A block of N positions is transformed by one small matrix, multiplied with the transformed weight frequency by
frequency, and transformed back; of its N outputs the first ``N - K + 1`` are those of the convolution. A real
signal of even length N has N/2 *slots*: slot 0 holds the two real frequencies 0 and N/2, slot s the real and
imaginary part of frequency s. The two parts of a signal are rows, the two parts of a weight are columns:

* ``spectra``: a weight's parts ``(2, N/2, C', C)``;
* a product of a signal's two rows with a weight's two parts has four parts; the matrix that transforms back
  takes ``real * real - imaginary * imaginary`` and so on in the same sum.

All functions are without gradients; signals are rows ``(B, T, C)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from asr_introspect.convolution.layout import scratch


@dataclass(frozen=True)
class Blocks:
    """Blocks of ``length`` positions (even) for a weight of ``taps`` taps."""

    taps: int
    length: int

    @property
    def hop(self) -> int:
        """Outputs that a block gives."""
        return self.length - self.taps + 1

    @property
    def slots(self) -> int:
        """Pairs of real numbers that a block's spectrum has."""
        return self.length // 2

    def count(self, positions: int) -> int:
        """Blocks that so many outputs need."""
        return -(-positions // self.hop)


@dataclass(frozen=True)
class Matrices:
    """The small matrices of a kind of block, N = length, H = hop, K = taps.

    Parameters
    ----------
    analysis
        ``(N, N)``: positions to slots and parts.
    weight
        ``(N, K)``: taps to parts and slots, so that multiplying is correlating.
    synthesis
        ``(H, 2 N)``: products of parts to the block's outputs.
    transposed
        ``(N, 2 N)``: products of parts to the outputs of the transposed convolution.
    """

    analysis: Tensor
    weight: Tensor
    synthesis: Tensor
    transposed: Tensor


@lru_cache(maxsize=256)
def matrices(blocks: Blocks, dtype: torch.dtype) -> Matrices:
    """The matrices of a kind of block, computed in float64."""
    length, slots = blocks.length, blocks.slots
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.device("cpu"):
        position = torch.arange(length, dtype=torch.float64)
        angle = 2 * math.pi / length * torch.outer(torch.arange(slots, dtype=torch.float64), position)
        cosine, sine, sign = angle.cos(), angle.sin(), 1 - 2 * (position % 2)
        analysis = torch.stack([cosine, -sine], 1)
        analysis[0, 1] = sign
        weight = torch.stack([cosine, sine])
        weight[1, 0] = sign
        back = torch.zeros(length, 2, slots, 2, dtype=torch.float64)  # position, weight's part, slot, part
        back[:, 0, :, 0] = 2 * cosine.T
        back[:, 0, :, 1] = back[:, 1, :, 0] = -2 * sine.T
        back[:, 1, :, 1] = -2 * cosine.T
        back[:, :, 0] = 0
        back[:, 0, 0, 0], back[:, 1, 0, 1] = 1, sign
        turned = back.clone()
        turned[:, 1, 1:] *= -1  # the conjugate of the weight
        return Matrices(
            analysis.reshape(length, length).to(dtype),
            weight.reshape(length, length)[:, : blocks.taps].contiguous().to(dtype),
            (back / length).reshape(length, -1)[: blocks.hop].contiguous().to(dtype),
            (turned / length).reshape(length, -1).to(dtype),
        )


def spectra(weight: Tensor, blocks: Blocks) -> Tensor:
    """The parts ``(2, N/2, C', C)`` of a weight ``(C', C, K)``."""
    outputs, channels, taps = weight.shape
    columns = weight.reshape(-1, taps).t()
    return (matrices(blocks, weight.dtype).weight @ columns).view(2, blocks.slots, outputs, channels)


def analyse(rows: Tensor, blocks: Blocks, positions: int) -> Tensor:
    """The spectra ``(N/2, 2 M, C)`` of the M blocks of rows ``(B, T, C)`` that so many outputs need."""
    batch, frames, channels = rows.shape
    count, length = blocks.count(positions), blocks.length
    if (missing := (count - 1) * blocks.hop + length - frames) > 0:
        rows = F.pad(rows, (0, 0, 0, missing))
    size = (length, batch, count, channels)
    pieces = rows.as_strided(
        size, (channels, rows.stride(0), blocks.hop * channels, 1), rows.storage_offset()
    )
    gathered = scratch("pieces", size, rows.dtype).copy_(pieces).view(length, -1)
    return (matrices(blocks, rows.dtype).analysis @ gathered).view(blocks.slots, -1, channels)


def correlate(spectrum: Tensor, parts: Tensor, blocks: Blocks, batch: int, positions: int) -> Tensor:
    """The convolution ``(B, M H, C')`` of a signal's spectrum with a weight's parts: positions and a rest."""
    outputs, count = parts.shape[2], blocks.count(positions)
    products = scratch("products", (2, blocks.slots, spectrum.shape[1], outputs), spectrum.dtype)
    for part, product in zip(parts, products, strict=True):
        torch.bmm(spectrum, part.transpose(1, 2), out=product)
    synthesis = matrices(blocks, spectrum.dtype).synthesis
    back = scratch("back", (blocks.hop, batch * count * outputs), spectrum.dtype)
    torch.mm(synthesis, products.view(2 * blocks.length, -1), out=back)
    ordered = back.view(blocks.hop, batch, count, outputs).permute(1, 2, 0, 3)
    return spectrum.new_empty(ordered.shape).copy_(ordered).view(batch, -1, outputs)


def gradient_spectrum(gradient: Tensor, blocks: Blocks) -> Tensor:
    """The gradient by the products ``(2, N/2, 2 M, C')``, from that by the outputs ``(B, M H, C')``."""
    batch, positions, outputs = gradient.shape
    count = positions // blocks.hop
    gathered = scratch("pieces", (blocks.hop, batch, count, outputs), gradient.dtype)
    gathered.copy_(gradient.reshape(batch, count, blocks.hop, outputs).permute(2, 0, 1, 3))
    spectrum = scratch("products", (2 * blocks.length, batch * count * outputs), gradient.dtype)
    torch.mm(matrices(blocks, gradient.dtype).synthesis.t(), gathered.view(blocks.hop, -1), out=spectrum)
    return spectrum.view(2, blocks.slots, -1, outputs)


def weight_gradient(gradients: Tensor, spectrum: Tensor, blocks: Blocks) -> Tensor:
    """The gradient by the weight ``(C', C, K)``."""
    outputs, channels = gradients.shape[3], spectrum.shape[2]
    parts = scratch("parts", (2, blocks.slots, outputs, channels), spectrum.dtype)
    for gradient, part in zip(gradients, parts, strict=True):
        torch.bmm(gradient.transpose(1, 2), spectrum, out=part)
    columns = parts.view(blocks.length, -1).t()
    return (columns @ matrices(blocks, spectrum.dtype).weight).view(outputs, channels, blocks.taps)


def input_gradient(gradients: Tensor, parts: Tensor, blocks: Blocks, batch: int, frames: int) -> Tensor:
    """The gradient by the inputs ``(B, T, C)``."""
    channels = parts.shape[3]
    products = scratch("back", (2, blocks.slots, gradients.shape[2], channels), gradients.dtype)
    for gradient, part, product in zip(gradients, parts, products, strict=True):
        torch.bmm(gradient, part, out=product)
    analysis = matrices(blocks, gradients.dtype).analysis.t()
    pieces = analysis @ products.view(2, blocks.length, -1)
    return _add(pieces.sum(0).view(blocks.length, batch, -1, channels), blocks)[:, :frames]


def _add(pieces: Tensor, blocks: Blocks) -> Tensor:
    """Overlapping pieces ``(N, B, M, C)`` added up: ``(B, M H + N, C)``."""
    length, batch, count, channels = pieces.shape
    hop = blocks.hop
    added = pieces.new_zeros(batch, count * hop + length, channels)
    for first in range(0, length, hop):
        part = pieces[first : first + hop].permute(1, 2, 0, 3)
        place = (batch, count, part.shape[2], channels)
        added.as_strided(place, (added.stride(0), hop * channels, channels, 1), first * channels).add_(part)
    return added


def transpose(signal: Tensor, parts: Tensor, blocks: Blocks) -> Tensor:
    """The transposed convolution of signals ``(P, M, C')`` no longer than the hop: ``(N, M, C)``."""
    length, channels = signal.shape[0], parts.shape[3]
    small = matrices(blocks, signal.dtype)
    spectrum = scratch("spectrum", (blocks.length, signal[0].numel()), signal.dtype)
    torch.mm(small.analysis[:, :length], signal.reshape(length, -1), out=spectrum)
    products = scratch("products", (2, blocks.slots, 2 * signal.shape[1], channels), signal.dtype)
    for part, product in zip(parts, products, strict=True):
        torch.bmm(spectrum.view(blocks.slots, -1, signal.shape[2]), part, out=product)
    back = small.transposed @ products.view(2 * blocks.length, -1)
    return back.view(blocks.length, -1, channels)
