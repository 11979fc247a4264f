"""Occlusion: what a score loses when a patch of the input is covered (Zeiler & Fergus 2014)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from asr_introspect.attribution.question import Chunks, Question, scores
from asr_introspect.attribution.session import Session
from asr_introspect.errors import UsageError


def occlusion(
    question: Question,
    patch: int | Sequence[int] = 8,
    stride: int | Sequence[int] | None = None,
    baseline: Any = 0.0,
) -> Chunks:
    """Score minus the score with a patch set to the baseline, over its cells (mean of overlaps).

    ``patch``: a size per position axis, all channels covered; for spectrograms also (bins, frames). Patches
    too far apart to lie in one target's cone are covered in the same pass: with a receptive field of 206
    frames, the number of passes does not depend on the length of the sentence.
    """
    question.only_input("occlusion")
    session = question.session()
    inputs, start = question.inputs, question.baseline(baseline)
    sizes, strides = _sizes(inputs, patch, stride)
    everything = slice(0, len(session.targets))
    total = session.cut(torch.zeros_like(inputs), "input", everything).clone()
    count = session.cut(torch.zeros_like(inputs), "input", everything).clone()
    seen = torch.ones_like(inputs[:1])
    for covered in _covers(inputs, sizes, strides, _apart(session, sizes)):
        outputs = question.outputs(torch.where(covered, start, inputs))
        lost = session.targets.scores - scores(outputs, session.targets)
        mask = session.cut(
            (covered * seen).to(inputs.dtype).expand_as(inputs).contiguous(), "input", everything
        )
        total += mask * lost.view(-1, *(1,) * (total.dim() - 1))
        count += mask
    relevance = session.blank("input", everything)
    windows = total / count.clamp_min(1)
    yield everything, {"input": replace(relevance, windows=windows, method="occlusion")}


def _sizes(inputs: torch.Tensor, patch: int | Sequence[int], stride: Any) -> tuple[list[int], list[int]]:
    """Patch and stride per axis of one item, channels first."""
    shape = list(inputs.shape[1:])
    axes = max(len(shape) - 1, 1)

    def full(given: int | Sequence[int]) -> list[int]:
        sizes = [given] * axes if isinstance(given, int) else list(given)
        if len(sizes) == len(shape) - 1:
            sizes = [shape[0], *sizes]
        if len(sizes) != len(shape) or min(sizes) < 1:
            raise UsageError(
                f"patch and stride need {len(shape) - 1} or {len(shape)} positive sizes, not {given}"
            )
        return sizes

    sizes = full(patch)
    return [min(size, most) for size, most in zip(sizes, shape, strict=True)], full(stride or patch)


def _apart(session: Session, sizes: list[int]) -> int | None:
    """Distance along the last axis from which two patches never meet in one cone; None: no such distance."""
    cone = session.cones.get(session.program.graph.input)
    return None if cone is None or len(cone.widths) != 1 else cone.widths[0] + sizes[-1]


def _covers(
    inputs: torch.Tensor, sizes: list[int], strides: list[int], apart: int | None
) -> Iterator[torch.Tensor]:
    """Boolean masks ``(1, *item)``; one patch each, or several ``apart`` along the last axis."""
    shape = inputs.shape[1:]
    places = [
        range(0, max(size - patch, 0) + step, step)
        for size, patch, step in zip(shape, sizes, strides, strict=True)
    ]
    period = None if apart is None else math.ceil(apart / strides[-1]) * strides[-1]
    for corner in itertools.product(*places):
        if period is not None and corner[-1] >= period:
            continue
        covered = inputs.new_zeros(1, *shape, dtype=torch.bool)
        lasts = [corner[-1]] if period is None else range(corner[-1], places[-1].stop, period)
        for last in lasts:
            at = [slice(start, start + size) for start, size in zip((*corner[:-1], last), sizes, strict=True)]
            covered[(slice(None), *at)] = True
        yield covered
