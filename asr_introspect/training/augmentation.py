"""Augmentation of log-Mel spectrograms: tempo, Mel shifts, noise, band limits, lossy coding, SpecAugment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter1d

GRAIN = (0.3, 1.3)
"""Least and most grain of lossy coding, in nepers."""

MOST_HOLES = 0.08
HOLE = (4, 6)
"""Frames and bins of a hole that a coder leaves."""

FLOOR_REACH = 8
FLOOR_DEPTH = (9.0, 4.0)
"""A coder's floor lies 9 nepers minus 4 times the grain below the loudest within 8 bins."""


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
    coding
        Share of utterances that get the grain, floor and holes that lossy coding leaves, at 30 to 7 kbit/s
        (see :func:`code_lossily`).
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
    coding: float = 0.0
    mel_shift: int = 3
    frequency_masks: int = 2
    frequency_width: int = 21
    time_mask_every: float = 2.0
    time_width: int = 24

    def weakened(self, strength: float) -> AugmentationConfig:
        """Noise for fewer utterances, narrower and fewer masks: none at 0; the rest as it is."""
        if strength == 1:
            return self
        return replace(
            self,
            noise=self.noise * strength,
            frequency_width=round(self.frequency_width * strength),
            time_mask_every=self.time_mask_every / strength if strength > 0 else 0.0,
        )


def vary(
    spectrogram: np.ndarray, config: AugmentationConfig, draw: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A varied log-Mel spectrogram, and the tempo that was used.

    Works before normalisation: tempo, Mel shift, noise, band limit and lossy coding.

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
    # Nothing is drawn where it is off: who trains without it gets the numbers of before it was there.
    if config.coding and draw.random() < config.coding:
        holes = float(draw.uniform(0.0, MOST_HOLES)) if draw.random() < 0.5 else 0.0
        varied = code_lossily(varied, float(draw.uniform(*GRAIN)), holes, draw)
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
    # Two exponential variables sum to a gamma variable of shape 2, and take half of its time.
    noise = draw.standard_exponential(spectrogram.shape, dtype=np.float32)
    noise += draw.standard_exponential(spectrogram.shape, dtype=np.float32)
    noise *= tilt * np.float32(scale / 2)
    return np.asarray(np.log(np.maximum(power + noise, 1e-10)))


def limit_band(spectrogram: np.ndarray, first: int) -> np.ndarray:
    """The spectrogram with its bins from ``first`` up lowered towards the floor, 3 nepers a bin."""
    slope = np.maximum(np.arange(spectrogram.shape[1]) - first + 1, 0) * np.float32(3.0)
    return np.maximum(spectrogram - slope, np.float32(np.log(1e-10)))


def code_lossily(
    spectrogram: np.ndarray, grain: float, holes: float, draw: np.random.Generator
) -> np.ndarray:
    """Log power as after a lossy coder: grainy, with a floor under the loudest nearby, and with holes.

    A coder quantises the coefficients of each band of a frame against the loudest in it: what is far below
    is filled with noise or, in MP3 and Vorbis, left out. Sizes are fitted to round trips of real speech
    through Opus, MP3 and Vorbis (``tests/training/test_augmentation.py`` holds them against these).

    Parameters
    ----------
    grain
        Standard deviation of the log power that quantising adds: about 0.4 nepers for Opus at 30 kbit/s,
        0.9 at 14, 1.3 at 7.
    holes
        Share of the cells, in blocks of a few bins and frames, that lose 3 to 6 nepers: 0 for Opus, 0.01 to
        0.06 for MP3 and Vorbis.
    """
    power = np.exp(spectrogram)
    around = maximum_filter1d(power, 2 * FLOOR_REACH + 1, axis=1)
    power += around * np.float32(np.exp(FLOOR_DEPTH[1] * grain - FLOOR_DEPTH[0]))
    # log of a gamma variable of shape k: standard deviation about sqrt(1/k + 1/(2 k^2)), mean below zero.
    shape = (1 + np.sqrt(1 + 2 * grain**2)) / (2 * grain**2)
    power *= draw.standard_gamma(shape, size=power.shape, dtype=np.float32) / np.float32(shape)
    coded = np.log(np.maximum(power, 1e-10))
    if holes > 0:
        coded -= _holes(coded.shape, holes, draw)
    return np.asarray(np.maximum(coded, np.float32(np.log(1e-10))))


def _holes(shape: tuple[int, int], share: float, draw: np.random.Generator) -> np.ndarray:
    """What blocks of ``HOLE`` frames and bins lose, ``(T, F)``: 3 to 6 nepers in that share of them."""
    blocks = tuple(-(-size // block) for size, block in zip(shape, HOLE, strict=True))
    depth = draw.uniform(3.0, 6.0, blocks).astype(np.float32) * (draw.random(blocks) < share)
    return np.repeat(np.repeat(depth, HOLE[0], axis=0), HOLE[1], axis=1)[: shape[0], : shape[1]]


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
