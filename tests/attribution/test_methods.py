"""Every method beside LRP against a slow, plain answer."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from attribution_nets import deviation, gradients, noise, randomised
from torch import nn

from asr_introspect.attribution import attribute
from asr_introspect.errors import UsageError
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter

LENGTHS = torch.tensor([90, 60])
TARGETS = torch.tensor([[0, 0, 1], [0, 20, 2], [0, 44, 3], [1, 0, 0], [1, 14, 1], [1, 29, 2]])


@pytest.fixture(scope="module")
def recogniser() -> Wav2Letter:
    network = randomised(Wav2Letter(NetworkConfig(mels=6, narrow=5, wide=7), 4), seed=3)
    assert isinstance(network, Wav2Letter)
    return network


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return noise(2, 6, 90, seed=4) * (torch.arange(90) < LENGTHS[:, None, None])


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A net with a short receptive field (7 positions), so that cones are shorter than the input."""
    return randomised(
        nn.Sequential(
            nn.Conv1d(6, 5, 5, padding=2), nn.BatchNorm1d(5), nn.ReLU(), nn.Conv1d(5, 4, 3, padding=1)
        ),
        2,
    )


def scores(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *extra: object) -> torch.Tensor:
    outputs = network(inputs, *extra)
    return outputs[targets[:, 0], targets[:, 2], targets[:, 1]]


# ------------------------------------------------------------------------- averages of gradients


def test_integrated_gradients_are_the_mean_over_the_path(
    recogniser: Wav2Letter, inputs: torch.Tensor
) -> None:
    found = attribute(
        recogniser, inputs, TARGETS, method="integrated-gradients", lengths=LENGTHS, steps=5, baseline=0.2
    )
    start = torch.full_like(inputs, 0.2)
    points = [start + (k - 0.5) / 5 * (inputs - start) for k in range(1, 6)]
    mean = torch.stack([gradients(recogniser, point, TARGETS, LENGTHS) for point in points]).mean(0)
    expected = mean * (inputs - start)[TARGETS[:, 0]]
    assert deviation(found.dense(), expected) < 1e-10


