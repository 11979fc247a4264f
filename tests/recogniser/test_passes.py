"""The pass over a corpus against one utterance at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.features import FeatureConfig, extract
from asr_introspect.random import generator, torch_generator
from asr_introspect.recogniser import passes
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS, MaskedBatchNorm1d, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import find_device, forward_pass, layer_names
from asr_introspect.recogniser.symbols import letters

TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    """A tiny net in float64, so that what differs is not rounding."""
    net = Wav2Letter(NetworkConfig(mels=16, narrow=8, wide=12), 29)
    net.initialise(torch_generator(0, "passes"))
    for module in net.modules():
        if isinstance(module, MaskedBatchNorm1d):
            module.running_mean.uniform_(-1, 1, generator=torch_generator(1, "passes"))
            module.bias.data.uniform_(-1, 1, generator=torch_generator(2, "passes"))
    return Recogniser(net.double().eval(), FeatureConfig(mels=16), letters())


def named(durations: list[float]) -> list[Utterance]:
    return [Utterance(f"u{i}", Path(f"u{i}.flac"), "A", "s", "", each) for i, each in enumerate(durations)]


def spectrogram(frames: int) -> Tensor:
    return torch.randn(16, frames, generator=torch_generator(3, "spectrogram", frames), dtype=torch.float64)


def alone(recogniser: Recogniser, inputs: Tensor) -> dict[str, Tensor]:
    """All layers of one utterance without masks, hooks or batches."""
    found = {"input": inputs}
    with torch.no_grad():
        here = inputs[None]
        for name, block in recogniser.network.blocks():
            here = block(here)
            found[name] = here[0]
    return found


FRAMES = [300, 41, 2, 3, 299, 120, 500]


def test_each_utterance_once_and_as_if_alone(recogniser: Recogniser) -> None:
    utterances = named([frames / 100 for frames in FRAMES])
    layers = ["input", 1, "layer5", "layer9", "10", 12]
    seen = []
    for forward in forward_pass(
        recogniser,
        utterances,
        layers=layers,
        batch_seconds=7.0,
        spectrograms=lambda i: spectrogram(FRAMES[i]),
    ):
        assert list(forward.activations) == ["input", "layer1", "layer5", "layer9", "layer10", "layer12"]
        assert forward.utterances == tuple(utterances[i] for i in forward.positions)
        assert len(forward.positions) * max(FRAMES[i] for i in forward.positions) <= 700
        for row, position in enumerate(forward.positions):
            seen.append(position)
            expected = alone(recogniser, spectrogram(FRAMES[position]))
            assert forward.frames[row] == FRAMES[position]
            assert forward.lengths[row] == FRAMES[position] // 2
            for name, part in {**forward.activations, "layer12": forward.logits}.items():
                length = expected[name].shape[-1]
                assert (part[row, :, :length] - expected[name]).abs().max() < TOLERANCE
                assert (part[row, :, length:] == 0).all()
    assert sorted(seen) == list(range(len(FRAMES)))


@pytest.mark.parametrize("frames", [6001, 6150, 6207])
@pytest.mark.parametrize("piece", [103, 700, 3000])
def test_pieces_of_a_long_utterance_join_without_a_seam(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, frames: int, piece: int
) -> None:
    monkeypatch.setattr(passes, "PIECE_STEPS", piece)
    ran = []
    network = recogniser.network
    handle = network.register_forward_pre_hook(lambda _, inputs: ran.append(inputs[0].shape[-1]))
    try:
        (forward,) = forward_pass(
            recogniser,
            named([frames / 100]),
            layers=[*LAYERS, "input"],
            spectrograms=lambda _: spectrogram(frames),
        )
    finally:
        handle.remove()
    assert len(ran) == -(-(frames // 2) // piece)
    assert max(ran) <= 2 * piece + 206
    expected = alone(recogniser, spectrogram(frames))
    for name, part in {**forward.activations, "layer12": forward.logits}.items():
        assert part[0].shape == expected[name].shape
        assert (part[0] - expected[name]).abs().max() < TOLERANCE


def test_too_little_context_would_show(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: one frame less on either side, and the joined logits differ."""
    monkeypatch.setattr(passes, "PIECE_STEPS", 700)
    before, after = recogniser.network.context()
    expected = alone(recogniser, spectrogram(6001))["layer12"]
    for context in ((before - 2, after), (before, after - 1)):
        monkeypatch.setattr(Wav2Letter, "context", lambda _, context=context: context)
        (forward,) = forward_pass(recogniser, named([60.01]), spectrograms=lambda _: spectrogram(6001))
        assert (forward.logits[0] - expected).abs().max() > 1e-9


