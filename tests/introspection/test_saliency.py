"""Saliency-adjusted profiles against a plain loop: an autograd pass per letter, windows cut by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_introspect.attribution import attribute
from asr_introspect.corpus.records import Utterance
from asr_introspect.errors import UsageError
from asr_introspect.introspection import offsets, saliency
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.saliency import WEIGHTS, SaliencySums
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, Forward, forward_pass
from tests.experiments.recognisers import tiny_recogniser

FRAMES = (240, 131, 64)
GROUPS = ("A", "B", "C")


@pytest.fixture
def recogniser(tmp_path: Path) -> Recogniser:
    return tiny_recogniser(tmp_path)


def passed(recogniser: Recogniser, frames: tuple[int, ...] = FRAMES) -> Forward:
    random = torch.Generator().manual_seed(4)
    inputs = [torch.randn(128, count, generator=random) for count in frames]
    utterances = [Utterance(str(i), Path("none"), "", "", "", n / 100) for i, n in enumerate(frames)]
    layers = (INPUT, *LAYERS)
    (forward,) = forward_pass(recogniser, utterances, layers=layers, spectrograms=lambda i: inputs[i])
    return forward


def letters(forward: Forward, count: int = 20) -> tuple[np.ndarray, ...]:
    """Item, step, class and, by layer, moved positions."""
    random = np.random.default_rng(7)
    item = random.integers(0, len(forward.lengths), count)
    step = np.array([random.integers(0, int(forward.lengths[i])) for i in item])
    return item, step, random.integers(0, 2, count)  # nothing of the third class


def by_autograd(
    recogniser: Recogniser, forward: Forward, item: int, step: int, label: int
) -> dict[str, torch.Tensor]:
    """Gradients of the letter's logit less the mean of the others at every layer, ``(C, T)``."""
    outputs = forward.activations[INPUT][item : item + 1, :, : int(forward.frames[item])]
    found = {INPUT: outputs.requires_grad_()}
    for name, block in recogniser.network.blocks():
        outputs = block(outputs)
        found[name] = outputs
    logits = outputs[0, :, step]
    others = (logits.sum() - logits[label]) / (len(logits) - 1)
    kept = {name: values for name, values in found.items() if name != LAYERS[-1]}
    gradients = torch.autograd.grad(logits[label] - others, list(kept.values()))
    return {name: each[0] for name, each in zip(kept, gradients, strict=True)}


def by_one_walk(
    recogniser: Recogniser, forward: Forward, item: int, step: int, label: int
) -> dict[str, torch.Tensor]:
    """LRP of one letter of one utterance alone, ``(C, T)``."""
    found = attribute(
        recogniser.network,
        forward.activations[INPUT][item : item + 1, :, : int(forward.frames[item])],
        torch.tensor([[0, step, label]]),
        composite="epsilon-relative",
        against="mean",
        at=(INPUT, *LAYERS[:-1]),
    )
    return {name: each.dense()[0] for name, each in found.items()}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("moved", [False, True])
def test_equal_to_a_plain_loop(recogniser: Recogniser, weight: str, moved: bool) -> None:
    forward = passed(recogniser)
    item, step, label = letters(forward)
    layout = cones(recogniser.network)
    random = np.random.default_rng(1)
    positions = {}
    for name, cone in layout.items():
        shift = random.integers(-9, 10, len(step)) if moved and cone.shifts else 0
        positions[name] = cone.stride * step + shift
    sums = SaliencySums(recogniser, GROUPS, (weight,), layout)
    for some in np.array_split(np.arange(len(item)), 3):
        sums.add(forward, item[some], step[some], label[some], {n: p[some] for n, p in positions.items()})
    one = by_one_walk if weight == "relevance" else by_autograd
    maps = [
        one(recogniser, forward, *each)
        for each in zip(item.tolist(), step.tolist(), label.tolist(), strict=True)
    ]
    for name, cone in layout.items():
        if name == LAYERS[-1]:
            assert sums.moments(weight, name) is None
            continue
        found = sums.moments(weight, name)
        assert found is not None
        windows = np.full((len(item), found.mean.shape[1], cone.positions), np.nan)
        for n in range(len(item)):
            saliency = maps[n][name].double().numpy()
            activation = forward.activations[name][item[n], :, : saliency.shape[1]].detach().double().numpy()
            begin = cone.stride * step[n] + cone.first
            seen = range(max(begin, 0), min(begin + cone.positions, saliency.shape[1]))
            if weight == "gradient":
                value = activation * np.abs(saliency) / np.abs(saliency[:, seen]).mean()
            else:
                value = saliency * activation if weight == "gradient-activation" else saliency
                value = value / np.abs(value[:, seen]).mean()
            for cell in range(cone.positions):
                at = positions[name][n] + cone.first + cell
                if 0 <= at < saliency.shape[1]:
                    windows[n, :, cell] = value[:, at] if at in seen else 0.0
        for group in range(3):
            own = windows[label == group]
            count = np.isfinite(own[:, 0]).sum(0)
            assert np.array_equal(found.count[group], count)
            some = np.flatnonzero(count)
            if len(some) == 0:
                assert not found.mean[group].any()
                continue
            mean = np.nanmean(own[:, :, some], 0)
            m2 = np.nansum(np.square(own[:, :, some] - mean), 0)
            scale = np.abs(np.nan_to_num(windows)).max()
            np.testing.assert_allclose(found.mean[group][:, some], mean, atol=2e-4 * scale)
            np.testing.assert_allclose(found.m2[group][:, some], m2, atol=2e-4 * scale**2 * max(len(own), 1))
        assert sums.moments(weight, name) is None  # used up


