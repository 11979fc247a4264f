"""The public function on the recogniser: cones = autograd, borders and padded batches included."""

from __future__ import annotations

import pytest
import torch
from attribution_nets import deviation, gradients, noise, randomised

from asr_introspect.attribution import attribute, attribute_chunks
from asr_introspect.attribution.composites import COMPOSITES
from asr_introspect.errors import UsageError
from asr_introspect.recogniser.network import LAYERS, NetworkConfig, Wav2Letter

LENGTHS = torch.tensor([120, 75])
TARGETS = torch.tensor(
    [[0, 0, 1], [0, 1, 0], [0, 20, 2], [0, 59, 3], [0, 58, 1], [1, 0, 0], [1, 17, 1], [1, 35, 3], [1, 36, 2]]
)


@pytest.fixture(scope="module")
def recogniser() -> Wav2Letter:
    network = randomised(Wav2Letter(NetworkConfig(mels=6, narrow=5, wide=7), 4), seed=3)
    assert isinstance(network, Wav2Letter)
    return network


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return noise(2, 6, 120, seed=4)


def test_gradient_is_autograd_at_borders_and_in_padded_batches(
    recogniser: Wav2Letter, inputs: torch.Tensor
) -> None:
    found = attribute(recogniser, inputs, TARGETS, method="gradient", lengths=LENGTHS)
    assert found.windows.shape == (len(TARGETS), 6, 206)
    assert found.starts.tolist() == [2 * step - 101 for step in TARGETS[:, 1].tolist()]
    assert deviation(found.dense(), gradients(recogniser, inputs, TARGETS, LENGTHS)) < 1e-10
    outputs = recogniser(inputs, LENGTHS)
    torch.testing.assert_close(found.scores, outputs[TARGETS[:, 0], TARGETS[:, 2], TARGETS[:, 1]])


@pytest.mark.parametrize("method", ["gradient", "lrp"])
def test_an_utterance_has_the_same_relevance_alone_and_in_a_batch(
    recogniser: Wav2Letter, inputs: torch.Tensor, method: str
) -> None:
    rows = TARGETS[:, 0] == 1
    together = attribute(
        recogniser, inputs, TARGETS, method=method, composite="epsilon-plus", lengths=LENGTHS
    )
    targets = TARGETS[rows] * torch.tensor([0, 1, 1])
    alone = attribute(recogniser, inputs[1:, :, :75], targets, method=method, composite="epsilon-plus")
    assert deviation(together.windows[rows], alone.windows) < 1e-10


