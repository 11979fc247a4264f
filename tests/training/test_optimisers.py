"""Muon on convolutions: the library's on matrices, orthonormal updates, and what stays with AdamW."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asr_introspect.errors import UsageError
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.training.optimisers import Optimisers, orthogonalised


def small() -> Wav2Letter:
    network = Wav2Letter(NetworkConfig(mels=4, narrow=6, wide=8), 5)
    network.initialise(torch.Generator().manual_seed(3))
    return network


def give_gradients(network: nn.Module, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=draw)


def test_a_convolution_moves_as_its_matrix_does_in_torch() -> None:
    """torch's own rounds in bfloat16 too, elsewhere."""
    network = small()
    weight = network.layer2.convolution.weight
    start = weight.detach().flatten(1).clone()
    matrix = nn.Parameter(start.clone())
    library = torch.optim.Muon(
        [matrix], lr=0.01, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    ours = Optimisers(network, "muon", weight_decay=0.1, betas=(0.9, 0.98))
    for seed in range(3):
        give_gradients(network, seed)
        assert weight.grad is not None
        matrix.grad = weight.grad.flatten(1).clone()
        ours.step(0.01)
        library.step()
    moved, expected = weight.detach().flatten(1) - start, matrix.detach() - start
    assert (moved - expected).norm() < 0.03 * expected.norm()


def newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    """Five steps as they are written down, in float64."""
    moved = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = moved @ moved.T
        moved = (3.4445 * torch.eye(len(gram)) - 4.7750 * gram + 2.0315 * gram @ gram) @ moved
    return moved


@pytest.mark.parametrize("shape", [(256, 1792), (64, 64), (64, 100), (40, 8)])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_orthogonalised_is_five_newton_schulz_steps(shape: tuple[int, int], decay: float) -> None:
    """Of matrices whose singular values fall as 1, 2^-decay, 3^-decay...; an error of bfloat16's size."""
    draw = torch.Generator().manual_seed(5)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=draw), full_matrices=False)
    values = torch.arange(1.0, min(shape) + 1) ** -decay
    matrix = left * values @ right
    expected = newton_schulz(matrix if shape[0] <= shape[1] else matrix.T)
    expected = expected if shape[0] <= shape[1] else expected.T
    assert (orthogonalised(matrix).double() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("shape", [(6, 20), (8, 8), (9, 4)])
def test_matrices_orthogonalised_together_come_out_as_alone(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(6))
    for together, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        alone = orthogonalised(matrix)
        assert (together - alone).float().norm() < 0.02 * alone.float().norm()


def test_a_step_of_muon_has_nearly_equal_singular_values_and_adamws_size() -> None:
    """Newton-Schulz leaves singular values between 0.5 and 1.5 of a matrix that has none near zero."""
    network = small()
    weight = network.layer2.convolution.weight
    before = weight.detach().flatten(1).double().clone()
    give_gradients(network, 0)
    Optimisers(network, "muon", weight_decay=0.0, betas=(0.9, 0.98)).step(0.01)
    moved = (before - weight.detach().flatten(1).double()).numpy()
    values = np.linalg.svd(moved, compute_uv=False) / (0.01 * 0.2 * np.sqrt(max(moved.shape)))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_last_layer_and_norms_move_as_by_adamw() -> None:
    networks = small(), small()
    for network, name in zip(networks, ("muon", "adamw"), strict=True):
        optimisers = Optimisers(network, name, weight_decay=0.1, betas=(0.9, 0.98))  # type: ignore[arg-type]
        for seed in range(2):
            give_gradients(network, seed)
            optimisers.step(0.01)
    ours, plain = (dict(network.named_parameters()) for network in networks)
    same = {name for name in ours if torch.equal(ours[name], plain[name])}
    moved = {name for name, parameter in ours.items() if parameter.requires_grad}
    weights = {f"layer{i}.convolution.weight" for i in range(1, 12)}
    assert moved - same == weights


def test_state_put_back_goes_on_with_the_same_weights() -> None:
    first, second = small(), small()
    one, other = (Optimisers(n, "muon", weight_decay=0.01, betas=(0.9, 0.98)) for n in (first, second))
    give_gradients(first, 0)
    one.step(0.01)
    second.load_state_dict(first.state_dict())
    for key, name, value in one.state():
        other.load(key, name, value.clone())
    for network, optimisers in ((first, one), (second, other)):
        give_gradients(network, 1)
        optimisers.step(0.01)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_an_unknown_optimiser_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="muon"):
        Optimisers(small(), "moun", weight_decay=0.0, betas=(0.9, 0.98))  # type: ignore[arg-type]
