"""Every method against the same done one letter at a time; planted delays are found with the right sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr_introspect.features import FeatureConfig
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.lags import lag
from asr_introspect.introspection.offset_methods import (
    METHODS,
    Emitted,
    another_letter,
    found_by_all,
    phase_scrambled,
)
from asr_introspect.introspection.offsets import position_seconds
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import INPUT, Forward
from asr_introspect.recogniser.symbols import LETTERS, letters, phonemes

MELS = 6
SHIFTING = [INPUT, *LAYERS[:9]]


def recogniser(delay_at: str | None = None, taps: int = 0) -> Recogniser:
    """A net of random weights; or one whose every layer passes what it has at its central tap on, one of them
    ``taps`` positions later: what comes out at a step stood earlier by that much at the layers below.
    """
    network = Wav2Letter(NetworkConfig(mels=MELS, narrow=6, wide=6), 29)
    network.initialise(torch_generator(0, "offset methods"))
    if delay_at is not None:
        for name, block in network.blocks():
            block.convolution.weight.data *= 1e-4
            centre = int(block.padding.padding[0]) - (taps if name == delay_at else 0)
            for channel in range(6):
                block.convolution.weight.data[channel, channel, centre] = 1.0
    return Recogniser(network.eval(), FeatureConfig(mels=MELS), letters())


def batch(frames: list[int], positions: tuple[int, ...] | None = None, seed: int = 0) -> Forward:
    spectrogram = torch.zeros(len(frames), MELS, max(frames))
    for i, length in enumerate(frames):
        spectrogram[i, :, :length] = torch.rand(MELS, length, generator=torch_generator(seed + i, "batch"))
    count = torch.tensor(frames)
    nothing = torch.zeros(len(frames), 29, max(frames) // 2)
    return Forward(
        (), positions or tuple(range(len(frames))), count // 2, count, nothing, {INPUT: spectrogram}
    )


def emitted(item: list[int], step: list[int]) -> Emitted:
    at = np.array(step, np.int64)
    middle = (2 * at + 1.5) * 0.01 - 0.08
    return Emitted(np.array(item, np.int64), at, 3 + np.arange(len(at)) % 3, at + 1, middle)


@pytest.mark.parametrize(("delayed", "taps"), [("layer3", 3), ("layer10", 6), ("layer6", -2), ("layer1", 20)])
def test_a_planted_delay_is_found_with_the_right_sign_at_each_layer(delayed: str, taps: int) -> None:
    """A delay at one layer moves what lies below it, and nothing above it, by its size in milliseconds.

    Letters that a net writes later than their sound have their evidence before the step: negative offsets.
    """
    ours = recogniser(delayed, taps)
    forward = batch([900])
    questions = emitted([0] * 30, list(range(120, 420, 10)))
    found = found_by_all(ours, forward, questions)
    layout = cones(ours.network)
    frames = taps if delayed == "layer1" else 2 * taps
    emission = 0.01 * (2 * questions.step + 1.5)
    below = True
    for layer in SHIFTING:
        below = below and layer != delayed
        seconds = position_seconds(found["gradient"][layer], layout[layer], 0.01)
        straight = position_seconds(layout[layer].stride * questions.step, layout[layer], 0.01)
        moved = -0.01 * frames if below else 0.0
        np.testing.assert_allclose(seconds - straight, moved, atol=1e-9, err_msg=layer)
        for method in ("lrp", "other-letter"):
            assert found[method][layer].shape == questions.step.shape
    # The sound lies where the input holds it: emitted ``frames`` frames after it, the lag is positive.
    sound = position_seconds(found["gradient"][INPUT], layout[INPUT], 0.01)
    straight = position_seconds(2 * questions.step, layout[INPUT], 0.01)
    measured = lag(1000 * (emission - sound - (emission - straight)), np.arange(30) // 3)
    assert measured.median == pytest.approx(10 * frames)
    assert (measured.median > 0) == (taps > 0)


def test_each_method_is_what_it_says() -> None:
    ours, forward = recogniser(), batch([300, 200])
    questions = emitted([0, 0, 1, 1, 0], [5, 80, 20, 99, 149])
    found = found_by_all(ours, forward, questions)
    assert set(found) == set(METHODS)
    layout = cones(ours.network)
    for method, positions in found.items():
        assert list(positions) == SHIFTING, method
    for layer in SHIFTING:
        cone = layout[layer]
        assert np.array_equal(found["none"][layer], cone.stride * questions.step)
        assert np.array_equal(found["ctc"][layer], cone.stride * questions.best)
        seconds = position_seconds(found["phone"][layer], cone, 0.01)
        assert (np.abs(seconds - questions.middle) <= 0.005 * cone.frames + 1e-9).all()
        lengths = (forward.frames if layer == INPUT else forward.lengths).numpy()[questions.item]
        for method in ("gradient", "centre", "lrp", "random", "other-letter", "scrambled"):
            at = found[method][layer]
            assert (at >= 0).all()
            assert (at < lengths).all()
            inside = at - cone.stride * questions.step - cone.first
            assert ((inside >= 0) & (inside < cone.positions)).all(), (method, layer)
    assert any((found["gradient"][layer] != found["other-letter"][layer]).any() for layer in SHIFTING)
    assert any((found["gradient"][layer] != found["scrambled"][layer]).any() for layer in SHIFTING)


def test_the_batch_changes_nothing() -> None:
    ours = recogniser()
    both = batch([300, 200], (4, 9))
    found = found_by_all(ours, both, emitted([0, 1, 1], [40, 20, 99]))
    alone = Forward(
        *((), (9,), both.lengths[1:], both.frames[1:], both.logits[1:, :, :100]),
        {INPUT: both.activations[INPUT][1:, :, :200]},
    )
    questions = emitted([1, 1], [20, 99])
    single = found_by_all(
        ours, alone, Emitted(np.zeros(2, int), questions.step, 4 + np.arange(2), *_rest(questions))
    )
    for method in METHODS:
        for layer in SHIFTING:
            assert np.array_equal(found[method][layer][1:], single[method][layer]), (method, layer)


def _rest(questions: Emitted) -> tuple[np.ndarray, np.ndarray]:
    return questions.best, questions.middle


def test_another_letter_is_a_letter_and_never_the_same() -> None:
    table = letters()
    label = np.random.default_rng(0).integers(1, 29, 4000)
    other = another_letter(label, table, np.random.default_rng(1))
    assert not (other == label).any()
    assert {table.symbols[i] for i in other} == set(LETTERS)
    spoken = another_letter(np.arange(1, 40), phonemes(), np.random.default_rng(1))
    assert (spoken > 0).all()


def test_scrambling_keeps_the_spectrum_and_loses_the_place() -> None:
    spectrogram = torch.zeros(8, 64)
    spectrogram[2:5, 20:23] = 1.0
    found = phase_scrambled(spectrogram, np.random.default_rng(0))
    torch.testing.assert_close(
        torch.fft.rfft2(found).abs(), torch.fft.rfft2(spectrogram).abs(), atol=1e-4, rtol=1e-4
    )
    assert float(found[2:5, 20:23].sum()) < 3.0


def test_no_letter_no_position() -> None:
    found = found_by_all(recogniser(), batch([60]), emitted([], []))
    assert all(len(each) == 0 for positions in found.values() for each in positions.values())
