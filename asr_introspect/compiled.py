"""Inner loops as machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

EXACT: frozenset[str] = frozenset()
"""Sums and products are rounded as they are written."""

CONTRACTED = frozenset({"contract"})
"""A multiplication and an addition may be one instruction; the order of sums stays as written."""


def compiled(function: Callable[..., Any], liberties: frozenset[str] = CONTRACTED) -> Callable[..., Any]:
    """The function as machine code that lets other threads run, kept on disk where a folder can be.

    Parameters
    ----------
    liberties
        What the compiler may do to floating-point arithmetic (LLVM's fast-math flags).
    """
    fast = set(liberties) or False
    try:
        return numba.njit(function, cache=True, nogil=True, fastmath=fast)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(function, nogil=True, fastmath=fast)  # type: ignore[no-any-return]
