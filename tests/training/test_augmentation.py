"""Augmentations against what they claim to do."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_introspect.features import FeatureConfig, log_mel
from asr_introspect.random import generator
from asr_introspect.training.augmentation import (
    GRAIN,
    MOST_HOLES,
    AugmentationConfig,
    add_noise,
    code_lossily,
    limit_band,
    mask,
    shift_mels,
    stretch,
    vary,
)


@pytest.fixture
def spectrogram() -> np.ndarray:
    return generator(1, "spectrogram").normal(-5, 2, size=(300, 128)).astype(np.float32)


@pytest.mark.parametrize("tempo", [0.9, 1.0, 1.12])
def test_stretch_is_linear_interpolation(spectrogram: np.ndarray, tempo: float) -> None:
    stretched = stretch(spectrogram, tempo)
    assert len(stretched) == round(300 / tempo)
    places = np.minimum(np.arange(len(stretched)) * tempo, 299)
    wanted = np.stack([np.interp(places, np.arange(300), column) for column in spectrogram.T], axis=1)
    np.testing.assert_allclose(stretched, wanted, atol=1e-4)


def test_stretch_of_one_frame_repeats_it(spectrogram: np.ndarray) -> None:
    np.testing.assert_array_equal(stretch(spectrogram[:1], 1.1), spectrogram[[0, 0]])


def test_shift_moves_bins_up(spectrogram: np.ndarray) -> None:
    shifted = shift_mels(spectrogram, 2)
    np.testing.assert_array_equal(shifted[:, 2:], spectrogram[:, :-2])
    np.testing.assert_array_equal(shifted[:, 0], spectrogram[:, 0])


def test_noise_only_adds_power_at_the_level_asked_for(spectrogram: np.ndarray) -> None:
    noisy = add_noise(spectrogram, -10.0, generator(2, "noise"))
    assert (noisy >= spectrogram - 1e-5).all()
    added = np.exp(noisy).mean() - np.exp(spectrogram).mean()
    # The tilt raises the mean of exp(a x) over [-1, 1] by at most sinh(2)/2.
    share = added / np.exp(spectrogram).mean()
    assert 0.09 < share < 0.1 * 1.82 * 1.1


def test_band_limit_leaves_lower_bins_alone(spectrogram: np.ndarray) -> None:
    limited = limit_band(spectrogram, 100)
    np.testing.assert_array_equal(limited[:, :100], spectrogram[:, :100])
    assert (limited[:, 110:] < spectrogram[:, 110:]).all()
    assert limited.min() >= np.log(1e-10) - 1e-4


def test_masks_are_zero_and_of_bounded_width(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig()
    widths = []
    for seed in range(30):
        masked = mask(spectrogram, config, generator(seed, "mask"))
        changed = masked != spectrogram
        assert (masked[changed] == 0).all()
        widths.append(changed.all(axis=0).sum())
    assert max(widths) <= config.frequency_masks * config.frequency_width
    assert len(set(widths)) > 5


def test_weakened_masks_are_narrower_and_fewer_until_there_are_none(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig()
    assert config.weakened(1.0) == config
    masked = [
        float((mask(np.ones((4000, 128)), config.weakened(strength), np.random.default_rng(1)) == 0).mean())
        for strength in (1.0, 0.5, 0.1, 0.0)
    ]
    assert masked[0] > masked[1] > masked[2] > masked[3] == 0
    quiet = AugmentationConfig(tempo=(1.0, 1.0), mel_shift=0, band_limit=0.0).weakened(0.0)
    varied, _ = vary(spectrogram, quiet, np.random.default_rng(1))
    assert np.array_equal(varied, spectrogram)


def test_same_seed_same_variation(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig()
    first, tempo = vary(spectrogram, config, generator(3, "augmentation", 1, 2))
    second, again = vary(spectrogram, config, generator(3, "augmentation", 1, 2))
    other, _ = vary(spectrogram, config, generator(3, "augmentation", 1, 3))
    np.testing.assert_array_equal(first, second)
    assert tempo == again
    assert other.shape != first.shape or not np.array_equal(other, first)


def vary_without_coding(
    spectrogram: np.ndarray, config: AugmentationConfig, draw: np.random.Generator
) -> tuple[np.ndarray, float]:
    """``vary`` as it was before there was any coding."""
    tempo = float(draw.uniform(*config.tempo))
    varied = stretch(spectrogram, tempo)
    if config.mel_shift:
        varied = shift_mels(varied, int(draw.integers(-config.mel_shift, config.mel_shift + 1)))
    if draw.random() < config.noise:
        varied = add_noise(varied, float(draw.uniform(*config.noise_level)), draw)
    if draw.random() < config.band_limit:
        varied = limit_band(varied, int(draw.integers(varied.shape[1] * 5 // 8, varied.shape[1])))
    return varied, tempo


def test_coding_is_off_and_then_nothing_else_changes_in_a_single_bit(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig()
    assert config.coding == 0
    for seed in range(20):
        draw, before = generator(seed, "bits"), generator(seed, "bits")
        varied, tempo = vary(spectrogram, config, draw)
        wanted, wanted_tempo = vary_without_coding(spectrogram, config, before)
        assert tempo == wanted_tempo
        assert varied.tobytes() == wanted.tobytes()
        # The masks that follow draw from the same stream.
        assert mask(varied, config, draw).tobytes() == mask(wanted, config, before).tobytes()


def test_coding_takes_the_share_asked_for(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig(coding=0.3)
    changed = 0
    for seed in range(200):
        varied, _ = vary(spectrogram[:20], config, generator(seed, "share"))
        plain, _ = vary(spectrogram[:20], AugmentationConfig(), generator(seed, "share"))
        changed += not np.array_equal(varied, plain)
    assert 40 < changed < 80


def test_holes_are_blocks_of_the_share_asked_for() -> None:
    flat = np.zeros((400, 128), dtype=np.float32)
    grainy = code_lossily(flat, 0.3, 0.0, generator(0, "holes"))
    pierced = code_lossily(flat, 0.3, 0.05, generator(0, "holes"))
    lost = grainy - pierced
    assert ((lost == 0) | ((lost > 2.999) & (lost < 6.001))).all()
    assert 0.03 < (lost > 0).mean() < 0.07
    blocks = (lost > 0)[:, :126].reshape(100, 4, 21, 6)
    assert (blocks.any((1, 3)) == blocks.all((1, 3))).all()


def test_coded_silence_stays_at_the_floor() -> None:
    floor = np.full((50, 128), np.log(1e-10), dtype=np.float32)
    coded = code_lossily(floor, 1.0, 0.1, generator(0, "silence"))
    assert np.isfinite(coded).all()
    assert coded.min() >= np.log(1e-10) - 1e-5
    assert coded.dtype == np.float32


def round_trip(sound: np.ndarray, form: str, subtype: str, level: float) -> np.ndarray:
    """What comes back from a coder, as long as what went in; soundfile's coders delay nothing."""
    file = io.BytesIO()
    soundfile.write(file, sound, 16_000, format=form, subtype=subtype, compression_level=level)
    file.seek(0)
    coded = soundfile.read(file, dtype="float32")[0][: len(sound)]
    return np.pad(coded, (0, len(sound) - len(coded)))


