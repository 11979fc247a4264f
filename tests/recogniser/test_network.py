"""The network: its geometry by gradients, its batches by running alone."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr_introspect.errors import UsageError
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.network import (
    LAYERS,
    PRESETS,
    MaskedBatchNorm1d,
    NetworkConfig,
    Wav2Letter,
    valid,
)

CONE_POSITIONS = {12: 1, 11: 1, 10: 1, 9: 32, 8: 38, 7: 44, 6: 50, 5: 56, 4: 62, 3: 68, 2: 74, 1: 80}
"""Positions of each layer's output that one step sees (methods.md, section 4)."""


def network(config: NetworkConfig, classes: int = 29, seed: int = 0) -> Wav2Letter:
    """A net with random weights and batch-norm statistics that are nothing like 0 and 1."""
    net = Wav2Letter(config, classes).eval()
    random = torch_generator(seed, "test network")
    net.initialise(random)
    for module in net.modules():
        if isinstance(module, MaskedBatchNorm1d):
            for values, low, high in (
                (module.running_mean, -1, 1),
                (module.running_var, 0.5, 2),
                (module.weight.data, 0.5, 2),
                (module.bias.data, -1, 1),
            ):
                values.uniform_(low, high, generator=random)
    return net


TINY = NetworkConfig(mels=16, narrow=12, wide=20)


def support(gradient: Tensor) -> tuple[int, int]:
    """First and last frame at which a gradient ``(F, T)`` is not zero."""
    frames = gradient.abs().sum(0).nonzero()[:, 0]
    return int(frames[0]), int(frames[-1])


@pytest.mark.parametrize("config", [TINY, PRESETS["wav2letter-small"]], ids=["tiny", "small"])
@pytest.mark.parametrize("step", [0, 30, 60, 150, 299])
def test_a_step_sees_the_frames_of_the_map(config: NetworkConfig, step: int) -> None:
    net = network(config).double()
    inputs = torch.randn(1, config.mels, 600, generator=torch_generator(1, "input"), dtype=torch.float64)
    inputs.requires_grad_()
    (gradient,) = torch.autograd.grad(net(inputs)[0, :, step].square().sum(), inputs)
    seen = support(gradient[0])
    assert seen == (max(0, 2 * step - 101), min(599, 2 * step + 104))
    if step in (60, 150):
        assert seen[1] - seen[0] + 1 == 206


def test_the_computed_context_is_the_map() -> None:
    before, after = network(TINY).context()
    assert (before, after) == (101, 104)
    assert before + after + 1 == 206


@pytest.mark.parametrize("layer", range(1, 12))
def test_cone_of_each_layer_by_gradient_support(layer: int) -> None:
    net = network(TINY).double()
    kept: dict[str, Tensor] = {}
    block = net.get_submodule(LAYERS[layer - 1])
    block.register_forward_hook(lambda _, __, output: kept.update(here=output))
    logits = net(torch.randn(1, 16, 600, generator=torch_generator(1, "input"), dtype=torch.float64))
    (gradient,) = torch.autograd.grad(logits[0, :, 150].square().sum(), kept["here"])
    first, last = support(gradient[0])
    assert last - first + 1 == CONE_POSITIONS[layer]


