"""Norm, activation, dropout and mask in one pass against the same steps one after another in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from asr_introspect.recogniser import network as networks
from asr_introspect.recogniser.fused import normalise_activate
from asr_introspect.recogniser.network import Activation, NetworkConfig, Wav2Letter

EPSILON = 1e-5
ITEMS, CHANNELS, POSITIONS = 4, 19, 45


def signals(dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = ITEMS, POSITIONS, CHANNELS
    return {
        "signal": (torch.randn(shape, generator=draw) * 2 + 1).to(dtype).transpose(1, 2),
        "gradient": torch.randn(shape, generator=draw).to(dtype).transpose(1, 2),
        "weight": torch.randn(CHANNELS, generator=draw),
        "bias": torch.randn(CHANNELS, generator=draw),
        "kept": (torch.rand(ITEMS, CHANNELS, generator=draw) > 0.3).float() / 0.7,
        "lengths": torch.tensor([POSITIONS, 17, 1, 0]),
    }


def one_after_another(given: dict[str, Tensor], elu: bool) -> tuple[Tensor, ...]:
    """Outputs, gradients by signal, weight and bias, mean and unbiased variance, by autograd in float64."""
    signal, weight, bias = (given[n].double().requires_grad_() for n in ("signal", "weight", "bias"))
    mask = (torch.arange(POSITIONS) < given["lengths"][:, None])[:, None].double()
    count = mask.sum()
    mean = (signal * mask).sum((0, 2)) / count
    centred = (signal - mean[:, None]) * mask
    variance = centred.square().sum((0, 2)) / count
    normalised = centred / (variance + EPSILON).sqrt()[:, None] * weight[:, None] + bias[:, None]
    activated = nn.functional.elu(normalised) if elu else normalised.relu()
    outputs = activated * given["kept"].double()[:, :, None] * mask
    outputs.backward(given["gradient"].double())  # type: ignore[no-untyped-call]
    assert signal.grad is not None
    assert weight.grad is not None
    assert bias.grad is not None
    unbiased = variance * count / (count - 1)
    return outputs.detach(), signal.grad, weight.grad, bias.grad, mean.detach(), unbiased.detach()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("elu", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_one_pass_equals_the_steps_one_after_another(
    dtype: torch.dtype, tolerance: float, elu: bool, seed: int
) -> None:
    given = signals(dtype, seed)
    signal, weight, bias = (given[n].clone().requires_grad_() for n in ("signal", "weight", "bias"))
    running = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    outputs = normalise_activate(
        signal, weight, bias, given["kept"], given["lengths"], (*running, 1.0, EPSILON), elu=elu
    )
    outputs.backward(given["gradient"])  # type: ignore[no-untyped-call]
    found = outputs.detach(), signal.grad, weight.grad, bias.grad, *running
    for ours, exact in zip(found, one_after_another(given, elu), strict=True):
        assert ours is not None
        assert (ours.double() - exact).abs().max() <= tolerance * exact.abs().max()
    assert outputs.dtype == dtype
    assert not outputs[1, :, 17:].any()
    assert not outputs[3].any()


def test_without_dropout_channels_are_kept_as_they_are() -> None:
    given = signals(torch.float32, 4)
    running = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    arguments = given["signal"], given["weight"], given["bias"]
    statistics = (*running, 0.1, EPSILON)
    ones = torch.ones(ITEMS, CHANNELS)
    first = normalise_activate(*arguments, None, given["lengths"], statistics)
    assert torch.equal(first, normalise_activate(*arguments, ones, given["lengths"], statistics))


def test_far_below_zero_elu_is_minus_one() -> None:
    signal = torch.tensor([[[-1e4, -90.0, -80.0, 0.0, 80.0, 1e4]]])
    statistics = torch.zeros(1), torch.ones(1), 0.0, EPSILON
    outputs = normalise_activate(
        signal, torch.full((1,), 1e4), torch.zeros(1), None, torch.tensor([6]), statistics, elu=True
    )
    assert outputs.min() == -1
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_a_network_learns_the_same_with_and_without(
    monkeypatch: pytest.MonkeyPatch, activation: Activation
) -> None:
    config = NetworkConfig(mels=6, narrow=8, wide=10, activation=activation, dropout=0.0, wide_dropout=0.0)
    draw = torch.Generator().manual_seed(1)
    inputs, lengths = torch.randn(3, 6, 300, generator=draw), torch.tensor([300, 240, 31])

    def learned() -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        network = Wav2Letter(config, 5)
        network.initialise(torch.Generator().manual_seed(2))
        network.train()
        logits = network(inputs, lengths)
        logits.square().sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        return logits.detach(), gradients, dict(network.named_buffers())

    fused = learned()
    monkeypatch.setattr(networks, "can_be_fused", lambda signal, activation: False)
    plain = learned()
    assert (fused[0] - plain[0]).abs().max() < 1e-5 * plain[0].abs().max()
    for one, other in zip(fused[1:], plain[1:], strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            close = (one[name] - value).abs().max() <= 1e-4 * value.abs().max()
            assert close, name


def test_dropout_drops_whole_channels_of_an_item_at_its_share() -> None:
    network = Wav2Letter(NetworkConfig(mels=6, narrow=400, wide=8, dropout=0.25), 5)
    network.initialise(torch.Generator().manual_seed(2))
    network.train()
    nn.init.constant_(network.layer1.normalisation.bias, 9.0)  # every unit is active
    with torch.random.fork_rng():
        torch.manual_seed(5)
        outputs = network.layer1(torch.randn(4, 6, 80), torch.ones(4, 1, 40))
    dropped = (outputs == 0).all(2)
    assert torch.equal(dropped, (outputs == 0).any(2))
    assert 0.2 < dropped.float().mean() < 0.3