def what_coding_did(before: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """Deviation, share of holes, mean change of loud and of quiet cells: bins 32 to 95, in nepers."""
    change = np.concatenate([b - a for a, b in zip(before, after, strict=True)])[:, 32:96]
    depth = np.concatenate([a.max(1, keepdims=True) - a for a in before])[:, 32:96]
    return np.array([change.std(), (change < -3).mean(), change[depth < 5].mean(), change[depth > 10].mean()])


@pytest.mark.speech
@pytest.mark.parametrize(
    ("form", "subtype", "level", "grain", "holes"),
    [
        ("OGG", "OPUS", 0.9, 0.45, 0.0),  # 31 kbit/s
        ("OGG", "OPUS", 0.97, 0.95, 0.0),  # 14
        ("OGG", "OPUS", 1.0, 1.25, 0.0),  # 7
        ("MP3", "MPEG_LAYER_III", 0.5, 0.6, 0.02),  # 40
        ("MP3", "MPEG_LAYER_III", 0.8, 0.8, 0.05),  # 31
    ],
)
def test_coding_does_to_real_speech_what_coders_do(
    sample: Path, form: str, subtype: str, level: float, grain: float, holes: float
) -> None:
    assert GRAIN[0] <= grain <= GRAIN[1]
    assert holes <= MOST_HOLES
    config = FeatureConfig()
    sounds = [soundfile.read(path, dtype="float32")[0] for path in sorted(sample.rglob("*.flac"))[::20]]
    before = [log_mel(sound, config).numpy().T for sound in sounds]
    real = [log_mel(round_trip(sound, form, subtype, level), config).numpy().T for sound in sounds]
    made = [code_lossily(each, grain, holes, generator(i, "real")) for i, each in enumerate(before)]
    deviation, pierced, loud, quiet = what_coding_did(before, real)
    by_us = what_coding_did(before, made)
    assert by_us[0] == pytest.approx(deviation, rel=0.2)
    assert by_us[1] == pytest.approx(pierced, abs=0.025)
    assert by_us[2] == pytest.approx(loud, abs=0.35)
    assert by_us[3] == pytest.approx(quiet, abs=0.55)
