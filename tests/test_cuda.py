"""On a GPU as on a processor: logits, relevance, convolutions, training steps. CI has no GPU."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from asr_introspect.attribution import attribute
from asr_introspect.convolution import convolve, using_form
from asr_introspect.corpus.audio import read_audio
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.features import extract
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import find_device
from asr_introspect.resources import bundled
from asr_introspect.training.optimisers import Optimisers


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return find_device("cuda")


@pytest.fixture(scope="module")
def inputs(demo: Path) -> torch.Tensor:
    recogniser = load_model(bundled("reference"))
    utterance = read_corpus(demo).utterances[0]
    return extract(read_audio(utterance.audio), recogniser.features)[None]


@torch.no_grad()
def test_logits_in_float32_keep_its_digits(gpu: torch.device, inputs: torch.Tensor) -> None:
    network = load_model(bundled("reference")).network.eval()
    exact = copy.deepcopy(network).double()(inputs.double())
    found = network.to(gpu)(inputs.to(gpu)).cpu()
    assert (found - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize(
    "options", [{"method": "gradient"}, {"method": "lrp", "composite": "epsilon-relative"}]
)
def test_relevance(gpu: torch.device, inputs: torch.Tensor, options: dict[str, str]) -> None:
    network = load_model(bundled("reference")).network.eval()
    steps = torch.arange(20, inputs.shape[2] // 2, 40)
    targets = torch.stack([torch.zeros_like(steps), steps, torch.full_like(steps, 5)], 1)
    wanted = attribute(network, inputs, targets, **options).windows
    found = attribute(network.to(gpu), inputs.to(gpu), targets.to(gpu), **options).windows.cpu()
    assert (found - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize(("taps", "stride"), [(1, 1), (7, 1), (32, 1), (48, 2)])
def test_convolution_in_half_precision(gpu: torch.device, taps: int, stride: int) -> None:
    draw = torch.Generator().manual_seed(taps)
    exact = [torch.randn(*shape, generator=draw) for shape in ((3, 16, 90), (24, 16, taps), (24,))]
    leaves = [tensor.to(gpu, torch.bfloat16).requires_grad_() for tensor in exact]
    wanted_leaves = [leaf.detach().double().cpu().requires_grad_() for leaf in leaves]
    wanted = convolve(*wanted_leaves, stride)
    found = convolve(*leaves, stride)
    weighting = torch.randn(wanted.shape, generator=draw)
    pairs = [(found, wanted)]
    gradients = torch.autograd.grad(found, leaves, weighting.to(gpu, torch.bfloat16))
    pairs += zip(gradients, torch.autograd.grad(wanted, wanted_leaves, weighting.double()), strict=True)
    for value, expected in pairs:
        assert (value.double().cpu() - expected).norm() < 0.01 * expected.norm()
    with using_form("direct"):
        assert (convolve(*leaves, stride) - found).float().norm() < 0.01 * found.float().norm()


def test_training_steps(gpu: torch.device) -> None:
    """Two steps of Muon in float32, masked batch norm included."""
    networks = []
    draw = torch.Generator().manual_seed(2)
    batch, lengths = torch.randn(3, 128, 120, generator=draw), torch.tensor([120, 90, 64])
    for device in (torch.device("cpu"), gpu):
        network = Wav2Letter(NetworkConfig(narrow=16, wide=24, dropout=0.0, wide_dropout=0.0), 29)
        network.initialise(torch.Generator().manual_seed(1))
        network.to(device).train()
        optimisers = Optimisers(network, "muon", weight_decay=0.01, betas=(0.9, 0.98))
        for _ in range(2):
            network.zero_grad()
            network(batch.to(device), lengths.to(device)).square().mean().backward()
            optimisers.step(1e-3)
        networks.append(network.cpu().state_dict())
    for name, value in networks[0].items():
        assert (networks[1][name] - value).abs().max() <= 0.02 * value.abs().max() + 1e-6, name