def test_an_instance_alone_has_the_activation_times_a_weight_of_mean_one(recogniser: Recogniser) -> None:
    forward = passed(recogniser)
    step = np.array([60])
    layout = cones(recogniser.network)
    sums = SaliencySums(recogniser, GROUPS, ("gradient", "relevance"), layout)
    at = {name: cone.stride * step for name, cone in layout.items()}
    sums.add(forward, np.array([2]), step, np.array([1]), at)  # the longest is last
    cone = layout["layer9"]
    found = sums.moments("gradient", "layer9")
    assert found is not None
    begin = 60 + cone.first
    activation = forward.activations["layer9"][2, :, begin : begin + cone.positions].numpy()
    assert found.count.tolist() == [[0] * 32, [1] * 32, [0] * 32]
    assert not found.mean[1][activation == 0].any()
    weights = found.mean[1][activation > 0] / activation[activation > 0]
    assert (weights >= 0).all()
    assert np.abs(found.m2).max() < 1e-12 * np.square(found.mean).max()
    relevance = sums.moments("relevance", "layer9")
    assert relevance is not None
    assert np.abs(relevance.mean[1]).mean() == pytest.approx(1, rel=1e-5)


def test_a_long_utterance_in_pieces_is_the_whole(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = passed(recogniser, (700,))
    random = np.random.default_rng(3)
    step = random.integers(0, 350, 30)
    label, item = random.integers(0, 3, 30), np.zeros(30, np.int64)
    layout = cones(recogniser.network)
    at = {name: cone.stride * step for name, cone in layout.items()}
    found = []
    for pieces in (False, True):
        if pieces:
            monkeypatch.setattr(offsets, "LONGEST_SECONDS", 2.0)
            monkeypatch.setattr(offsets, "PIECE_STEPS", 100)
        sums = SaliencySums(recogniser, GROUPS, ("gradient",), layout)
        sums.add(forward, item, step, label, at)
        found.append([sums.moments("gradient", name) for name in (INPUT, "layer1", "layer9")])
    for whole, cut in zip(*found, strict=True):
        assert whole is not None
        assert cut is not None
        assert np.array_equal(whole.count, cut.count)
        np.testing.assert_allclose(cut.mean, whole.mean, atol=1e-5 * np.abs(whole.mean).max())


def test_nothing_and_unknown_weights(recogniser: Recogniser) -> None:
    layout = cones(recogniser.network)
    with pytest.raises(UsageError, match="gradient-activation"):
        SaliencySums(recogniser, GROUPS, ("gradient-activatoin",), layout)
    with pytest.raises(UsageError, match="relevance"):
        saliency.weighted("relevanc", *(torch.zeros(1, 1, 1),) * 2, torch.ones(1, 1))
    sums = SaliencySums(recogniser, GROUPS, WEIGHTS, layout)
    forward = passed(recogniser)
    nothing = np.zeros(0, np.int64)
    sums.add(forward, nothing, nothing, nothing, dict.fromkeys(layout, nothing))
    assert sums.moments("gradient", "layer9") is None


def test_a_dead_window_stays_zero() -> None:
    dead = torch.zeros(2, 3, 4)
    for weight in WEIGHTS:
        found = saliency.weighted(weight, dead, torch.ones(2, 3, 4), torch.ones(2, 4, dtype=torch.bool))
        assert not found.any()
