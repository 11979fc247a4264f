"""Greedy decoding: logits to symbols and text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr_introspect.recogniser.symbols import SymbolTable


def collapse(path: Sequence[int] | np.ndarray, blank: int = 0) -> list[int]:
    """The labelling of a CTC path (Graves et al. 2006, eq. 1): repeats merged, then blanks dropped.

    Parameters
    ----------
    path
        One class per step, ``(U,)``.
    """
    classes = np.asarray(path, dtype=np.int64)
    if classes.size == 0:
        return []
    starts_run = np.concatenate(([True], classes[1:] != classes[:-1]))
    labelling: list[int] = classes[starts_run & (classes != blank)].tolist()
    return labelling


def greedy(logits: Tensor | np.ndarray, blank: int = 0) -> list[int]:
    """The classes on the best path: per step the highest logit (of equals the first), then :func:`collapse`.

    Nothing else is done to them: a space that was emitted twice stays twice.

    Parameters
    ----------
    logits
        ``(V, U)`` of one utterance; posteriors do as well.
    """
    return collapse(torch.as_tensor(logits).argmax(0).cpu().numpy(), blank)


def greedy_batch(
    logits: Tensor | np.ndarray, lengths: Sequence[int] | Tensor, blank: int = 0
) -> list[list[int]]:
    """:func:`greedy` for each utterance of a batch.

    Parameters
    ----------
    logits
        ``(B, V, U)``.
    lengths
        Valid steps of each utterance, ``(B,)``.
    """
    paths = torch.as_tensor(logits).argmax(1).cpu().numpy()
    return [collapse(path[: int(length)], blank) for path, length in zip(paths, lengths, strict=True)]


def text(classes: Sequence[int], symbols: SymbolTable) -> str:
    """What the classes spell: characters joined, or names with spaces between where they are longer."""
    return ("" if symbols.spells_text else " ").join(symbols.names(classes))
