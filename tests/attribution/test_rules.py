"""Every rule against its formula in dense form: explicit Jacobians, float64, signed inputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from attribution_nets import noise, randomised
from torch import nn

from asr_introspect.attribution import rules
from asr_introspect.attribution.canonical import canonical
from asr_introspect.attribution.graph import record
from asr_introspect.attribution.rules import Rule
from asr_introspect.attribution.sweep import Sweep
from asr_introspect.attribution.windows import Signal
from asr_introspect.errors import UsageError

LOW, HIGH = -3.5, 4.0


def layers() -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """All layer types x bias x kernel x stride x dilation x groups x padding that fit."""
    found: list[tuple[str, nn.Module, tuple[int, ...]]] = []
    for bias in (True, False):
        found.append((f"linear-{bias}", nn.Linear(5, 4, bias=bias), (5,)))
        found.append((f"linear-sequence-{bias}", nn.Linear(5, 4, bias=bias), (3, 5)))
        for kernel, stride, dilation, groups, padding in itertools.product(
            (1, 3), (1, 2), (1, 2), (1, 2), (0, 1, "same")
        ):
            if padding == "same" and stride > 1:
                continue
            given = {
                "stride": stride,
                "dilation": dilation,
                "groups": groups,
                "padding": padding,
                "bias": bias,
            }
            name = "-".join(map(str, (kernel, stride, dilation, groups, padding, bias)))
            found.append((f"conv1d-{name}", nn.Conv1d(4, 6, kernel, **given), (4, 7)))
            if padding != "same" and (kernel, dilation) != (1, 2):
                found.append((f"conv2d-{name}", nn.Conv2d(2, 2, kernel, **given), (2, 5, 6)))
                found.append((f"transposed1d-{name}", nn.ConvTranspose1d(4, 6, kernel, **given), (4, 5)))
                found.append((f"transposed2d-{name}", nn.ConvTranspose2d(2, 2, kernel, **given), (2, 3, 4)))
    return found


LAYERS = layers()


def dense(
    name: str, a: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relevance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance of the inputs and of the bias, by the formulas: a (I,), weight (O, I), bias and R (O,)."""
    z = weight @ a + bias
    positive_a, negative_a = a.clamp(min=0), a.clamp(max=0)
    positive_w, negative_w = weight.clamp(min=0), weight.clamp(max=0)

    def divided(
        contributions: torch.Tensor, added: torch.Tensor, epsilon: float = 0.0
    ) -> tuple[torch.Tensor, ...]:
        total = contributions.sum(1) + added
        total = total + epsilon * torch.where(total < 0, -1.0, 1.0).to(total)
        share = torch.where(total == 0, 0.0, relevance / torch.where(total == 0, 1.0, total))
        return share @ contributions, (share * added).sum()

    if name in {"0", "epsilon", "epsilon-relative"}:
        epsilon = {"0": 0.0, "epsilon": 1e-6, "epsilon-relative": 0.25 * float(z.square().mean().sqrt())}[
            name
        ]
        return divided(weight * a, bias, epsilon)
    if name in {"z+", "alpha2-beta1"}:
        alpha, beta = (1, 0) if name == "z+" else (2, 1)
        up, up_bias = divided(positive_w * positive_a + negative_w * negative_a, bias.clamp(min=0))
        down, down_bias = divided(negative_w * positive_a + positive_w * negative_a, bias.clamp(max=0))
        return alpha * up - beta * down, alpha * up_bias - beta * down_bias
    if name == "gamma":
        g = 0.25
        raised, lowered = weight + g * positive_w, weight + g * negative_w
        above = positive_a * raised + negative_a * lowered
        below = positive_a * lowered + negative_a * raised
        chosen = torch.where(z[:, None] > 0, above, below)
        return divided(chosen, torch.where(z > 0, bias + g * bias.clamp(min=0), bias + g * bias.clamp(max=0)))
    nothing = torch.zeros_like(bias)
    if name == "w^2":
        return divided(weight.square(), nothing)
    if name == "flat":
        return divided((weight != 0).to(weight), nothing)
    if name == "z^B":
        return divided(weight * a - positive_w * LOW - negative_w * HIGH, nothing)
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name", ["0", "epsilon", "epsilon-relative", "z+", "alpha2-beta1", "gamma", "w^2", "flat", "z^B"]
)
def test_every_rule_on_every_layer_is_its_formula(name: str) -> None:
    worst = 0.0
    for seed, (label, layer, shape) in enumerate(LAYERS):
        network = randomised(layer, seed)
        inputs = noise(1, *shape, seed=seed)
        outputs = network(inputs)
        jacobian = torch.autograd.functional.jacobian(network, inputs)
        weight = jacobian.reshape(outputs.numel(), inputs.numel())
        bias = network(torch.zeros_like(inputs)).flatten().detach()
        relevance = noise(*outputs.shape, seed=seed + 1)
        found, kept = walked(network, inputs, relevance, rules.RULES[name])
        expected, expected_kept = dense(name, inputs.flatten(), weight, bias, relevance.flatten())
        scale = expected.abs().max().clamp_min(1e-300)
        deviation = float((found.flatten() - expected).abs().max() / scale)
        assert deviation < 1e-9, label
        assert abs(float(kept - expected_kept)) < 1e-9 * max(float(expected_kept.abs()), 1.0), label
        worst = max(worst, deviation)
    assert worst > 0


