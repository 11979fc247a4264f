"""Arrays as pictures of one pixel per cell, and as packed bytes, that fit into a page."""

from __future__ import annotations

import base64
import struct
import zlib
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np

LEVELS = 15
"""Steps of relevance on either side of zero that the page carries; more would double its size."""

ENDS = {"RdBu_r": 0.06}

POSITIVE = (213, 72, 0)
NEGATIVE = (0, 96, 190)
"""Vermilion and blue: apart for every kind of colour vision, and as light as each other."""


@lru_cache(maxsize=8)
def palette(name: str, size: int = 256) -> np.ndarray:
    """A colour map of matplotlib as ``(size, 3)`` bytes; of diverging ones without their darkest ends.

    Those differ little in hue, and less when a dark page inverts them.
    """
    end = ENDS.get(name, 0.0)
    colours = mpl.colormaps[name](np.linspace(end, 1 - end, size))[:, :3]
    return np.asarray(np.round(255 * colours), dtype=np.uint8)


def signed_palette() -> np.ndarray:
    """Blue over nothing to vermilion, ``(2 LEVELS + 1, 4)`` bytes: the size of a value is its opacity."""
    steps = np.arange(-LEVELS, LEVELS + 1)
    colours = np.where(steps[:, None] < 0, NEGATIVE, POSITIVE)
    opacity = np.round(235 * np.abs(steps) / LEVELS)
    return np.column_stack([colours, opacity]).astype(np.uint8)


def png(indices: np.ndarray, colours: np.ndarray) -> bytes:
    """A PNG of palette indices ``(H, W)``; ``colours`` is ``(N, 3)`` or, with opacity, ``(N, 4)``."""
    height, width = indices.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row starts with its filter, 0 = none
    rows[:, 1:] = indices
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", np.ascontiguousarray(colours[:, :3]).tobytes()),
    ]
    if colours.shape[1] == 4:
        chunks.append((b"tRNS", np.ascontiguousarray(colours[:, 3]).tobytes()))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def levelled(values: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """The step of each value from 0 at ``low`` to ``levels - 1`` at ``high``, bytes; the middle for NaN."""
    span = high - low if high > low else 1.0
    scaled = np.nan_to_num((values - low) / span, nan=0.5, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.asarray(np.round((levels - 1) * scaled), dtype=np.uint8)


def picture(values: np.ndarray, low: float, high: float, colours: str, levels: int = 256) -> str:
    """A data address of ``values`` ``(H, W)``, first row at the top, from ``low`` to ``high``.

    NaN takes the colour of the middle. Fewer ``levels`` make a smaller file; an odd number has a middle one.
    """
    return data_address(png(levelled(values, low, high, levels), palette(colours, levels)), "image/png")


def quantised(values: np.ndarray, limit: float) -> np.ndarray:
    """Signed values as ``round(LEVELS * sqrt(|value| / limit))`` with their sign, int8.

    The square root keeps small relevance visible beside large; what exceeds the limit is cut off at it.
    """
    if not limit > 0:
        return np.zeros(values.shape, dtype=np.int8)
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    root = np.sqrt(np.minimum(np.abs(finite) / limit, 1.0))
    return np.asarray(np.sign(finite) * np.round(LEVELS * root), dtype=np.int8)


def limit_of(values: np.ndarray, share: float = 0.999) -> float:
    """The size that so large a share of the finite values does not exceed; 0 where there are none."""
    sizes = np.abs(values[np.isfinite(values)])
    if sizes.size == 0:
        return 0.0
    return float(np.quantile(sizes.astype(np.float64), share))


def signed_picture(values: np.ndarray, limit: float) -> str:
    """A data address of a signed map ``(H, W)`` to lay over another picture (see :func:`quantised`)."""
    indices = (quantised(values, limit).astype(np.int16) + LEVELS).astype(np.uint8)
    return data_address(png(indices, signed_palette()), "image/png")


def packed(values: np.ndarray) -> str:
    """The bytes of an array of one byte per value, zlib-compressed, in base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode("ascii")


def data_address(data: bytes, kind: str) -> str:
    """``data:kind;base64,...``"""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def file_address(path: Path, kind: str) -> str:
    """A file's bytes as a data address."""
    return data_address(path.read_bytes(), kind)