def wave(path: Path, samples: int) -> Path:
    sound = generator(4, "wave", samples).normal(0, 0.1, samples)
    soundfile.write(path, sound, 16_000, subtype="PCM_16")
    return path


def test_bad_sound_is_skipped_and_named_and_the_rest_goes_on(recogniser: Recogniser, tmp_path: Path) -> None:
    (tmp_path / "empty.flac").write_bytes(b"")
    (tmp_path / "text.flac").write_text("not sound")
    soundfile.write(tmp_path / "nan.wav", np.full(1600, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    wave(tmp_path / "blink.wav", 159)
    whole = wave(tmp_path / "cut.flac", 16_000).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    wave(tmp_path / "good.wav", 16_000)
    wave(tmp_path / "step.wav", 160)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    files = [*sorted(tmp_path.iterdir()), tmp_path / "missing.flac"]
    utterances = [Utterance(path.stem, path, "A", "s", "", 1.0) for path in files]
    skipped: list[Skipped] = []
    single = dataclasses.replace(recogniser, network=recogniser.network.float())
    found = {
        utterance.name: (forward.logits[row, :, : forward.lengths[row]], forward.lengths[row])
        for forward in forward_pass(single, utterances, skipped=skipped)
        for row, utterance in enumerate(forward.utterances)
    }
    recogniser.network.double()
    assert {name: int(length) for name, (_, length) in found.items()} == {
        "good": 50,
        "step": 1,
        "silence": 50,
    }
    assert all(bool(logits.isfinite().all()) for logits, _ in found.values())
    reasons = {item.item: item.reason for item in skipped}
    assert set(reasons) == {"empty", "text", "nan", "nothing", "blink", "cut", "missing"}
    assert reasons["blink"] == "shorter than one output step (20 ms)"
    assert not any("/" in reason for reason in reasons.values())


def test_without_a_list_the_first_bad_sound_is_an_error(recogniser: Recogniser, tmp_path: Path) -> None:
    utterances = [Utterance("u", tmp_path / "missing.flac", "A", "s", "", 1.0)]
    with pytest.raises(IntrospectError, match=r"missing\.flac: no such file"):
        list(forward_pass(recogniser, utterances))


def test_what_comes_out_may_be_differentiated_again(recogniser: Recogniser) -> None:
    (forward,) = forward_pass(
        recogniser, named([1.0]), layers=["input"], spectrograms=lambda _: spectrogram(100)
    )
    inputs = forward.activations["input"].requires_grad_()
    (gradient,) = torch.autograd.grad(recogniser.network(inputs)[0, 3, 20], inputs)
    assert gradient.abs().max() > 0


def test_an_abandoned_pass_leaves_no_hook(recogniser: Recogniser) -> None:
    started = forward_pass(
        recogniser, named([1.0, 1.0]), layers=[5], batch_seconds=1, spectrograms=lambda _: spectrogram(100)
    )
    next(started)
    started.close()
    assert not recogniser.network.layer5._forward_hooks


def test_nothing_gives_nothing(recogniser: Recogniser) -> None:
    assert list(forward_pass(recogniser, [])) == []


def test_wrong_calls_are_said_before_anything_runs(recogniser: Recogniser) -> None:
    with pytest.raises(UsageError, match="unknown layer 'layr9'; did you mean 'layer9'"):
        forward_pass(recogniser, [], layers=["layr9"])
    with pytest.raises(UsageError, match="batch"):
        forward_pass(recogniser, [], batch_seconds=0)
    assert layer_names([0, "3", "layer12"]) == ("input", "layer3", "layer12")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        find_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(IntrospectError, match="no CUDA device"):
        find_device("cuda")


@pytest.mark.speech
def test_features_are_those_of_the_sound(recogniser: Recogniser, sample: Path) -> None:
    path = min((sample / "LibriSpeech").glob("*/*/*/*.flac"))
    single = dataclasses.replace(recogniser, network=recogniser.network.float())
    utterance = Utterance(path.stem, path, "A", "s", "", 5.0)
    (forward,) = forward_pass(single, [utterance], layers=["input"])
    recogniser.network.double()
    expected = extract(soundfile.read(path, dtype="float32")[0], recogniser.features)
    assert torch.equal(forward.activations["input"][0], expected)
