"""Features against librosa's whole chain, and their edges."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from asr_introspect.errors import UsageError
from asr_introspect.features import (
    FRAMES_AT_ONCE,
    FeatureConfig,
    Normalisation,
    extract,
    levels,
    log_mel,
    mel_filters,
    mel_frequencies,
    normalise,
    normalise_in_single,
    power_of,
    waveform_of,
)
from asr_introspect.random import generator

CONFIG = FeatureConfig()
BY_UTTERANCE = FeatureConfig(normalise="utterance")
TOLERANCE = 1e-4


def librosas(waveform: np.ndarray) -> np.ndarray:
    """The log-Mel spectrogram by librosa alone, in the precision of the waveform."""
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=16000,
        n_fft=1024,
        hop_length=160,
        win_length=400,
        pad_mode="reflect",
        n_mels=128,
        fmax=8000,
    )
    return np.log(np.maximum(power, 1e-10))


def standardised(spectrogram: np.ndarray, axis: int | None) -> np.ndarray:
    """z-normalised in float64 by NumPy."""
    exact = spectrogram.astype(np.float64)
    return (exact - exact.mean(axis, keepdims=True)) / exact.std(axis, keepdims=True)


def largest_deviations(files: list[Path]) -> dict[str, float]:
    """Largest deviations from librosa, before normalisation and after it of both kinds.

    librosa computes in the precision that it is fed; both are compared.
    """
    largest: dict[str, float] = {}
    for path in files:
        waveform, rate = soundfile.read(path, dtype="float32")
        assert rate == 16000
        ours = log_mel(waveform, CONFIG)
        by_bin, whole = extract(waveform, CONFIG).numpy(), extract(waveform, BY_UTTERANCE).numpy()
        assert ours.shape == (128, 1 + len(waveform) // 160)
        for precision in ("float32", "float64"):
            theirs = librosas(waveform.astype(precision))
            found = {
                f"before, {precision}": ours.numpy() - theirs,
                f"bin, {precision}": by_bin - standardised(theirs, 1),
                f"utterance, {precision}": whole - standardised(theirs, None),
            }
            for name, part in found.items():
                largest[name] = max(largest.get(name, 0.0), float(np.abs(part).max()))
    return largest


@pytest.mark.speech
def test_equals_librosas_whole_chain_on_all_real_speech(sample: Path) -> None:
    files = sorted((sample / "LibriSpeech").glob("*/*/*/*.flac"))
    assert len(files) == 78
    found = largest_deviations(files)
    print(f"real sample, deviation from librosa: {found}")
    assert max(found.values()) < TOLERANCE


@pytest.mark.speech
def test_equals_librosas_whole_chain_on_the_demo_corpus(demo: Path) -> None:
    files = sorted(demo.glob("*/*/*.opus"))
    assert len(files) == 160
    found = largest_deviations(files)
    print(f"demo corpus, deviation from librosa: {found}")
    assert max(found.values()) < TOLERANCE


def noise(samples: int) -> np.ndarray:
    return generator(0, "features", samples).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("samples", [513, 514, 1000, 16_000, 16_159, 16_160])
def test_equals_librosa_on_noise_of_any_length(samples: int) -> None:
    waveform = noise(samples)
    theirs = librosas(waveform.astype(np.float64))
    assert np.abs(log_mel(waveform, CONFIG).numpy() - theirs).max() < TOLERANCE


@pytest.mark.parametrize("samples", [1, 159, 160, 400, 511, 512])
def test_short_clips_are_padded_with_zeros_and_lose_the_later_frames(samples: int) -> None:
    waveform = noise(samples)
    theirs = librosas(np.pad(waveform.astype(np.float64), (0, 513 - samples)))
    ours = log_mel(waveform, CONFIG)
    assert ours.shape == (128, 1 + samples // 160)
    assert np.abs(ours.numpy() - theirs[:, : ours.shape[1]]).max() < TOLERANCE


def test_blocks_of_a_long_waveform_meet_without_a_seam() -> None:
    waveform = noise(160 * (FRAMES_AT_ONCE + 50))
    seam = slice(FRAMES_AT_ONCE - 40, FRAMES_AT_ONCE + 40)
    theirs = librosas(waveform[160 * (FRAMES_AT_ONCE - 60) :].astype(np.float64))
    ours = log_mel(waveform, CONFIG)
    assert ours.shape == (128, FRAMES_AT_ONCE + 51)
    assert np.abs(ours.numpy()[:, seam] - theirs[:, 20:100]).max() < TOLERANCE


@pytest.mark.parametrize("config", [CONFIG, BY_UTTERANCE])
def test_silence_gives_zeros(config: FeatureConfig) -> None:
    for waveform in (np.zeros(16_000, np.float32), np.full(16_000, 0.0, np.float64), np.zeros(0, np.float32)):
        found = extract(waveform, config)
        assert found.abs().max() == 0


def test_normalisation_gives_mean_zero_and_deviation_one() -> None:
    spectrogram = log_mel(noise(16_000), CONFIG)
    by_bin, whole = normalise(spectrogram, "bin").double(), normalise(spectrogram, "utterance").double()
    assert by_bin.mean(1).abs().max() < 1e-6
    assert (by_bin.std(1, correction=0) - 1).abs().max() < 1e-6
    assert whole.mean().abs() < 1e-6
    assert (whole.std(correction=0) - 1).abs() < 1e-6
    assert not torch.allclose(by_bin, whole, atol=0.1)


@pytest.mark.parametrize("how", ["bin", "utterance"])
def test_normalised_in_single_precision_for_training(how: Normalisation) -> None:
    spectrogram = log_mel(noise(160_000), CONFIG)
    spectrogram[5] = -23.0
    exact, found = normalise(spectrogram, how), normalise_in_single(spectrogram, how)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)


def test_a_constant_bin_is_zero_and_the_others_are_not() -> None:
    spectrogram = log_mel(noise(16_000), CONFIG)
    spectrogram[5] = -23.0
    found = normalise(spectrogram, "bin")
    assert (found[5] == 0).all()
    assert torch.isfinite(found).all()
    assert found[6].std() > 0.9


def test_a_tone_lands_in_its_bin() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    loudest = int(log_mel(tone, CONFIG).mean(1).argmax())
    assert abs(mel_frequencies(CONFIG)[loudest] - 1000) < 30


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normalise": "bins"}, "unknown normalisation 'bins'; did you mean 'bin'"),
        ({"window": 2000}, "a window of at most"),
        ({"hop": 0}, "positive sizes"),
        ({"high": 9000.0}, "half the sample rate"),
        ({"floor": 0.0}, "a floor above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FeatureConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [CONFIG, BY_UTTERANCE])
def test_levels_undo_the_normalisation(config: FeatureConfig) -> None:
    noise = generator(0, "levels").normal(size=8000).astype(np.float32)
    plain = log_mel(noise, config)
    mean, deviation = levels(plain, config.normalise)
    assert mean.shape == ((128, 1) if config.normalise == "bin" else (1, 1))
    restored = normalise(plain, config.normalise).double() * deviation + mean
    torch.testing.assert_close(restored.float(), plain, rtol=0, atol=1e-5)


def buzz(seconds: float) -> np.ndarray:
    """Harmonics of a gliding voice under two resonances, with a little noise."""
    time = np.arange(round(16000 * seconds)) / 16000
    phase = 2 * np.pi * np.cumsum(110 + 40 * np.sin(3 * time)) / 16000
    number = np.arange(1, 60)[:, None]
    gain = np.exp(-(((number * 120 - 700) / 400) ** 2)) + 0.3 * np.exp(-(((number * 120 - 2200) / 500) ** 2))
    noise = 1e-3 * generator(0, "buzz").normal(size=len(time))
    return ((gain * np.sin(number * phase)).sum(0) / 20 + noise).astype(np.float32)


def test_power_has_the_mel_energies_asked_for() -> None:
    wanted = log_mel(buzz(1), CONFIG).numpy()
    power = power_of(wanted, CONFIG)
    assert power.shape == (513, wanted.shape[1])
    assert (power >= 0).all()
    np.testing.assert_allclose(np.log(mel_filters(CONFIG).numpy() @ power), wanted, atol=0.05)


def test_sound_has_the_spectrogram_asked_for() -> None:
    wanted = log_mel(buzz(1), CONFIG).numpy()
    sound = waveform_of(wanted, CONFIG, seed=3)
    assert sound.shape == ((wanted.shape[1] - 1) * CONFIG.hop,)
    error = np.abs(log_mel(sound, CONFIG).numpy() - wanted).mean()
    unfitted = np.abs(log_mel(waveform_of(wanted, CONFIG, seed=3, iterations=0), CONFIG).numpy() - wanted)
    assert error < 0.35
    assert error < 0.6 * unfitted.mean()
    np.testing.assert_array_equal(sound, waveform_of(wanted, CONFIG, seed=3))
    assert (sound != waveform_of(wanted, CONFIG, seed=4)).any()
