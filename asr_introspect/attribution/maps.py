"""Maps that depend on the sentence only: made once, shared by all targets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from asr_introspect.attribution.operations import Widths

Key = tuple[object, ...]


class Maps:
    """Maps ``(B, C, *S)`` that depend on the sentence only, made on demand, multiplied and padded once."""

    def __init__(self) -> None:
        self._makers: dict[Key, Callable[[], torch.Tensor]] = {}
        self._made: dict[Key, torch.Tensor] = {}

    def define(self, key: Key, make: Callable[[], torch.Tensor]) -> Key:
        self._makers.setdefault(key, make)
        return key

    def get(self, key: Key) -> torch.Tensor:
        if key not in self._made:
            self._made[key] = self._makers[key]()
        return self._made[key]

    def product(self, keys: tuple[Key, ...]) -> torch.Tensor:
        """The product of several maps; ``inside`` maps are ones and drop out beside others."""
        factors = tuple(key for key in keys if key[0] != "inside") or keys[:1]
        if len(factors) == 1:
            return self.get(factors[0])
        key = ("product", *factors)
        if key not in self._made:
            self._made[key] = math.prod(
                (self.get(factor) for factor in factors[1:]), start=self.get(factors[0])
            )
        return self._made[key]

    def padded(self, keys: tuple[Key, ...], widths: Widths, fill: float = 0.0) -> torch.Tensor:
        """The product with a margin of one window on every side, so that windows may reach outside."""
        key = ("padded", keys, widths)
        if key not in self._made:
            pads = [width for width in reversed(widths) for _ in range(2)]
            padded = F.pad(self.product(keys), pads, value=fill)
            if len(widths) == 1:  # channels last, as windows are cut
                padded = padded.transpose(1, 2).contiguous().transpose(1, 2)
            self._made[key] = padded
        return self._made[key]
