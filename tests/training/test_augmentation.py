"""Augmentations against what they claim to do."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.random import generator
from asr_introspect.training.augmentation import (
    AugmentationConfig,
    add_noise,
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


def test_same_seed_same_variation(spectrogram: np.ndarray) -> None:
    config = AugmentationConfig()
    first, tempo = vary(spectrogram, config, generator(3, "augmentation", 1, 2))
    second, again = vary(spectrogram, config, generator(3, "augmentation", 1, 2))
    other, _ = vary(spectrogram, config, generator(3, "augmentation", 1, 3))
    np.testing.assert_array_equal(first, second)
    assert tempo == again
    assert other.shape != first.shape or not np.array_equal(other, first)
