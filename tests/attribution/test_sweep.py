"""Cones against whole passes: random networks of every kind, every rule; float32 against its own noise."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from attribution_nets import deviation, gradients, noise, randomised
from random_nets import KINDS, every_target, random_net, size_that_fits
from torch import nn

from asr_introspect.attribution import attribute
from asr_introspect.attribution.composites import COMPOSITES, assign
from asr_introspect.attribution.relevance import Relevance
from asr_introspect.attribution.session import Session, prepare
from asr_introspect.attribution.sweep import Sweep
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter


def explained(session: Session, sweep: Sweep, whole: bool) -> Relevance:
    ((_, found),) = session.explain(sweep, 1000, whole=whole)
    return found["input"]


def bounds(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return inputs.amin() - 0.1, inputs.amax() + 0.1


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU,
        pytest.param(nn.LeakyReLU, marks=pytest.mark.speech),
        pytest.param(nn.GELU, marks=pytest.mark.speech),
    ],
)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_cones_are_whole_passes_for_every_rule(kind: str, axes: int, activation: type[nn.Module]) -> None:
    for seed in range(2):
        network = random_net(kind, axes, seed + 100, activation)
        inputs, outputs = size_that_fits(network, axes, seed)
        targets = every_target(outputs, seed)
        for against in (None, "mean"):
            session = prepare(network, inputs, targets, against=against)
            for composite in COMPOSITES:
                chosen = assign(session.program, composite)
                by_cones = explained(session, session.sweep(chosen, bounds=bounds(inputs)), whole=False)
                by_whole = explained(session, session.sweep(chosen, bounds=bounds(inputs)), whole=True)
                assert deviation(by_cones.dense(), by_whole.dense()) < 1e-10, (seed, composite)
                assert by_cones.ledger.residual is not None
                scale = by_cones.windows.abs().flatten(1).sum(1) + by_cones.scores.abs()
                assert bool((by_cones.ledger.residual.abs() <= 1e-9 * scale).all()), (seed, composite)


@pytest.mark.parametrize("backward", ["gradient", "guided-backprop", "deconvnet"])
def test_cones_are_whole_passes_for_the_gradient_family(backward: str) -> None:
    for kind in [*KINDS, "mixed"]:
        network = random_net(kind, 1, 7)
        inputs, outputs = size_that_fits(network, 1, 7)
        session = prepare(network, inputs, every_target(outputs, 7), against="mean")
        by_cones = explained(session, session.sweep(backward=backward), whole=False)
        by_whole = explained(session, session.sweep(backward=backward), whole=True)
        assert deviation(by_cones.dense(), by_whole.dense()) < 1e-10


@pytest.fixture(scope="module")
def recogniser() -> Wav2Letter:
    network = randomised(Wav2Letter(NetworkConfig(mels=8, narrow=12, wide=16), 5), seed=2)
    assert isinstance(network, Wav2Letter)
    return network


LENGTHS = torch.tensor([260, 150])
TARGETS = torch.tensor(
    [[b, step, (b + step) % 5] for b, last in ((0, 129), (1, 74)) for step in (0, 1, 30, 60, last)]
)


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
def test_single_precision_stays_within_the_rules_own_noise(recogniser: Wav2Letter, composite: str) -> None:
    """In float32 cones differ from whole passes by at most three times float32 from float64."""
    inputs = noise(2, 8, 260, seed=1)
    maps = {}
    for dtype in (torch.float64, torch.float32):
        session = prepare(recogniser.to(dtype), inputs.to(dtype), TARGETS, lengths=LENGTHS, against="mean")
        chosen = assign(session.program, composite)
        box = bounds(inputs.to(dtype))
        for whole in (False, True):
            found = explained(session, session.sweep(chosen, bounds=box), whole)
            maps[dtype, whole] = found.dense().double()
    recogniser.double()
    own = deviation(maps[torch.float32, True], maps[torch.float64, True])
    assert deviation(maps[torch.float32, False], maps[torch.float32, True]) <= 3 * own
    assert deviation(maps[torch.float32, False], maps[torch.float64, True]) <= 3 * own


def test_single_precision_gradients(recogniser: Wav2Letter) -> None:
    inputs = noise(2, 8, 260, seed=1)
    exact = attribute(recogniser.double(), inputs, TARGETS, method="gradient", lengths=LENGTHS)
    single = attribute(recogniser.float(), inputs.float(), TARGETS, method="gradient", lengths=LENGTHS)
    recogniser.double()
    assert deviation(single.windows.double(), exact.windows) < 1e-5


def test_bfloat16_runs(recogniser: Wav2Letter) -> None:
    inputs = noise(1, 8, 60, seed=1).bfloat16()
    found = attribute(recogniser.bfloat16(), inputs, torch.tensor([[0, 3, 1]]))
    recogniser.double()
    assert found.windows.dtype == torch.bfloat16
    assert bool(torch.isfinite(found.windows).all())


def test_a_chain_never_goes_whole(recogniser: Wav2Letter) -> None:
    inputs = noise(2, 8, 260, seed=1)
    for options in ({"method": "gradient"}, {"composite": "epsilon-gamma"}, {"method": "guided-backprop"}):
        found = attribute(recogniser, inputs, TARGETS, lengths=LENGTHS, **options)
        assert len(found.coverage.treatments) > 40
        assert found.coverage.whole == ()


@pytest.mark.parametrize("method", ["gradient", "guided-backprop", "lrp"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_freed_when_its_walk_ends(kind: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By counting references alone: a batch's values can take half a gigabyte, and the collector is late."""
    kept: list[weakref.ref[object]] = []
    plain = Session.__post_init__

    def noting(session: Session) -> None:
        plain(session)
        kept.extend(weakref.ref(node) for node in session.program.graph.nodes)

    monkeypatch.setattr(Session, "__post_init__", noting)
    network = random_net(kind, 1, 3)
    inputs, outputs = size_that_fits(network, 1, 3)
    gc.collect()
    gc.disable()
    try:
        found = attribute(network, inputs, every_target(outputs, 3), method)
        assert len(kept) > 3
        assert all(node() is None for node in kept)
        assert bool(torch.isfinite(found.windows).all())
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_layers_wide_enough_for_the_fast_transposed_convolution(dtype: torch.dtype) -> None:
    """From 2^14 products and 16 windows on, windows are transformed instead of convolved."""
    network = randomised(Wav2Letter(NetworkConfig(mels=48, narrow=128, wide=130), 5), seed=1).to(dtype)
    inputs = noise(1, 48, 80, seed=1).to(dtype)
    targets = torch.tensor([[0, step, step % 5] for step in range(40)])
    for given in (targets, targets[torch.arange(40) % 7 != 3]):  # evenly spaced, and not
        found = attribute(network, inputs, given, method="gradient")
        expected = gradients(network, inputs, given)
        assert deviation(found.dense(), expected) < (1e-10 if dtype == torch.float64 else 1e-5)
