"""Inner loops as machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that lets other threads run, kept on disk where a folder can be."""
    # contract: a multiplication and an addition may be one instruction; the order of sums stays as written.
    try:
        return numba.njit(function, cache=True, nogil=True, fastmath={"contract"})  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(function, nogil=True, fastmath={"contract"})  # type: ignore[no-any-return]
