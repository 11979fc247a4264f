"""Which form a convolution takes: a rule measured once, so that the same call always gives the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal, get_args

import torch

from asr_introspect.errors import unknown_name

Form = Literal["auto", "direct", "blocks", "columns"]
"""``direct``: torch's own convolution; ``blocks``: products by frequency; ``columns``: one product with
unfolded inputs; ``auto``: the fastest by rule."""

VARIABLE = "ASR_INTROSPECT_CONVOLUTION"
"""The environment variable that sets the form of a process."""

_chosen: ContextVar[Form | None] = ContextVar("form", default=None)


def form() -> Form:
    """The form in force: that of :func:`using_form`, else of the environment, else ``auto``.

    Raises
    ------
    UsageError
        The environment names an unknown form.
    """
    return _chosen.get() or _checked(os.environ.get(VARIABLE, "auto"))


@contextmanager
def using_form(name: Form) -> Iterator[None]:
    """Convolutions inside the block take this form (gradients: that of their forward pass)."""
    token = _chosen.set(_checked(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def _checked(name: str) -> Form:
    for known in get_args(Form):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise unknown_name("form of convolution", name, get_args(Form))


@cache
def has_matrix_units() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in hardware (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())


def takes_columns(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether inputs are unfolded: under ``auto`` those in half precision on a GPU."""
    name = form()
    half = dtype in (torch.bfloat16, torch.float16)
    return name == "columns" or (name == "auto" and half and device.type == "cuda")


FEWEST_PRODUCTS = 2**14
"""Input times output channels from which blocks pay: below, the transforms outweigh the products."""


def choose(shape: torch.Size, stride: int, dtype: torch.dtype) -> int | None:
    """The length of block for a weight ``(C', C, K)``; None: the direct form.

    A stride of s counts as K / s taps. Blocks of a little over twice the taps were the fastest or within
    5 % of it for every layer of the recogniser (``tests/benchmarks/convolution.py --lengths``). The rule
    depends on the shape, the type and whether the processor has matrix units, never on a clock: on another
    kind of processor a resumed training may differ in the last bits unless the form is set. It does not
    depend on the length either: an utterance takes the same form alone and in any batch. float64 is asked
    for where exactness counts, down to zeros outside of a receptive field: it stays direct.
    """
    taps = -(-shape[2] // stride)
    length = 2 * taps + 8
    name = form()
    if name == "blocks":
        return length
    return length if name == "auto" and _worth(shape, taps, stride, dtype) else None


def choose_transposed(shape: torch.Size, stride: int, signal: torch.Size, dtype: torch.dtype) -> int | None:
    """The length of the one block that takes a window ``(N, C', P)``; None: the direct form.

    One position is one plain product, and windows much longer than the weight lose.
    """
    taps = -(-shape[2] // stride)
    length = signal[2] + taps - 1
    length += length % 2
    name = form()
    if name == "blocks":
        return length
    worth = _worth(shape, taps, stride, dtype) and signal[0] >= 16 and signal[2] > 1 and length <= 16 * taps
    return length if name == "auto" and worth else None


def _worth(shape: torch.Size, taps: int, stride: int, dtype: torch.dtype) -> bool:
    if dtype == torch.float64:
        return False
    fewest = 20 if dtype == torch.bfloat16 and has_matrix_units() else 5
    return taps >= fewest and stride * shape[0] * shape[1] >= FEWEST_PRODUCTS
