"""Augmentation of log-Mel spectrograms: tempo, noise, band limits, Mel shifts, SpecAugment masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AugmentationConfig:
    """How training spectrograms are varied.

    Parameters
    ----------
    tempo
        Slowest and fastest speed; drawn evenly.
    noise
        Share of utterances that get added noise.
    noise_level
        Lowest and highest level of the noise against the utterance's mean power, in dB.
    band_limit
        Share of utterances whose highest bins are pushed to the noise floor (as coders and telephones do).
    mel_shift
        Largest shift along the Mel axis in bins (as vocal tract length perturbation does).
    frequency_masks, frequency_width
        Number and largest width in bins of SpecAugment's frequency masks (Park et al. 2019).
    time_mask_every, time_width
        One time mask for so many seconds, of at most so many frames.
    """

    tempo: tuple[float, float] = (0.9, 1.12)
    noise: float = 0.5
    noise_level: tuple[float, float] = (-45.0, -10.0)
    band_limit: float = 0.1
    mel_shift: int = 3
    frequency_masks: int = 2
    frequency_width: int = 21
    time_mask_every: float = 2.0
    time_width: int = 24


def vary(
    spectrogram: np.ndarray, config: AugmentationConfig, draw: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A varied log-Mel spectrogram, and the tempo that was used.

    Works before normalisation: tempo, Mel shift, noise and band limit.

    Parameters
    ----------
    spectrogram
        ``(T, F)`` log power.

    Returns
    -------
    ``(T', F)`` with ``T' = round(T / tempo)``, and the tempo: time ``t`` has moved to ``t / tempo``.
    """
    tempo = float(draw.uniform(*config.tempo))
    varied = stretch(spectrogram, tempo)
    if config.mel_shift:
        varied = shift_mels(varied, int(draw.integers(-config.mel_shift, config.mel_shift + 1)))
    if draw.random() < config.noise:
        varied = add_noise(varied, float(draw.uniform(*config.noise_level)), draw)
    if draw.random() < config.band_limit:
        varied = limit_band(varied, int(draw.integers(varied.shape[1] * 5 // 8, varied.shape[1])))
    return varied, tempo


def stretch(spectrogram: np.ndarray, tempo: float) -> np.ndarray:
    """The spectrogram ``(T, F)`` at another tempo, by linear interpolation along time."""
    frames = len(spectrogram)
    places = np.arange(max(2, round(frames / tempo))) * tempo
    places = np.minimum(places, frames - 1)
    before = np.minimum(places.astype(np.int64), max(frames - 2, 0))
    weight = (places - before)[:, None].astype(np.float32)
    after = spectrogram[np.minimum(before + 1, frames - 1)]
    return np.asarray(spectrogram[before] * (1 - weight) + after * weight)


def shift_mels(spectrogram: np.ndarray, bins: int) -> np.ndarray:
    """The spectrogram moved up by ``bins`` along the Mel axis; the edge bin is repeated."""
    places = np.clip(np.arange(spectrogram.shape[1]) - bins, 0, spectrogram.shape[1] - 1)
    return spectrogram[:, places]


def add_noise(spectrogram: np.ndarray, level: float, draw: np.random.Generator) -> np.ndarray:
    """Log power plus noise of a random spectral tilt, ``level`` dB against the mean power.

    The noise's power in each cell is drawn from a gamma distribution of shape 2, about as a Mel filter over
    several Fourier bins of Gaussian noise gives.
    """
    power = np.exp(spectrogram)
    mels = spectrogram.shape[1]
    tilt = np.exp(draw.uniform(-2.0, 2.0) * np.linspace(-1, 1, mels)).astype(np.float32)
    scale = power.mean() * 10 ** (level / 10)
    noise = draw.standard_gamma(2.0, size=spectrogram.shape, dtype=np.float32) * (tilt * scale / 2)
    return np.asarray(np.log(np.maximum(power + noise, 1e-10)))


def limit_band(spectrogram: np.ndarray, first: int) -> np.ndarray:
    """The spectrogram with its bins from ``first`` up lowered towards the floor, 3 nepers a bin."""
    slope = np.maximum(np.arange(spectrogram.shape[1]) - first + 1, 0) * np.float32(3.0)
    return np.maximum(spectrogram - slope, np.float32(np.log(1e-10)))


def mask(spectrogram: np.ndarray, config: AugmentationConfig, draw: np.random.Generator) -> np.ndarray:
    """SpecAugment's frequency and time masks on a normalised spectrogram ``(T, F)``; masked cells: 0."""
    masked = spectrogram.copy()
    frames, mels = masked.shape
    for _ in range(config.frequency_masks):
        width = int(draw.integers(0, config.frequency_width + 1))
        first = int(draw.integers(0, max(mels - width, 1)))
        masked[:, first : first + width] = 0
    if config.time_mask_every > 0:
        for _ in range(round(frames * 0.01 / config.time_mask_every)):
            width = int(draw.integers(0, config.time_width + 1))
            first = int(draw.integers(0, max(frames - width, 1)))
            masked[first : first + width] = 0
    return masked
