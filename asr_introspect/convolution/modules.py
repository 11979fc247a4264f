"""Modules whose forward pass is the fastest form; their parameters and attributes are those of torch's."""

from __future__ import annotations

from torch import Tensor, nn

from asr_introspect.convolution.functions import convolve
from asr_introspect.convolution.layout import pad


class Convolution1d(nn.Conv1d):
    """``nn.Conv1d`` computed by :func:`~asr_introspect.convolution.convolve`.

    Padding, dilation and groups, where given, are left to torch.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, C', U)``."""
        if self.padding in (0, (0,)) and self.dilation == (1,) and self.groups == 1:
            return convolve(input, self.weight, self.bias, self.stride[0])
        return super().forward(input)


class Padding1d(nn.ConstantPad1d):
    """``nn.ConstantPad1d`` with zeros that keeps the memory format."""

    def __init__(self, padding: tuple[int, int]) -> None:
        super().__init__(padding, 0.0)

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, C, T + left + right)``."""
        return pad(input, self.padding)
