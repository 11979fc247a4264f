"""The compiled CTC loss: all paths counted, torch's in float64, and paths that only logarithms hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_introspect.training.ctc_loss import ctc_loss


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != 0]


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2], [2, 1, 2], [1, 2, 2, 1]])
def test_loss_is_that_of_all_paths_that_spell_the_target(target: list[int]) -> None:
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    posteriors = logits[0].double().softmax(0)
    total = sum(
        float(torch.prod(posteriors[list(path), range(5)]))
        for path in itertools.product(range(3), repeat=5)
        if collapsed(path) == target
    )
    loss = ctc_loss(logits, torch.tensor([5]), torch.tensor(target), torch.tensor([len(target)]), blank=0)
    expected = -np.log(total) if total > 0 else 0.0
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def drawn(scale: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Items long, tight, without targets and too short for theirs."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.tensor([60, 50, 0, 50, 1])
    targets = torch.randint(1, 29, (int(counts.sum()),), generator=draw)
    targets[60:110] = torch.arange(50) % 28 + 1  # no two alike in a row: 50 steps hold them
    return (
        scale * torch.randn(5, 29, 200, generator=draw),
        torch.tensor([200, 50, 80, 40, 1]),
        targets,
        counts,
    )


def of_torch(logits: Tensor, lengths: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    return torch.nn.functional.ctc_loss(
        logits.log_softmax(1).permute(2, 0, 1),
        targets,
        lengths,
        counts,
        reduction="sum",
        zero_infinity=True,
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_loss_and_gradient_are_torchs_in_float64(scale: float) -> None:
    logits, lengths, targets, counts = drawn(scale, seed=1)
    exact, ours = logits.double().requires_grad_(), logits.clone().requires_grad_()
    expected = of_torch(exact, lengths, targets, counts)
    loss = ctc_loss(ours, lengths, targets, counts, blank=0)
    (3 * expected).backward()
    (3 * loss).backward()
    assert exact.grad is not None
    assert ours.grad is not None
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert (ours.grad - exact.grad).abs().max() < 1e-5


def test_paths_too_unlikely_for_a_float64_are_counted_by_logarithms() -> None:
    """Logits that say blank everywhere, by e^-90 each: the targets' share is far below 1e-308."""
    logits, lengths, targets, counts = drawn(1.0, seed=2)
    logits[:, 0] += 90
    exact, ours = logits.double().requires_grad_(), logits.clone().requires_grad_()
    expected = of_torch(exact, lengths, targets, counts)
    loss = ctc_loss(ours, lengths, targets, counts, blank=0)
    expected.backward()
    loss.backward()
    assert exact.grad is not None
    assert ours.grad is not None
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert (ours.grad - exact.grad).abs().max() < 0.02  # torch's float32


def test_float64_is_torchs_own() -> None:
    logits, lengths, targets, counts = drawn(1.0, seed=3)
    loss = ctc_loss(logits.double(), lengths, targets, counts, blank=0)
    assert torch.equal(loss, of_torch(logits.double(), lengths, targets, counts))
