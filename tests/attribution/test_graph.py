"""Recording: in-place code, modules used twice, masks, and the user's module left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from attribution_nets import deviation, gradients, noise, randomised
from torch import nn

from asr_introspect.attribution import attribute
from asr_introspect.attribution.canonical import canonical
from asr_introspect.attribution.graph import UnrecordedError, record
from asr_introspect.attribution.operations import Affine, Convolution
from asr_introspect.convolution import Convolution1d
from asr_introspect.errors import IntrospectError, UsageError

TARGETS = torch.tensor([[0, 0, 1], [1, 3, 0], [1, 7, 2]])


class Twice(nn.Module):
    """One convolution and one activation used twice, the activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(3, 3, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(self.convolution(inputs))
        return self.convolution(self.activation(self.convolution(hidden)))


class InPlace(nn.Module):
    """Code that overwrites: assignment to a slice, ``+=``, ``relu_``."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(3, 3, 3, padding=1)
        self.head = nn.Conv1d(3, 3, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.convolution(inputs)
        hidden += 0.5 * inputs
        hidden[..., 6:] = 0
        hidden.relu_()
        return self.head(hidden)


class Functional(nn.Module):
    """Everything by functions, channels split and joined, slices and masks of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 3, 3))
        self.head = nn.Parameter(torch.empty(3, 4, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = F.conv1d(F.pad(inputs, (2, 0)), self.weight)
        first, second = hidden.chunk(2, 1)
        hidden = torch.cat([F.leaky_relu(second, 0.2), 2 * torch.tanh(first) - 0.3], dim=1)
        mask = torch.arange(hidden.shape[-1]) < 6
        hidden = torch.where(mask, hidden, torch.zeros(()).to(hidden))
        hidden = hidden.masked_fill(torch.arange(hidden.shape[-1]) == 2, 0.0)
        return F.conv1d(hidden, self.head)


class Parametrised(nn.Module):
    """Weights that are computed on the way, and inputs by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 3, 3, padding=1))
        self.fast = Convolution1d(3, 4, 3, padding=1, dilation=1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.fast(input=F.relu(self.convolution(inputs)))


@pytest.mark.parametrize("kind", [Twice, InPlace, Functional, Parametrised])
def test_code_of_any_style_is_followed(kind: type[nn.Module]) -> None:
    network = randomised(kind(), 1)
    inputs = noise(2, 3, 8, seed=1)
    found = attribute(network, inputs, TARGETS, method="gradient")
    assert not found.coverage.whole
    assert deviation(found.dense(), gradients(network, inputs, TARGETS)) < 1e-10
    zero = attribute(network, inputs, TARGETS, composite="0")
    if kind is not Functional:  # tanh is not piecewise linear
        assert deviation(zero.dense(), gradients(network, inputs, TARGETS) * inputs[TARGETS[:, 0]]) < 1e-10


def test_a_module_used_twice_is_two_layers() -> None:
    """zennit overwrites the stored input of the first use and gives other values."""
    network = randomised(Twice(), 1)
    inputs = noise(2, 3, 8, seed=1)
    first, second, third = (copy.deepcopy(network.convolution) for _ in range(3))
    unrolled = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third).eval()
    for composite in ("epsilon-relative", "z+"):
        shared = attribute(network, inputs, TARGETS, composite=composite)
        plain = attribute(unrolled, inputs, TARGETS, composite=composite)
        assert deviation(shared.windows, plain.windows) < 1e-12
    with pytest.raises(UsageError, match=r"convolution:1, convolution:2"):
        attribute(network, inputs, TARGETS, at=["convolution"])
    inner = attribute(network, inputs, TARGETS, method="gradient", at=["convolution:2"])
    assert list(inner) == ["convolution:2"]


def test_the_users_module_is_left_as_it_was() -> None:
    """captum leaves activations on the module, zennit 1.0 a new bias in the state dict."""
    network = randomised(
        nn.Sequential(nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 3, 1))
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in network.named_modules()}
    inputs = noise(2, 3, 8)
    for options in (
        {},
        {"method": "gradient"},
        {"method": "smoothgrad", "samples": 2},
        {"composite": "nonsense"},
    ):
        try:
            attribute(network, inputs, TARGETS % torch.tensor([2, 6, 3]), **options)
        except UsageError:
            assert options == {"composite": "nonsense"}
        assert list(network.state_dict()) == list(before)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        for name, module in network.named_modules():
            assert set(vars(module)) == attributes[name]
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
            assert not module.training
        assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_is_left_behind_when_the_network_itself_fails() -> None:
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Linear(99, 2)).eval()
    with pytest.raises(RuntimeError):
        attribute(network, noise(1, 3, 8).float(), TARGETS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_hidden_computation_is_refused_not_guessed() -> None:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * inputs

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            return 2 * gradient

    class Network(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return F.relu(Hidden.apply(inputs))

    with pytest.raises(UnrecordedError, match="Hidden"):
        attribute(Network().eval(), noise(1, 3, 8), torch.tensor([[0, 0, 1]]))


def test_a_value_changed_through_a_view_is_refused() -> None:
    class Network(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = 2 * inputs
            hidden[:, :2].mul_(3)
            return hidden * 1

    with pytest.raises(IntrospectError, match="view"):
        attribute(Network().eval(), noise(1, 3, 8), torch.tensor([[0, 0, 1]]))


def test_non_finite_values_are_refused() -> None:
    network = randomised(nn.Sequential(nn.Conv1d(3, 4, 3)))
    inputs = noise(1, 3, 8)
    with pytest.raises(IntrospectError, match="inputs"):
        attribute(network, inputs * float("nan"), torch.tensor([[0, 0, 1]]))
    with torch.no_grad():
        network[0].weight[0] = float("nan")
    with pytest.raises(IntrospectError, match="weights"):
        attribute(network, inputs, torch.tensor([[0, 0, 1]]))


CHAINS = {
    "conv-norm": [nn.Conv1d(4, 5, 3, padding=1), nn.BatchNorm1d(5)],
    "conv-dropout-norm": [nn.Conv1d(4, 5, 3, padding=1), nn.Dropout(0.5), nn.BatchNorm1d(5)],
    "norm-unpadded-conv": [nn.BatchNorm1d(4), nn.Conv1d(4, 5, 3)],
    "grouped-norm": [nn.BatchNorm1d(4), nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d(6)],
    "chain": [
        *(nn.Conv1d(4, 5, 3, padding=1, bias=False), nn.BatchNorm1d(5), nn.ReLU()),
        *(nn.ConstantPad1d((2, 1), 0.0), nn.Conv1d(5, 4, 3), nn.Dropout1d(0.1), nn.BatchNorm1d(4), nn.ReLU()),
    ],
    "transposed-norm": [nn.ConvTranspose1d(4, 6, 3, 2, groups=2), nn.BatchNorm1d(6)],
    "norm-norm": [nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5), nn.BatchNorm1d(5)],
}


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_batch_norm_is_folded_where_that_is_exact(name: str) -> None:
    network = randomised(copy.deepcopy(nn.Sequential(*CHAINS[name])), 3)
    inputs = noise(2, 4, 9)
    graph = record(network, inputs)
    program = canonical(graph)
    assert not any(isinstance(each, Affine) for each in program.operations.values())
    assert program.deviation() < 1e-12
    single = canonical(record(network.float(), inputs.float()))
    assert single.deviation() < 1e-5


def test_linear_norm_is_folded_too() -> None:
    for layers in ([nn.Linear(4, 5), nn.BatchNorm1d(5)], [nn.BatchNorm1d(4), nn.Linear(4, 5)]):
        network = randomised(nn.Sequential(*layers, nn.ReLU(), nn.Linear(5, 3)), 3)
        program = canonical(record(network, noise(6, 4)))
        assert not any(isinstance(each, Affine) for each in program.operations.values())
        assert program.deviation() < 1e-12


def test_batch_norm_before_zero_padding_is_kept_apart() -> None:
    """Folding it forward would shift the padding; the exact alternative is an affine layer of its own."""
    network = randomised(nn.Sequential(nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3, padding=1)), 3)
    inputs = noise(2, 4, 8)
    program = canonical(record(network, inputs))
    kinds = [type(each) for each in program.operations.values()]
    assert kinds == [Affine, Convolution]
    found = attribute(network, inputs, TARGETS, composite="0")
    assert found.coverage.rules()["0"] == "norm"
    product = gradients(network, inputs, TARGETS) * inputs[TARGETS[:, 0]]
    assert deviation(found.dense(), product) < 1e-10
    assert (
        deviation(
            attribute(network, inputs, TARGETS, method="gradient").dense(), product / inputs[TARGETS[:, 0]]
        )
        < 1e-10
    )


def test_a_relu_between_is_never_folded_across() -> None:
    network = randomised(
        nn.Sequential(nn.Conv1d(4, 5, 3), nn.ReLU(), nn.BatchNorm1d(5), nn.Conv1d(5, 3, 3)), 3
    )
    program = canonical(record(network, noise(2, 4, 9)))
    assert program.deviation() < 1e-12
    assert not any(isinstance(each, Affine) for each in program.operations.values())