def test_all_layers_come_from_one_sweep(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    layers = ["input", *LAYERS[:-1]]
    found = attribute(recogniser, inputs, TARGETS, method="gradient", at=layers, lengths=LENGTHS)
    assert list(found) == layers
    activations: dict[str, torch.Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda _, __, out, name=name: activations.update({name: out}))
        for name, block in recogniser.blocks()
    ]
    outputs = recogniser(inputs, LENGTHS)
    for hook in hooks:
        hook.remove()
    for name in LAYERS[:-1]:
        expected = []
        for item, step, label in TARGETS.tolist():
            (gradient,) = torch.autograd.grad(
                outputs[item, label, step], activations[name], retain_graph=True
            )
            expected.append(gradient[item] * (torch.arange(60) < LENGTHS[item] // 2))
        assert deviation(found[name].dense(), torch.stack(expected)) < 1e-10, name


@pytest.mark.parametrize("against", ["mean", "runner-up", 2])
def test_contrast_is_the_gradient_of_the_difference(
    recogniser: Wav2Letter, inputs: torch.Tensor, against: str | int
) -> None:
    targets = TARGETS[TARGETS[:, 2] != 2]
    found = attribute(recogniser, inputs, targets, method="gradient", against=against, lengths=LENGTHS)
    leaf = inputs.clone().requires_grad_()
    outputs = recogniser(leaf, LENGTHS)
    for row, (item, step, label) in enumerate(targets.tolist()):
        logits = outputs[item, :, step]
        others = torch.cat([logits[:label], logits[label + 1 :]])
        reference = {"mean": others.mean(), "runner-up": others.max()}.get(str(against))
        score = logits[label] - (logits[2] if reference is None else reference)
        (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
        assert deviation(found.dense()[row : row + 1], gradient[item][None]) < 1e-10
        assert abs(float((found.scores[row] - score).detach())) < 1e-12


def test_lrp_zero_is_gradient_times_input(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    zero = attribute(recogniser, inputs, TARGETS, composite="0", lengths=LENGTHS, against="mean")
    product = attribute(
        recogniser, inputs, TARGETS, method="gradient-x-input", lengths=LENGTHS, against="mean"
    )
    assert deviation(zero.windows, product.windows) < 1e-10


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
def test_the_ledger_says_what_is_there(recogniser: Wav2Letter, inputs: torch.Tensor, composite: str) -> None:
    """Relevance summed at every layer is what the ledger, which adds up biases and stabilisers, says."""
    found = attribute(
        recogniser,
        inputs,
        TARGETS,
        composite=composite,
        at=["input", *LAYERS[:-1]],
        lengths=LENGTHS,
        against="mean",
        bounds=(-4.0, 4.0),
    )
    entries = {entry.layer: entry for entry in found["input"].ledger.entries}
    assert list(entries) == [f"{name}.convolution" for name in reversed(LAYERS)]
    for name in LAYERS[:-1]:
        held, entry = found[name].windows, entries[f"{name}.convolution"]
        scale = held.abs().flatten(1).sum(1)
        assert bool(((held.flatten(1).sum(1) - entry.outgoing).abs() <= 1e-9 * scale).all()), name
    last = found["input"].windows.flatten(1)
    difference = last.sum(1) - entries["layer1.convolution"].incoming
    assert bool((difference.abs() <= 1e-9 * last.abs().sum(1)).all())


def test_chunks_reduce_and_order(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    whole = attribute(recogniser, inputs, TARGETS, lengths=LENGTHS)
    seen = []
    for rows, found in attribute_chunks(recogniser, inputs, TARGETS, lengths=LENGTHS, chunk=4):
        torch.testing.assert_close(found["input"].windows, whole.windows[rows])
        seen += rows.tolist()
    assert seen == list(range(len(TARGETS)))
    reduced = attribute(
        recogniser, inputs, TARGETS, lengths=LENGTHS, reduce=lambda windows: windows.abs().sum(1), chunk=2
    )
    torch.testing.assert_close(reduced.windows, whole.windows.abs().sum(1))
    assert reduced.ledger.entries[0].bias.shape == (len(TARGETS),)


def test_lengths_without_an_argument_mean_each_item_alone(inputs: torch.Tensor) -> None:
    network = randomised(
        torch.nn.Sequential(torch.nn.Conv1d(6, 5, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv1d(5, 3, 3))
    )
    targets = torch.tensor([[0, 0, 1], [1, 3, 0], [0, 117, 1], [1, 72, 2]])
    found = attribute(network, inputs, targets, method="gradient", lengths=LENGTHS)
    second = torch.tensor([1, 3])
    alone = attribute(
        network, inputs[1:, :, :75], targets[second] * torch.tensor([0, 1, 1]), method="gradient"
    )
    assert deviation(found.windows[second], alone.windows) < 1e-12


def test_no_targets_give_no_windows(recogniser: Wav2Letter, inputs: torch.Tensor) -> None:
    """A sentence in which nothing was recognised."""
    nothing = torch.zeros(0, 3, dtype=torch.long)
    for options in ({}, {"method": "occlusion"}, {"method": "gradient", "at": ["layer9", "input"]}):
        found = attribute(recogniser, inputs, nothing, lengths=LENGTHS, **options)
        windows = found["layer9"].windows if isinstance(found, dict) else found.windows
        assert windows.shape == ((0, 5, 32) if isinstance(found, dict) else (0, 6, 206))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "lrpp"}, "did you mean 'lrp'"),
        ({"composite": "epsilon-gama"}, "epsilon-gamma"),
        ({"composite": "speech"}, "audit"),
        ({"at": ["layer13"]}, "layer1"),
        ({"against": "median"}, "runner-up"),
        ({"steps": 3}, "option"),
        ({"targets": torch.tensor([[0, 60, 0]])}, "output step 60"),
        ({"targets": torch.tensor([[1, 37, 0]])}, "past the length"),
        ({"targets": torch.tensor([[2, 0, 0]])}, "item 2"),
        ({"targets": torch.tensor([[0, 0, 4]])}, "class 4"),
        ({"targets": torch.tensor([[0, 0]])}, "item, output step, class"),
        ({"lengths": torch.tensor([120])}, "lengths"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    recogniser: Wav2Letter, inputs: torch.Tensor, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"targets": TARGETS, "lengths": LENGTHS, **change}
    with pytest.raises(UsageError, match=message):
        attribute(recogniser, inputs, **arguments)  # type: ignore[arg-type]


def test_a_network_in_training_mode_is_refused(inputs: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="eval"):
        attribute(torch.nn.Conv1d(6, 4, 3), inputs.float(), TARGETS)


def test_chunks_keep_within_the_memory_budget(
    recogniser: Wav2Letter, inputs: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr_introspect.attribution import session

    def chunks() -> list[int]:
        return [len(rows) for rows, _ in attribute_chunks(recogniser, inputs, TARGETS, lengths=LENGTHS)]

    assert chunks() == [len(TARGETS)]
    monkeypatch.setattr(session, "MEMORY", 2 * 8 * 7 * 6 * 206)
    assert chunks() == [2, 2, 2, 2, 1]
