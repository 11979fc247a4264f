"""Seeded, local randomness: every draw has a generator named by its purpose; nothing is ever global."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """The NumPy generator of one purpose, e.g. ``generator(seed, "augmentation", epoch, item)``.

    The same arguments give the same stream on every machine; other purposes or indices give
    independent streams.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *indices])


def torch_generator(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """The torch generator (on the processor) of one purpose, seeded from :func:`generator`."""
    drawn = int(generator(seed, purpose, *indices).integers(2**63 - 1))
    return torch.Generator().manual_seed(drawn)
