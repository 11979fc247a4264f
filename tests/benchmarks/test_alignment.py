"""Forced alignment beside the forward pass that it needs, and beside the lattice in plain NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from asr_introspect.random import generator, torch_generator
from asr_introspect.recogniser.alignment import align_targets
from asr_introspect.recogniser.network import PRESETS, Wav2Letter

SECONDS, LETTERS = 8.0, 120


def in_numpy(scores: np.ndarray, targets: np.ndarray) -> float:
    """The best path's score, a step at a time."""
    states = np.zeros(2 * len(targets) + 1, int)
    states[1::2] = targets
    may_skip = np.append([False, False], (states[2:] != 0) & (states[2:] != states[:-2]))
    value = np.full(len(states), -np.inf)
    value[:2] = scores[0, states[:2]]
    for step in range(1, len(scores)):
        move, skip = np.append(-np.inf, value[:-1]), np.append([-np.inf, -np.inf], value[:-2])
        value = np.maximum(np.maximum(value, move), np.where(may_skip, skip, -np.inf)) + scores[step, states]
    return float(value[-2:].max())


def seconds(function: Callable[[], object], times: int = 5) -> float:
    """The least of several wall times."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


@pytest.mark.benchmark(group="alignment")
def test_alignment(benchmark: Callable[..., object]) -> None:
    network = Wav2Letter(PRESETS["wav2letter-small"], 29).eval()
    network.initialise(torch_generator(0, "benchmark"))
    inputs = torch.randn(1, 128, round(100 * SECONDS), generator=torch_generator(1, "benchmark"))
    with torch.no_grad():
        logits = network(inputs)[0].numpy()
        forward = seconds(lambda: network(inputs))
    targets = generator(0, "benchmark").integers(1, 29, LETTERS)
    benchmark(align_targets, logits, targets.tolist())
    own = seconds(lambda: align_targets(logits, targets.tolist()))
    benchmark.extra_info.update(  # type: ignore[attr-defined]
        milliseconds_per_second_of_speech=1000 * own / SECONDS,
        forward_over_alignment=forward / own,
        numpy_over_alignment=seconds(lambda: in_numpy(logits.T, targets)) / own,
    )