def test_integrated_gradients_are_complete(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    """The windows sum to f(x) - f(x'), ever closer with more steps, and the error is reported."""
    errors = []
    for steps in (4, 60):
        found = attribute(
            recogniser, inputs, TARGETS, method="integrated-gradients", lengths=LENGTHS, steps=steps
        )
        difference = scores(recogniser, inputs, TARGETS, LENGTHS) - scores(
            recogniser, 0 * inputs, TARGETS, LENGTHS
        )
        missing = difference - found.windows.flatten(1).sum(1)
        torch.testing.assert_close(found.details["completeness"], missing.detach())
        size = found.windows.abs().flatten(1).sum(1)
        errors.append(float((missing.abs() / size).max().detach()))
    assert errors[1] < 0.02
    assert errors[1] < errors[0]


def test_smoothgrad_is_the_mean_of_noisy_gradients(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    options = {"samples": 3, "noise": 0.1, "seed": 7}
    found = attribute(recogniser, inputs, TARGETS, method="smoothgrad", lengths=LENGTHS, **options)
    again = attribute(recogniser, inputs, TARGETS, method="smoothgrad", lengths=LENGTHS, **options)
    assert torch.equal(found.windows, again.windows)
    spread = 0.1 * (inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1))[:, None, None]
    spread = spread * (torch.arange(90) < LENGTHS[:, None])[:, None]
    drawn = [
        torch.randn(inputs.shape, generator=torch_generator(7, "smoothgrad", k), dtype=torch.float64)
        for k in range(3)
    ]
    maps = [gradients(recogniser, inputs + spread * each, TARGETS, LENGTHS) for each in drawn]
    assert deviation(found.dense(), torch.stack(maps).mean(0)) < 1e-10
    squared = attribute(
        recogniser, inputs, TARGETS, method="smoothgrad", lengths=LENGTHS, squared=True, **options
    )
    assert deviation(squared.dense(), torch.stack(maps).square().mean(0)) < 1e-10


# ------------------------------------------------------------------------- guided walks


class Signal(torch.autograd.Function):
    """ReLU whose backward pass is guided backprop's or deconvnet's."""

    @staticmethod
    def forward(ctx: object, inputs: torch.Tensor, guided: bool) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        ctx.guided = guided
        return inputs.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (inputs,) = ctx.saved_tensors
        gradient = gradient.clamp(min=0)
        return gradient * (inputs > 0) if ctx.guided else gradient, None


class Changed(nn.Module):
    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return Signal.apply(inputs, self.guided)


@pytest.mark.parametrize("method", ["guided-backprop", "deconvnet"])
def test_guided_walks_are_autograd_with_another_relu(inputs: torch.Tensor, method: str) -> None:
    def built(activation: nn.Module) -> nn.Module:
        layers = [nn.Conv1d(6, 5, 5, padding=2), activation, nn.MaxPool1d(2), nn.Conv1d(5, 5, 3), activation]
        return randomised(nn.Sequential(*layers, nn.Conv1d(5, 4, 1)), 5)

    targets = TARGETS % torch.tensor([2, 40, 4])
    found = attribute(built(nn.ReLU()), inputs, targets, method=method)
    expected = gradients(built(Changed(method == "guided-backprop")), inputs, targets)
    assert deviation(found.dense(), expected) < 1e-10


# ------------------------------------------------------------------------- Grad-CAM


def test_grad_cam_by_hand(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    found = attribute(recogniser, inputs, TARGETS, method="grad-cam", lengths=LENGTHS)
    assert found.layer == "layer9"  # the last layer seen at more than one position
    assert found.windows.shape == (len(TARGETS), 32)
    kept: list[torch.Tensor] = []
    hook = recogniser.layer9.register_forward_hook(lambda _, __, out: kept.append(out))
    outputs = recogniser(inputs, LENGTHS)
    hook.remove()
    for row, (item, step, label) in enumerate(TARGETS.tolist()):
        (gradient,) = torch.autograd.grad(outputs[item, label, step], kept[0], retain_graph=True)
        first, last = max(step - 15, 0), min(step + 17, int(LENGTHS[item]) // 2)
        alpha = gradient[item, :, first:last].mean(1)
        expected = (alpha[:, None] * kept[0][item, :, first:last]).sum(0).clamp(min=0).detach()
        start = int(found.starts[row])
        torch.testing.assert_close(found.windows[row, first - start : last - start], expected)
        assert float(found.windows[row].sum() - expected.sum()) == pytest.approx(0, abs=1e-9)


def test_grad_cam_upsampled_lies_at_the_receptive_fields_centres(
    recogniser: Wav2Letter, inputs: torch.Tensor
) -> None:
    coarse = attribute(recogniser, inputs, TARGETS, method="grad-cam", lengths=LENGTHS)
    fine = attribute(recogniser, inputs, TARGETS, method="grad-cam", lengths=LENGTHS, upsample=True)
    assert fine.windows.shape == (len(TARGETS), 206)
    row = 1  # step 20; layer position p lies at frame 2p + 0.5, so 2p + 1 is a quarter of the way on
    for position in (10, 20, 30):
        at = 2 * position + 1 - int(fine.starts[row])
        near = coarse.windows[row, position - int(coarse.starts[row]) :][:2]
        torch.testing.assert_close(fine.windows[row, at], 0.75 * near[0] + 0.25 * near[1])
    outside = torch.arange(206) + fine.starts[:, None]
    assert not fine.windows[(outside < 0) | (outside >= 90)].any()


class Classifier(nn.Module):
    """An image net with global average pooling and one linear layer: Grad-CAM is CAM here."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.last = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.last(self.features(inputs))).flatten(1))


def test_grad_cam_is_cam_on_a_net_with_global_pooling() -> None:
    """Up to the number of positions (Selvaraju et al. 2017, section 3.1)."""
    network = randomised(Classifier(), 1)
    images = noise(2, 3, 8, 10, seed=2)
    targets = torch.tensor([[0, 1], [1, 4], [1, 0]])
    found = attribute(network, images, targets, method="grad-cam")
    assert found.layer == "last"
    maps = network.last(network.features(images))
    for row, (item, label) in enumerate(targets.tolist()):
        cam = torch.einsum("c,chw->hw", network.head.weight[label], maps[item]).clamp(min=0)
        torch.testing.assert_close(found.windows[row] * maps[0, 0].numel(), cam.detach())
    guided = attribute(network, images, targets, method="guided-grad-cam")
    assert guided.windows.shape == (3, 3, 8, 10)


def test_guided_grad_cam_is_the_product(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    fine = attribute(recogniser, inputs, TARGETS, method="grad-cam", lengths=LENGTHS, upsample=True)
    guided = attribute(recogniser, inputs, TARGETS, method="guided-backprop", lengths=LENGTHS)
    found = attribute(recogniser, inputs, TARGETS, method="guided-grad-cam", lengths=LENGTHS, chunk=4)
    torch.testing.assert_close(found.windows, guided.windows * fine.windows[:, None])


# ------------------------------------------------------------------------- occlusion


@pytest.mark.parametrize(("patch", "stride"), [(4, 4), ((2, 5), (2, 3)), (7, 2)])
def test_occlusion_is_brute_force(small: nn.Module, patch: object, stride: object) -> None:
    """Covering far-apart patches in one pass gives what one pass per patch gives."""
    inputs = noise(2, 6, 61, seed=8)
    targets = torch.tensor([[0, 0, 1], [0, 30, 2], [1, 60, 0], [1, 17, 3]])
    found = attribute(small, inputs, targets, method="occlusion", patch=patch, stride=stride, baseline=0.3)
    sizes = (6, patch) if isinstance(patch, int) else patch
    steps = (6, stride) if isinstance(stride, int) else stride
    total, count = torch.zeros(4, 6, 61).double(), torch.zeros(4, 6, 61).double()
    before = scores(small, inputs, targets)
    for top, left in itertools.product(*(range(0, n, s) for n, s in zip((6, 61), steps, strict=True))):
        if left >= 61 - sizes[1] + steps[1] or top >= 6 - sizes[0] + steps[0]:
            continue
        covered = inputs.clone()
        covered[:, top : top + sizes[0], left : left + sizes[1]] = 0.3
        lost = (before - scores(small, covered, targets)).detach()
        total[:, top : top + sizes[0], left : left + sizes[1]] += lost[:, None, None]
        count[:, top : top + sizes[0], left : left + sizes[1]] += 1
    inside = torch.zeros(4, 6, 61)
    for row, start in enumerate(found.starts.tolist()):
        inside[row, :, max(start, 0) : start + found.windows.shape[2]] = 1
    expected = total / count.clamp(min=1) * inside
    torch.testing.assert_close(found.dense(), expected)


def test_occlusion_of_images_covers_all_channels() -> None:
    network = randomised(Classifier(), 1)
    images = noise(1, 3, 8, 10, seed=2)
    found = attribute(network, images, torch.tensor([[0, 1]]), method="occlusion", patch=(4, 5))
    covered = images.clone()
    covered[:, :, 4:8, 5:10] = 0
    lost = network(images)[0, 1] - network(covered)[0, 1]
    torch.testing.assert_close(found.windows[0, :, 4:8, 5:10], lost.detach().expand(3, 4, 5))


# ------------------------------------------------------------------------- deep Taylor


def relu_net(seed: int, bias: float) -> nn.Module:
    network = randomised(
        nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Conv1d(6, 5, 3), nn.ReLU(), nn.Conv1d(5, 2, 1)), seed
    )
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.Conv1d):
                module.bias.fill_(bias)
    return network


def test_deep_taylor_layerwise_is_z_plus_where_biases_are_zero() -> None:
    network = relu_net(3, 0.0)
    inputs = noise(1, 3, 9).abs()
    targets = torch.tensor([[0, 2, 1], [0, 0, 0]])
    taylor = attribute(network, inputs, targets, method="deep-taylor", first="z+")
    plus = attribute(network, inputs, targets, composite="z+")
    torch.testing.assert_close(taylor.windows, plus.windows)
    assert taylor.details["positive biases"].tolist() == [0.0, 0.0]
    assert (
        attribute(relu_net(3, 0.1), inputs, targets, method="deep-taylor").details["positive biases"][0] == 1
    )
    conserved = taylor.windows.flatten(1).sum(1)
    torch.testing.assert_close(conserved, taylor.scores)


@pytest.mark.parametrize("first", ["w^2", "z^B"])
def test_deep_taylor_layerwise_first_layer(first: str) -> None:
    network = relu_net(3, -0.05)
    inputs = noise(1, 3, 9)
    options = {"bounds": (-4.0, 4.0)} if first == "z^B" else {}
    found = attribute(
        network, inputs, torch.tensor([[0, 2, 1]]), method="deep-taylor", first=first, **options
    )
    assert found.coverage.rules()["0"] == first
    assert found.coverage.rules()["2"] == "deep Taylor z+"


def test_deep_taylor_of_the_whole_function() -> None:
    """On a linear function the expansion at a root is exact: the remainder is zero."""
    network = randomised(nn.Sequential(nn.Conv1d(3, 2, 5)), 2)
    inputs, baseline = noise(1, 3, 9, seed=1), -noise(1, 3, 9, seed=1)
    found = attribute(
        network,
        inputs,
        torch.tensor([[0, 1, 0]]),
        method="deep-taylor",
        kind="function",
        baseline=baseline,
        iterations=60,
    )
    assert found.details["root"].tolist() == [1.0]
    assert abs(float(found.details["value"])) < 1e-9
    assert abs(float(found.details["remainder"])) < 1e-9
    torch.testing.assert_close(found.windows.flatten(1).sum(1), found.scores, rtol=1e-8, atol=1e-8)


def test_deep_taylor_says_where_there_is_no_root() -> None:
    network = randomised(nn.Sequential(nn.Conv1d(3, 2, 5)), 2)
    inputs = noise(1, 3, 9, seed=1)
    found = attribute(
        network,
        inputs,
        torch.tensor([[0, 1, 0]]),
        method="deep-taylor",
        kind="function",
        baseline=inputs * 0.999,
    )
    assert found.details["root"].tolist() == [0.0]
    assert not found.windows.any()


def test_deep_taylor_refuses_what_the_theory_does_not_cover() -> None:
    network = randomised(nn.Sequential(nn.Conv1d(3, 2, 5), nn.GELU(), nn.Conv1d(2, 2, 1)), 2)
    with pytest.raises(UsageError, match="ReLU"):
        attribute(network, noise(1, 3, 9), torch.tensor([[0, 1, 0]]), method="deep-taylor")


# ------------------------------------------------------------------------- LRP beyond convolutions


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(inputs, inputs, inputs)
        return self.head(self.norm(inputs + attended))


def test_attention_follows_the_published_rules() -> None:
    """AttnLRP by hand: softmax x (R - s sum R), products half each, norms with their deviation held fixed."""
    network = randomised(Attending(), 4)
    inputs = noise(2, 5, 4, seed=3)
    found = attribute(network, inputs, torch.tensor([[1, 2, 0]]), composite="0", output_axis=-1)
    expected = attention_by_hand(network, inputs[1], step=2, label=0)
    assert deviation(found.windows, expected[None]) < 1e-9
    assert {"attention", "norm", "head"} <= {each.layer for each in found.coverage.treatments}


def attention_by_hand(network: Attending, x: torch.Tensor, step: int, label: int) -> torch.Tensor:
    attention, norm, head = network.attention, network.norm, network.head
    with torch.no_grad():
        projected = x @ attention.in_proj_weight.t() + attention.in_proj_bias
        q, k, v = (part.view(5, 2, 2).transpose(0, 1) for part in projected.chunk(3, 1))
        logits = q @ k.transpose(1, 2)
        scaled = logits / math.sqrt(2)
        weights = scaled.softmax(-1)
        mixed = weights @ v
        joined = mixed.transpose(0, 1).reshape(5, 4)
        out = joined @ attention.out_proj.weight.t() + attention.out_proj.bias
        summed = x + out
        centred = summed - summed.mean(1, keepdim=True)
        deviation = (summed.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
        normed = centred / deviation * norm.weight + norm.bias
        relevance = torch.zeros_like(normed)
        relevance[step] = normed[step] * head.weight[label]
        # layer norm: linear map M = diag(g / s) (1 - 1/n) with its bias in the denominator
        slope = norm.weight / deviation * relevance / normed
        r_sum = summed * (slope - slope.mean(1, keepdim=True))
        r_x, r_out = x * r_sum / summed, out * r_sum / summed
        r_joined = joined * (r_out / out @ attention.out_proj.weight)
        r_mixed = r_joined.view(5, 2, 2).transpose(0, 1)
        share = 0.5 * r_mixed / mixed
        r_weights, r_v = weights * (share @ v.transpose(1, 2)), v * (weights.transpose(1, 2) @ share)
        r_scaled = scaled * (r_weights - weights * r_weights.sum(-1, keepdim=True))
        share = 0.5 * r_scaled / logits
        r_q, r_k = q * (share @ k), k * (share.transpose(1, 2) @ q)
        r_projected = torch.cat([part.transpose(0, 1).reshape(5, 4) for part in (r_q, r_k, r_v)], 1)
        return r_x + x * (r_projected / projected @ attention.in_proj_weight)


@pytest.mark.parametrize(
    ("pool", "selects"),
    [
        (nn.AdaptiveAvgPool1d(3), False),
        (nn.AdaptiveMaxPool1d(3), True),
        (nn.MaxPool1d(3, 2), True),
        (nn.AvgPool1d(3, 2), False),
    ],
)
def test_pooling_shares_by_contribution_or_by_switch(pool: nn.Module, selects: bool) -> None:
    """Averages hand on in proportion to what came in, maxima everything to the largest."""
    network = randomised(nn.Sequential(pool, nn.Flatten(), nn.Linear(2 * 3, 4)), 3)
    inputs = noise(1, 2, 7, seed=5)
    found = attribute(network, inputs, torch.tensor([[0, 1]]), composite="0", at=["0", "input"])
    relevance = found["0"].windows[0]
    weight = torch.autograd.functional.jacobian(pool, inputs[0])  # (2, 3, 2, 7)
    pooled = pool(inputs[0])
    contribution = weight if selects else weight * inputs[0] / pooled[..., None, None]
    expected = torch.einsum("cp,cpdt->dt", relevance, contribution)
    torch.testing.assert_close(found["input"].windows[0], expected)


def test_what_has_no_rule_is_refused_by_name() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv1d(3, 3, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.inner(torch.cumsum(inputs, -1))

    network = randomised(Odd(), 1)
    inputs = noise(1, 3, 6)
    target = torch.tensor([[0, 2, 1]])
    with pytest.raises(UsageError, match="cumsum"):
        attribute(network, inputs, target)
    found = attribute(network, inputs, target, method="gradient")
    assert deviation(found.dense(), gradients(network, inputs, target)) < 1e-12
    with pytest.raises(UsageError, match="'exp'"):
        attribute(randomised(Exponential(), 1), inputs, target)


class Exponential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv1d(3, 3, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs).exp()


def test_a_mapping_must_cover_every_linear_layer(small: nn.Module) -> None:
    inputs, target = noise(1, 6, 9), torch.tensor([[0, 4, 1]])
    by_type = attribute(small, inputs, target, composite={nn.Conv1d: "z+"})
    assert deviation(by_type.windows, attribute(small, inputs, target, composite="z+").windows) < 1e-12
    mixed = attribute(small, inputs, target, composite={nn.Conv1d: "z+", "0": "flat"})
    assert mixed.coverage.rules() == {"0": "flat"} or mixed.coverage.rules()["0"] == "flat"
    with pytest.raises(UsageError, match="no rule for layer '3' \\(Conv1d\\)"):
        attribute(small, inputs, target, composite={"0": "z+"})
    with pytest.raises(UsageError, match="unknown layer"):
        attribute(small, inputs, target, composite={"00": "z+", nn.Conv1d: "z+"})
    with pytest.raises(UsageError, match="bounds"):
        attribute(small, inputs, target, composite="epsilon-plus-box")
    boxed = attribute(small, inputs, target, composite="epsilon-plus-box", bounds=(-1.0, 1.0))
    assert boxed.details["outside bounds"].tolist() == [int((inputs.abs() > 1).sum())]
    with pytest.raises(UsageError, match="cannot take the rule 'pass'"):
        attribute(small, inputs, target, composite={nn.Conv1d: "pass"})


@pytest.mark.parametrize("method", ["lrp", "gradient", "guided-backprop", "deconvnet", "grad-cam"])
def test_an_mlp_and_an_image_net(method: str) -> None:
    images, targets = noise(3, 3, 8, 10, seed=2), torch.tensor([[0, 1], [2, 4]])
    network = randomised(Classifier(), 1)
    found = attribute(network, images, targets, method=method, against="runner-up")
    assert bool(torch.isfinite(found.windows).all())
    if method == "gradient":
        plain = attribute(network, images, targets, method=method)
        assert deviation(plain.dense(), gradients(network, images, targets)) < 1e-10
    if method == "grad-cam":
        return
    mlp = randomised(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5)), 1)
    vectors = noise(3, 6)
    rows = attribute(mlp, vectors, targets, method=method)
    assert rows.windows.shape == (2, 6)
    assert rows.dense().shape == (2, 6)


# ------------------------------------------------------------------------- finite everywhere


@pytest.mark.parametrize("case", ["zero", "constant", "huge", "one step", "dead", "silent net"])
def test_every_method_is_finite(recogniser: Wav2Letter, inputs: torch.Tensor, case: str) -> None:
    import copy

    network, values, targets, lengths = copy.deepcopy(recogniser).float(), inputs.float(), TARGETS, LENGTHS
    if case == "zero":
        values = torch.zeros_like(values)
    elif case == "constant":
        values = torch.ones_like(values)
    elif case == "huge":
        values = values * 1e12
    elif case == "one step":
        values, targets, lengths = values[:, :, :2], TARGETS[[0, 3]], torch.tensor([2, 2])
    elif case == "dead":
        with torch.no_grad():
            network.layer3.normalisation.bias.fill_(-1e3)
    else:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
    methods: list[dict[str, object]] = [
        *(
            {"composite": name, "bounds": (values.amin(), values.amax())}
            for name in ("epsilon-gamma-box", "flat")
        ),
        *(
            {"composite": name}
            for name in ("0", "epsilon", "epsilon-plus", "epsilon-alpha2-beta1-flat", "w^2")
        ),
        *({"method": name} for name in ("gradient", "gradient-x-input", "guided-backprop", "deconvnet")),
        *({"method": name} for name in ("grad-cam", "guided-grad-cam", "deep-taylor")),
        {"method": "integrated-gradients", "steps": 2},
        {"method": "smoothgrad", "samples": 2},
        {"method": "occlusion", "patch": 50},
    ]
    for options in methods:
        found = attribute(network, values, targets, lengths=lengths, against="mean", **options)
        assert bool(torch.isfinite(found.windows).all()), options
        assert bool(torch.isfinite(found.leak).all()), options


def test_functional_reading_of_relu_is_unchanged() -> None:
    """F.relu and nn.ReLU give the same relevance."""

    class Functional(nn.Module):
        def __init__(self, inner: nn.Sequential) -> None:
            super().__init__()
            self.first, self.last = inner[0], inner[2]

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.last(F.relu(self.first(inputs)))

    modules = randomised(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)), 9)
    inputs, target = noise(1, 3, 8), torch.tensor([[0, 1, 1]])
    for composite in ("epsilon", "epsilon-gamma"):
        found = attribute(Functional(modules).eval(), inputs, target, composite=composite)
        assert torch.equal(found.windows, attribute(modules, inputs, target, composite=composite).windows)