@pytest.mark.parametrize("frames", [2, 3, 47, 48, 400, 401])
def test_steps_are_half_the_frames(frames: int) -> None:
    assert network(TINY)(torch.zeros(1, 16, frames)).shape == (1, 29, frames // 2)


def test_presets_have_the_sizes_that_are_stated() -> None:
    sizes = {name: sum(p.numel() for p in Wav2Letter(c, 29).parameters()) for name, c in PRESETS.items()}
    assert sizes["wav2letter"] == pytest.approx(26.3e6, rel=0.005)
    assert sizes["wav2letter-small"] * 2 < 20e6
    shapes = [
        [(b.convolution.kernel_size, b.convolution.stride) for _, b in Wav2Letter(c, 29).blocks()]
        for c in PRESETS.values()
    ]
    assert shapes[0] == shapes[1]
    assert [kernel for (kernel,), _ in shapes[0]] == [48, *[7] * 8, 32, 1, 1]


@pytest.mark.parametrize(
    ("config", "precision", "tolerance"),
    [(TINY, torch.float64, 1e-12), (PRESETS["wav2letter-small"], torch.float32, 1e-5)],
    ids=["tiny in float64", "small in float32"],
)
def test_logits_are_the_same_alone_and_in_any_batch(
    config: NetworkConfig, precision: torch.dtype, tolerance: float
) -> None:
    net = network(config).to(precision)
    lengths = [2, 3, 31, 150, 151, 300]
    random = torch_generator(2, "batches")
    items = [torch.randn(config.mels, length, generator=random, dtype=precision) for length in lengths]
    with torch.no_grad():
        alone = [net(item[None])[0] for item in items]
        # Relative: float32 convolutions err by 1e-6 of the largest value, in float64's eyes, in any form.
        tolerance *= max(logits.abs().max().item() for logits in alone)
        for chosen in ([0, 5], [5, 4, 3, 2, 1, 0], [2, 3], [1, 1, 4]):
            batch = torch.full((len(chosen), config.mels, 310), 7.0).to(precision)  # past the end
            for row, item in enumerate(chosen):
                batch[row, :, : lengths[item]] = items[item]
            together = net(batch, torch.tensor([lengths[item] for item in chosen]))
            for row, item in enumerate(chosen):
                steps = lengths[item] // 2
                assert (together[row, :, :steps] - alone[item]).abs().max() < tolerance
                assert (together[row, :, steps:] == 0).all()


def test_without_the_mask_padding_would_leak() -> None:
    """The test above can fail: padding that is not masked moves the last steps."""
    net = network(TINY)
    item = torch.randn(1, 16, 150, generator=torch_generator(3, "leak"))
    with torch.no_grad():
        leaking = net(torch.nn.functional.pad(item, (0, 100)))[..., :75]
        difference = (leaking - net(item)).abs().amax((0, 1))
    assert difference[-1] > 1e-2
    assert difference[:20].max() < 1e-5


def test_masked_batch_norm_is_batch_norm_of_the_valid_positions() -> None:
    random = torch_generator(4, "batch norm")
    lengths = [9, 4, 1]
    inputs = torch.randn(3, 5, 9, generator=random) * 3 + 2
    inputs.requires_grad_()
    masked, plain = MaskedBatchNorm1d(5), nn.BatchNorm1d(5)
    for module in (masked, plain):
        module.weight.data.uniform_(0.5, 2, generator=torch_generator(5, "weights"))
        module.bias.data.uniform_(-1, 1, generator=torch_generator(6, "biases"))
    mask = valid(torch.tensor(lengths), 9)
    together = masked(inputs, mask.float())
    concatenated = torch.cat([inputs[i, :, :length] for i, length in enumerate(lengths)], 1)
    expected = plain(concatenated.T)
    found = torch.cat([together[i, :, :length] for i, length in enumerate(lengths)], 1).T
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(masked.running_mean, plain.running_mean, atol=1e-6)
    assert torch.allclose(masked.running_var, plain.running_var, atol=1e-6)
    toward = torch.randn(found.shape, generator=random)
    (gradient,) = torch.autograd.grad((found * toward).sum(), inputs)
    (reference,) = torch.autograd.grad((expected * toward).sum(), inputs)
    assert torch.allclose(gradient, reference, atol=1e-5)
    assert (gradient[~mask.expand_as(gradient)] == 0).all()


def test_masked_batch_norm_without_a_mask_and_in_eval_is_torchs() -> None:
    inputs = torch.randn(3, 5, 9, generator=torch_generator(7, "batch norm"))
    masked, plain = MaskedBatchNorm1d(5), nn.BatchNorm1d(5)
    assert torch.allclose(masked(inputs), plain(inputs), atol=1e-6)
    masked.eval()
    plain.eval()
    assert torch.allclose(masked(inputs, torch.zeros(3, 1, 9)), plain(inputs), atol=1e-6)


def test_batch_norm_statistics_do_not_see_the_padding() -> None:
    short, long = Wav2Letter(TINY, 29), Wav2Letter(TINY, 29)
    long.load_state_dict(short.state_dict())
    items = torch.randn(2, 16, 120, generator=torch_generator(8, "padding"))
    lengths = torch.tensor([120, 60])
    for net, padding in ((short, 0), (long, 200)):
        for module in net.modules():
            if isinstance(module, nn.Dropout1d):
                module.p = 0.0
        net(torch.nn.functional.pad(items, (0, padding), value=5.0), lengths)
    for (name, a), b in zip(short.state_dict().items(), long.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-5), name


def test_initial_weights_come_from_the_generator_alone() -> None:
    one, two, other = network(TINY, seed=1), network(TINY, seed=1), network(TINY, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.layer1.convolution.weight, other.layer1.convolution.weight)
    deviation = float(one.layer10.convolution.weight.detach().std())
    assert deviation == pytest.approx(np.sqrt(2 / (12 * 32)), rel=0.05)


def test_no_layer_may_be_empty() -> None:
    with pytest.raises(UsageError, match="at least one channel"):
        NetworkConfig(narrow=0)
