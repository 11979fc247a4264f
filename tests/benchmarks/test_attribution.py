"""The relevance of all 400 letters of 8 seconds, in forward passes by ``conv1d``; full preset."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from asr_introspect.attribution import attribute
from asr_introspect.convolution import using_form
from tests.benchmarks.attribution import BUDGETS, plain_network, sentence, timed


@pytest.mark.benchmark(group="attribution")
@pytest.mark.parametrize("name", list(BUDGETS))
def test_attribution(benchmark: Callable[..., object], name: str) -> None:
    options, budget = BUDGETS[name]
    network = plain_network(2048)
    inputs, targets = sentence(800)

    def forward() -> None:
        with torch.no_grad(), using_form("direct"):
            network(inputs)

    def explain() -> None:
        attribute(network, inputs, targets, against="mean", **options)  # type: ignore[arg-type]

    forward()
    before = timed(forward, 3, time.perf_counter)
    benchmark.pedantic(explain, rounds=2)  # type: ignore[attr-defined]
    own = timed(explain, 1, time.perf_counter)
    one = min(before, timed(forward, 3, time.perf_counter))
    benchmark.extra_info.update(forward_passes=own / one, budget=budget)  # type: ignore[attr-defined]
