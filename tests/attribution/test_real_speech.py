"""The engine on the trained recogniser and real voices: autograd, conservation, precision, contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attribution_nets import deviation, gradients

from asr_introspect.attribution import attribute
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.passes import INPUT, forward_pass
from asr_introspect.resources import bundled

pytestmark = pytest.mark.speech


@pytest.fixture(scope="module")
def batch() -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network, two utterances of different lengths in one batch, their lengths, and letters of both."""
    recogniser = load_model(bundled("reference"))
    shortest = sorted(read_corpus(Path(bundled("demo"))).utterances, key=lambda each: each.duration)[:2]
    forwards = list(forward_pass(recogniser, shortest, layers=[INPUT], batch_seconds=60))
    (forward,) = forwards
    rows = []
    for item, steps in enumerate(forward.lengths.tolist()):
        best = forward.logits[item].argmax(0)
        emitted = [step for step in range(steps) if int(best[step]) != recogniser.symbols.blank]
        for step in (0, *emitted[:: max(len(emitted) // 4, 1)][:4], steps - 1):
            rows.append([item, step, int(best[step])])
    return recogniser.network, forward.activations[INPUT], forward.frames, torch.tensor(rows)


def test_gradients_of_the_trained_recogniser(batch: Any) -> None:
    network, inputs, lengths, targets = batch
    expected = gradients(network, inputs, targets, lengths)
    found = attribute(network, inputs, targets, method="gradient", lengths=lengths)
    assert deviation(found.dense(), expected) < 1e-5
    double = attribute(network.double(), inputs.double(), targets, method="gradient", lengths=lengths)
    exact = gradients(network, inputs.double(), targets, lengths)
    network.float()
    assert deviation(double.dense(), exact) < 1e-10


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-relative", "epsilon-plus", "epsilon-gamma"])
def test_nothing_is_lost_unaccounted(batch: Any, composite: str) -> None:
    """Score = relevance at the input + biases + stabilisers, letter by letter, on real speech."""
    network, inputs, lengths, targets = batch
    found = attribute(network, inputs, targets, composite=composite, lengths=lengths, against="mean")
    absorbed = sum(entry.bias + entry.stabiliser for entry in found.ledger.entries)
    held = found.windows.flatten(1).sum(1)
    scale = found.windows.abs().flatten(1).sum(1) + found.scores.abs()
    assert float(((found.scores - absorbed - held).abs() / scale).max()) < 1e-3
    torch.testing.assert_close(found.leak * found.scores, found.scores - held, rtol=1e-3, atol=1e-4)


def test_a_contrast_does_not_see_a_constant_added_to_all_logits(batch: Any) -> None:
    """Trap 3: adding one vector to every row of the last weight changes no posterior and no contrast."""
    network, inputs, lengths, targets = batch
    before = attribute(
        network, inputs, targets, composite="epsilon-relative", lengths=lengths, against="mean"
    )
    last = network.layer12.convolution
    kept = last.weight.detach().clone()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        last.weight += torch.randn(1, *last.weight.shape[1:], generator=generator) * last.weight.std()
    try:
        after = attribute(
            network, inputs, targets, composite="epsilon-relative", lengths=lengths, against="mean"
        )
        raw = attribute(network, inputs, targets, composite="epsilon-relative", lengths=lengths)
    finally:
        with torch.no_grad():
            last.weight.copy_(kept)
    assert deviation(after.windows, before.windows) < 1e-2
    assert deviation(raw.windows, before.windows) > 0.1