def walked(
    network: nn.Module, inputs: torch.Tensor, relevance: torch.Tensor, rule: Rule
) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance at the input of a one-layer network, and what the bias kept."""
    graph = record(network, inputs)
    program = canonical(graph)
    sweep = Sweep(
        program,
        (graph.input,),
        {graph.output: rule},
        bounds=(inputs.new_tensor(LOW), inputs.new_tensor(HIGH)),
    )
    total = relevance.sum().reshape(1)
    found, (entry,) = sweep.run([(graph.output, Signal(relevance, None, total=total))], torch.tensor([0]))
    signal = found[graph.input]
    torch.testing.assert_close(entry.incoming, signal.values.sum().reshape(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(entry.outgoing, entry.incoming + entry.bias + entry.stabiliser)
    return signal.values, entry.bias[0]


@pytest.mark.parametrize(
    "name", ["0", "epsilon", "epsilon-relative", "z+", "alpha2-beta1", "gamma", "flat", "z^B"]
)
def test_a_neuron_of_the_last_layer_follows_the_rule_too(name: str) -> None:
    """A contrast is one neuron with weights v^T W: the first step of every walk."""
    from asr_introspect.attribution import attribute

    for seed, kind in enumerate([nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 4, 2, groups=2, dilation=2)]):
        network = randomised(nn.Sequential(kind), seed)
        inputs = noise(1, kind.in_channels, 6, seed=seed)
        found = attribute(
            network,
            inputs,
            torch.tensor([[0, 1, 2]]),
            composite=rules.RULES[name],
            against="mean",
            **({"bounds": (LOW, HIGH)} if name == "z^B" else {}),
        )
        contrast = torch.full((4,), -1 / 3, dtype=torch.float64)
        contrast[2] = 1

        def neuron(
            x: torch.Tensor, contrast: torch.Tensor = contrast, network: nn.Module = network
        ) -> torch.Tensor:
            return torch.einsum("v,bvu->bu", contrast, network(x))

        weight = torch.autograd.functional.jacobian(neuron, inputs)[0, 1].reshape(1, -1)
        bias = neuron(torch.zeros_like(inputs))[0, 1].reshape(1).detach()
        score = weight @ inputs.flatten() + bias
        if name == "epsilon-relative":
            epsilon = 0.25 * float(neuron(inputs)[0].detach().square().mean().sqrt())
            expected = weight[0] * inputs.flatten() * score / (score + epsilon * score.sign())
        else:
            expected, _ = dense(name, inputs.flatten(), weight, bias, score)
        torch.testing.assert_close(found.dense().flatten(), expected.detach(), rtol=1e-9, atol=1e-12)


def test_denominators_count_only_inputs_inside_the_utterance() -> None:
    """w^2 and flat hand nothing to the padding: all relevance lands inside."""
    network = randomised(nn.Conv1d(2, 3, 5, padding=2), 1)
    inputs = noise(1, 2, 4)
    for rule in (rules.FLAT, rules.W_SQUARE):
        relevance = noise(1, 3, 4, seed=2)
        found, _ = walked(network, inputs, relevance, rule)
        torch.testing.assert_close(found.sum(), relevance.sum())


def test_a_rule_is_a_dozen_lines() -> None:
    """A rule of the user's own: z+ with its own stabiliser."""
    own = Rule(
        "own", (rules.Part((("positive", rules.POSITIVE), ("negative", rules.NEGATIVE)), epsilon=0.1),)
    )
    network = randomised(nn.Conv1d(2, 3, 3, bias=False), 4)
    inputs = noise(1, 2, 6)
    relevance = noise(1, 3, 4, seed=5)
    found, _ = walked(network, inputs, relevance, own)
    weight = torch.autograd.functional.jacobian(network, inputs).reshape(12, 12)
    a = inputs.flatten()
    contributions = weight.clamp(min=0) * a.clamp(min=0) + weight.clamp(max=0) * a.clamp(max=0)
    expected = (relevance.flatten() / (contributions.sum(1) + 0.1)) @ contributions
    torch.testing.assert_close(found.flatten(), expected)


def test_alpha_minus_beta_must_be_one() -> None:
    with pytest.raises(UsageError, match="alpha - beta"):
        rules.alpha_beta(2, 0)
    with pytest.raises(UsageError, match="did you mean"):
        rules.rule("gama")
