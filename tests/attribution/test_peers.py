"""zennit and captum as second opinions where they are right; their silent traps as tests of ours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attribution_nets import deviation, gradients, noise, randomised
from torch import nn

from asr_introspect.attribution import attribute, rules
from asr_introspect.errors import UsageError
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter

pytestmark = pytest.mark.speech  # peers belong to `make test`

LOW, HIGH = -3.0, 3.5
TINY = 1e-12


@pytest.fixture(scope="module")
def zennit() -> Any:
    """zennit; it imports torchvision, which on a CPU build of torch lacks two schemas."""
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_kept"] = library
    package = pytest.importorskip("zennit")
    pytest.importorskip("zennit.attribution")
    return package


@pytest.fixture(scope="module")
def captum() -> Any:
    return pytest.importorskip("captum.attr")


def chain(seed: int, bias: bool = True) -> nn.Sequential:
    """Convolution, batch norm, ReLU with strides, groups and dilation; signed inputs."""
    return randomised(
        nn.Sequential(
            nn.ConstantPad1d((3, 2), 0.0),
            nn.Conv1d(4, 8, 6, 2, bias=bias),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 8, 3, padding=1, groups=2, bias=bias),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 6, 3, padding=2, dilation=2, bias=bias),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Conv1d(6, 3, 1, bias=bias),
        ),
        seed,
    )


def image_net(seed: int) -> nn.Sequential:
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 5, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(10, 8),
            nn.ReLU(),
            nn.Linear(8, 4),
        ),
        seed,
    )


def by_zennit(
    network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, rule: Callable[[], Any]
) -> torch.Tensor:
    """Relevance by zennit with one rule for all linear layers, batch norm merged; one pass per target."""
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite
    from zennit.rules import Norm, Pass
    from zennit.types import Activation, AvgPool, Linear

    layer_map = [
        (Activation, Pass()),
        (AvgPool, Norm(stabilizer=TINY)),
        (nn.ConstantPad1d, Pass()),
        (Linear, rule()),
    ]
    layer_map = [pair for pair in layer_map if pair[0] is not nn.ConstantPad1d]
    composite = LayerMapComposite(layer_map, canonizers=[SequentialMergeBatchNorm()])
    network = copy.deepcopy(network)
    for module in network.modules():  # zennit keeps the epsilon of a merged norm: a factor of 1 - epsilon / 2
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_var += module.eps
            module.eps = 0.0
    found = []
    for item, *position, label in targets.tolist():

        def start(output: torch.Tensor, at: tuple[int, ...] = (0, label, *position)) -> torch.Tensor:
            mask = torch.zeros_like(output)
            mask[at] = output[at]
            return mask

        with Gradient(model=network, composite=composite) as attributor:
            _, relevance = attributor(inputs[item : item + 1].clone(), start)
        found.append(relevance[0])
    return torch.stack(found).detach()


def zennit_rules() -> dict[str, Callable[[], Any]]:
    from zennit import rules as theirs

    return {
        "0": lambda: theirs.Epsilon(epsilon=TINY),
        "epsilon": lambda: theirs.Epsilon(epsilon=1e-6),
        "z+": lambda: theirs.AlphaBeta(alpha=1.0, beta=0.0, stabilizer=TINY),
        "alpha2-beta1": lambda: theirs.AlphaBeta(alpha=2.0, beta=1.0, stabilizer=TINY),
        "gamma": lambda: theirs.Gamma(gamma=0.25, stabilizer=TINY),
        "w^2": lambda: theirs.WSquare(stabilizer=TINY, zero_params="bias"),
        "flat": lambda: theirs.Flat(stabilizer=TINY),
        "z^B": lambda: theirs.ZBox(
            torch.tensor(LOW), torch.tensor(HIGH), stabilizer=TINY, zero_params="bias"
        ),
    }


TARGETS = torch.tensor([[0, 0, 1], [0, 9, 2], [1, 5, 0], [1, 9, 1]])
IMAGES = torch.tensor([[0, 1], [1, 3], [1, 0]])
NAMES = ["0", "epsilon", "z+", "alpha2-beta1", "gamma"]


@pytest.mark.parametrize("name", NAMES)
def test_chains_agree_with_zennit(zennit: Any, name: str) -> None:
    network, inputs = chain(1), noise(2, 4, 20, seed=2)
    expected = by_zennit(network, inputs, TARGETS, zennit_rules()[name])
    found = attribute(network, inputs, TARGETS, composite=rules.RULES[name])
    assert deviation(found.dense(), expected) < 1e-8


@pytest.mark.parametrize("name", ["w^2", "flat", "z^B"])
def test_first_layer_rules_agree_with_zennit(zennit: Any, name: str) -> None:
    """On one layer without padding: with padding zennit counts inputs that are not there."""
    network = randomised(nn.Sequential(nn.Conv1d(4, 3, 5)), 1)
    inputs = noise(2, 4, 14, seed=2).clamp(LOW, HIGH)
    expected = by_zennit(network, inputs, TARGETS, zennit_rules()[name])
    options = {"bounds": (LOW, HIGH)} if name == "z^B" else {}
    found = attribute(network, inputs, TARGETS, composite=rules.RULES[name], **options)
    assert deviation(found.dense(), expected) < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_image_nets_agree_with_zennit(zennit: Any, name: str) -> None:
    network, inputs = image_net(3), noise(2, 3, 8, 12, seed=2)
    expected = by_zennit(network, inputs, IMAGES, zennit_rules()[name])
    chosen = rules.RULES[name]
    composite = {nn.Conv2d: chosen, nn.Linear: chosen, nn.AvgPool2d: rules.ZERO}
    found = attribute(network, inputs, IMAGES, composite=composite)
    assert deviation(found.dense(), expected) < 1e-8


@pytest.mark.parametrize("method", ["guided-backprop", "deconvnet"])
def test_guided_walks_agree_with_zennit(zennit: Any, method: str) -> None:
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.rules import ReLUDeconvNet, ReLUGuidedBackprop

    rule = ReLUGuidedBackprop() if method == "guided-backprop" else ReLUDeconvNet()
    network, inputs = image_net(3), noise(2, 3, 8, 12, seed=2)
    found = attribute(network, inputs, IMAGES, method=method)
    for row, (item, label) in enumerate(IMAGES.tolist()):
        with Gradient(model=network, composite=LayerMapComposite([(nn.ReLU, rule)])) as attributor:
            _, expected = attributor(inputs[item : item + 1].clone(), torch.eye(4).double()[[label]])
        assert deviation(found.windows[row : row + 1], expected) < 1e-10


def test_the_recogniser_agrees_with_zennit(zennit: Any) -> None:
    """The real architecture, epsilon and z+, at both borders."""
    network = randomised(Wav2Letter(NetworkConfig(mels=6, narrow=5, wide=7), 4), seed=3)
    layers: list[nn.Module] = []
    for _, block in network.blocks():
        given = block.convolution
        plain = nn.Conv1d(given.in_channels, given.out_channels, given.kernel_size[0], given.stride[0])
        plain.double().load_state_dict(given.state_dict())
        layers += [nn.ConstantPad1d(block.padding.padding, 0.0), plain]
        if not block.is_last:
            layers += [nn.BatchNorm1d(given.out_channels), nn.ReLU()]
            layers[-2].double().load_state_dict(block.normalisation.state_dict())
    sequential = nn.Sequential(*layers).double().eval()
    inputs = noise(1, 6, 90, seed=4)
    torch.testing.assert_close(sequential(inputs), network(inputs))
    targets = torch.tensor([[0, 0, 1], [0, 22, 2], [0, 44, 3]])
    for name in ("epsilon", "z+", "gamma"):
        expected = by_zennit(sequential, inputs, targets, zennit_rules()[name])
        found = attribute(network, inputs, targets, composite=rules.RULES[name])
        assert deviation(found.dense(), expected) < 1e-6, name


# ------------------------------------------------------------------------- captum


def flat_chain(seed: int) -> nn.Sequential:
    return randomised(
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)), seed
    )


def test_epsilon_agrees_with_captum(captum: Any) -> None:
    from captum.attr._utils.lrp_rules import EpsilonRule

    network, inputs, targets = chain(1), noise(2, 4, 20, seed=2), TARGETS
    folded = folded_by_hand(network)
    for layer in folded:
        if isinstance(layer, (nn.Conv1d, nn.ConstantPad1d)):
            layer.rule = EpsilonRule(1e-6)
    found = attribute(network, inputs, targets, composite="epsilon")
    for row, (item, step, label) in enumerate(targets.tolist()):
        for layer in folded:
            if isinstance(layer, (nn.Conv1d, nn.ConstantPad1d)):
                layer.rule = EpsilonRule(1e-6)
        expected = captum.LRP(folded).attribute(inputs[item : item + 1].clone(), target=(label, step))
        assert deviation(found.dense()[row : row + 1], expected.detach()) < 1e-5


def folded_by_hand(network: nn.Sequential) -> nn.Sequential:
    """Batch norm into the convolution before it, written out."""
    layers: list[nn.Module] = []
    for module in copy.deepcopy(network):
        if isinstance(module, nn.BatchNorm1d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            before = layers[-1]
            with torch.no_grad():
                before.weight *= scale[:, None, None]
                before.bias.copy_((before.bias - module.running_mean) * scale + module.bias)
        else:
            layers.append(module)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("gradient-x-input", {}),
        ("integrated-gradients", {"steps": 20}),
        ("guided-backprop", {}),
        ("deconvnet", {}),
    ],
)
def test_gradient_methods_agree_with_captum(captum: Any, method: str, options: dict[str, int]) -> None:
    network, inputs = image_net(3), noise(2, 3, 8, 12, seed=2)
    theirs = {
        "gradient": lambda x, t: captum.Saliency(network).attribute(x, t, abs=False),
        "gradient-x-input": lambda x, t: captum.InputXGradient(network).attribute(x, t),
        "integrated-gradients": lambda x, t: captum.IntegratedGradients(network).attribute(
            x, target=t, n_steps=20, method="riemann_middle"
        ),
        "guided-backprop": lambda x, t: captum.GuidedBackprop(network).attribute(x, t),
        "deconvnet": lambda x, t: captum.Deconvolution(network).attribute(x, t),
    }[method]
    found = attribute(network, inputs, IMAGES, method=method, **options)
    for row, (item, label) in enumerate(IMAGES.tolist()):
        expected = theirs(inputs[item : item + 1].clone().requires_grad_(), label).detach()
        # captum holds the steps of its path in float32
        assert deviation(found.windows[row : row + 1], expected) < 1e-7


def test_grad_cam_agrees_with_captum(captum: Any) -> None:
    network, inputs = image_net(3), noise(2, 3, 8, 12, seed=2)
    found = attribute(network, inputs, IMAGES, method="grad-cam", layer="5")
    for row, (item, label) in enumerate(IMAGES.tolist()):
        explained = captum.LayerGradCam(network, network[5]).attribute(
            inputs[item : item + 1], label, relu_attributions=True
        )
        torch.testing.assert_close(found.windows[row], explained[0, 0].detach())


def test_occlusion_agrees_with_captum(captum: Any) -> None:
    network, inputs = chain(1), noise(2, 4, 20, seed=2)
    found = attribute(network, inputs, TARGETS, method="occlusion", patch=(2, 5), stride=(2, 5))
    for row, (item, step, label) in enumerate(TARGETS.tolist()):
        expected = captum.Occlusion(network).attribute(
            inputs[item : item + 1], sliding_window_shapes=(2, 5), strides=(2, 5), target=(label, step)
        )
        inside = torch.zeros(20)
        start = int(found.starts[row])
        inside[max(start, 0) : start + found.windows.shape[2]] = 1
        torch.testing.assert_close(found.dense()[row], expected[0].detach().double() * inside)


# ------------------------------------------------------------------------- silent traps of peers


def test_rules_of_the_user_hold_for_every_call() -> None:
    """captum drops them after the first call and silently uses epsilon."""
    network, inputs = chain(2), noise(1, 4, 20, seed=2)
    composite = {nn.Conv1d: rules.gamma(0.5)}
    targets = TARGETS[:2]
    first = attribute(network, inputs, targets, composite=composite)
    second = attribute(network, inputs, targets, composite=composite)
    assert torch.equal(first.windows, second.windows)
    assert set(second.coverage.rules().values()) == {"gamma"}


def test_alpha1_beta0_is_right_on_signed_input() -> None:
    """captum clamps the weights only: on negative inputs its shares are negative."""
    network = randomised(nn.Sequential(nn.Conv1d(3, 4, 3)), 2)
    inputs, target = noise(1, 3, 7, seed=2), torch.tensor([[0, 2, 1]])
    found = attribute(network, inputs, target, composite={nn.Conv1d: rules.alpha_beta(1, 0)})
    weight, bias, a = network[0].weight[1].detach(), network[0].bias[1].detach(), inputs[0, :, 2:5]
    positive = (weight * a).clamp(min=0)
    expected = positive * found.scores / (positive.sum() + bias.clamp(min=0))
    torch.testing.assert_close(found.windows[0], expected)
    assert bool((inputs < 0).any())


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_general_alpha_beta_on_negative_inputs(beta: float) -> None:
    """innvestigate takes the wrong coefficient exactly for negative inputs."""
    network = randomised(nn.Sequential(nn.Conv1d(3, 4, 3)), 2)
    inputs, target = -noise(1, 3, 7, seed=2).abs(), torch.tensor([[0, 2, 1]])
    found = attribute(network, inputs, target, composite=rules.alpha_beta(1 + beta, beta))
    weight, bias, a = network[0].weight[1].detach(), network[0].bias[1].detach(), inputs[0, :, 2:5]
    up, down = (weight * a).clamp(min=0), (weight * a).clamp(max=0)
    shares = (1 + beta) * up / (up.sum() + bias.clamp(min=0)) - beta * down / (down.sum() + bias.clamp(max=0))
    torch.testing.assert_close(found.windows[0], shares * found.scores)


@pytest.mark.parametrize(
    "module", [nn.LeakyReLU(), nn.ELU(), nn.GELU(), nn.Identity(), nn.Hardtanh(), nn.BatchNorm1d(5)]
)
def test_layers_that_captum_refuses_work(module: nn.Module) -> None:
    network = randomised(
        nn.Sequential(nn.Conv1d(3, 5, 3), module, nn.Conv1d(5, 2, 3), nn.Flatten(), nn.Linear(8, 2)), 1
    )
    inputs, target = noise(1, 3, 8, seed=3), torch.tensor([[0, 1]])
    found = attribute(network, inputs, target, composite="epsilon")
    assert float(found.ledger.residual.abs().max()) < 1e-9
    expected = gradients(network, inputs, target)
    assert deviation(attribute(network, inputs, target, method="gradient").windows, expected) < 1e-10


def test_an_unmapped_module_is_refused() -> None:
    """zennit walks it by the plain gradient without a word."""
    network, inputs = chain(2), noise(1, 4, 20, seed=2)
    with pytest.raises(UsageError, match="no rule for layer '1' \\(Conv1d\\)"):
        attribute(network, inputs, TARGETS[:1], composite={nn.Linear: "epsilon"})


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3)],
        [nn.Conv1d(4, 4, 3), nn.ReLU(), nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3)],
        [nn.Conv1d(4, 3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3)],
    ],
)
def test_batch_norm_that_zennit_does_not_merge(layers: list[nn.Module]) -> None:
    """Before a convolution, after a ReLU, behind dropout: folded here; LRP-0 is gradient x input."""
    network = randomised(nn.Sequential(*layers, nn.ReLU(), nn.Conv1d(3, 2, 1)), 5)
    inputs, target = noise(1, 4, 9, seed=1), torch.tensor([[0, 1, 1], [0, 3, 0]])
    found = attribute(network, inputs, target, composite="0")
    assert "norm" not in found.coverage.rules().values()
    assert deviation(found.dense(), gradients(network, inputs, target) * inputs) < 1e-10
