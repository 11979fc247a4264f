"""Waveforms to z-normalised log-Mel spectrograms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from asr_introspect.errors import UsageError, unknown_name

SMALLEST_DEVIATION = 1e-5
"""A standard deviation below this counts as 1, so that silence gives zeros."""

FRAMES_AT_ONCE = 6000
"""A long waveform is transformed a minute at a time: an hour at once would take 6 GB."""

Normalisation = Literal["utterance", "bin"]


@dataclass(frozen=True)
class FeatureConfig:
    """How a waveform becomes a spectrogram; stored in every checkpoint.

    Parameters
    ----------
    sample_rate
        Samples per second.
    window
        Length of the periodic Hann window in samples.
    hop
        Samples from one frame to the next.
    fft
        Length of the Fourier transform in samples.
    mels
        Number of Slaney-normalised Mel filters.
    low, high
        Edges of the filter bank in Hz.
    floor
        Smallest power; the logarithm is of ``max(power, floor)``.
    normalise
        ``utterance``: one mean and one standard deviation over the whole matrix;
        ``bin``: per Mel bin (as in QuartzNet, Kriman et al. 2020).
    """

    sample_rate: int = 16_000
    window: int = 400
    hop: int = 160
    fft: int = 1024
    mels: int = 128
    low: float = 0.0
    high: float = 8000.0
    floor: float = 1e-10
    normalise: Normalisation = "bin"

    def __post_init__(self) -> None:
        if self.normalise not in get_args(Normalisation):
            raise unknown_name("normalisation", self.normalise, get_args(Normalisation))
        if min(self.sample_rate, self.window, self.hop, self.mels) < 1 or not 0 < self.window <= self.fft:
            raise UsageError("features need positive sizes and a window of at most the transform's length")
        if not 0 <= self.low < self.high <= self.sample_rate / 2 or not self.floor > 0:
            raise UsageError("features need 0 <= low < high <= half the sample rate, and a floor above 0")

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next; frame ``t`` is centred at ``t * frame_seconds``."""
        return self.hop / self.sample_rate

    def frames(self, samples: int) -> int:
        """Number of frames of a waveform of so many samples."""
        return 1 + samples // self.hop


@lru_cache(maxsize=8)
def mel_filters(config: FeatureConfig) -> Tensor:
    """The filter bank, ``(mels, fft // 2 + 1)``, float64, Slaney's scale and norm; computed once."""
    filters = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.fft, n_mels=config.mels, fmin=config.low, fmax=config.high
    )
    return torch.from_numpy(filters.astype(np.float64))


def mel_frequencies(config: FeatureConfig) -> np.ndarray:
    """The centre of each Mel filter in Hz, ``(mels,)``."""
    edges = librosa.mel_frequencies(config.mels + 2, fmin=config.low, fmax=config.high)
    return np.asarray(edges[1:-1])


def log_mel(waveform: Tensor | np.ndarray, config: FeatureConfig) -> Tensor:
    """The log-Mel spectrogram before normalisation, ``(F, T)`` float32, ``T = 1 + samples // hop``.

    Equal to librosa's ``log(max(melspectrogram(..., pad_mode="reflect"), floor))``. The transform and the
    filter product run in float64: in float32 quiet bins deviate by up to 5e-4.

    Parameters
    ----------
    waveform
        ``(samples,)`` in [-1, 1] at ``config.sample_rate``.
    """
    signal = torch.as_tensor(waveform)
    frames = config.frames(signal.shape[-1])
    too_short_to_reflect = config.fft // 2 + 1 - signal.shape[-1]
    if too_short_to_reflect > 0:
        signal = F.pad(signal, (0, too_short_to_reflect))
    half = config.fft // 2
    padded = F.pad(signal[None], (half, half), mode="reflect")[0]
    window = torch.hann_window(config.window, periodic=True, dtype=torch.float64, device=signal.device)
    filters = mel_filters(config).to(signal.device)
    result = torch.empty(config.mels, frames, device=signal.device)
    for first in range(0, frames, FRAMES_AT_ONCE):
        end = min(first + FRAMES_AT_ONCE, frames)
        spectrum = torch.stft(
            padded[first * config.hop : (end - 1) * config.hop + config.fft].double(),
            n_fft=config.fft,
            hop_length=config.hop,
            win_length=config.window,
            window=window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        result[:, first:end] = (filters @ power).clamp_min(config.floor).log()
    return result


def normalise(spectrogram: Tensor, how: Normalisation) -> Tensor:
    """The z-normalised spectrogram, same shape ``(F, T)``, zero mean and unit deviation.

    A standard deviation below 1e-5 counts as 1: silence gives zeros, not NaN.

    Parameters
    ----------
    how
        ``utterance``: over the whole matrix; ``bin``: per Mel bin.
    """
    mean, deviation = levels(spectrogram, how)
    exact = spectrogram.double() - mean
    exact /= deviation
    return exact.to(spectrogram.dtype)


def normalise_in_single(spectrogram: Tensor, how: Normalisation) -> Tensor:
    """As :func:`normalise` to 1e-5, in the spectrogram's own type and a fifth of the time, for training."""
    over = (-1,) if how == "bin" else (-2, -1)
    centred = spectrogram - spectrogram.mean(over, keepdim=True)
    deviation = centred.square().mean(over, keepdim=True).sqrt()
    return centred.div_(torch.where(deviation < SMALLEST_DEVIATION, 1.0, deviation))


def levels(spectrogram: Tensor, how: Normalisation) -> tuple[Tensor, Tensor]:
    """Mean and deviation that :func:`normalise` takes off: ``(F, 1)`` per bin, ``(1, 1)`` per utterance,
    float64.

    ``normalised * deviation + mean`` is the spectrogram again.
    """
    over = (-1,) if how == "bin" else (-2, -1)
    exact = spectrogram.double()
    mean = exact.mean(over, keepdim=True)
    count = math.prod(exact.shape[axis] for axis in over)
    deviation = torch.linalg.vector_norm(exact - mean, dim=over, keepdim=True) / math.sqrt(count)
    return mean, torch.where(deviation < SMALLEST_DEVIATION, torch.ones_like(deviation), deviation)


def extract(waveform: Tensor | np.ndarray, config: FeatureConfig) -> Tensor:
    """The recogniser's input: z-normalised log-Mel, ``(F, T)`` float32. See :func:`log_mel`."""
    return normalise(log_mel(waveform, config), config.normalise)


def power_of(spectrogram: np.ndarray, config: FeatureConfig, *, updates: int = 30) -> np.ndarray:
    """The power spectrum ``(fft // 2 + 1, T)`` whose Mel energies are ``exp(spectrogram)``.

    There are many; this one is smooth and not negative: the filters' own shapes, refined by the
    multiplicative updates of Lee & Seung (2001) for the Kullback-Leibler divergence *(choice)*.

    Parameters
    ----------
    spectrogram
        Log-Mel, not normalised, ``(F, T)``.
    """
    filters = mel_filters(config).numpy()
    energy = np.exp(np.asarray(spectrogram, np.float64))
    seen = filters.sum(0)
    some = seen > 0  # a frequency that no filter passes stays silent
    seen, spread = seen[some, None], filters.sum(1, keepdims=True)
    down = csr_array(filters[:, some])  # a filter passes a few of 513 frequencies
    up = csr_array(filters[:, some].T)
    power = (up @ (energy / np.maximum(spread, 1e-300))) / seen
    for _ in range(updates):
        power *= (up @ (energy / np.maximum(down @ power, 1e-300))) / seen
    found = np.zeros((config.fft // 2 + 1, energy.shape[1]))
    found[some] = power
    return found


def waveform_of(
    spectrogram: np.ndarray, config: FeatureConfig, *, seed: int = 0, iterations: int = 32
) -> np.ndarray:
    """Sound whose log-Mel spectrogram is near the given one, ``((T - 1) * hop,)`` float32.

    Phases are found by the fast algorithm of Griffin & Lim (Perraudin 2013) from a seeded random start. The
    level is that of the spectrogram: it may exceed 1.

    Parameters
    ----------
    spectrogram
        Log-Mel, not normalised, ``(F, T)``.
    """
    magnitude = np.sqrt(power_of(spectrogram, config)).astype(np.float32)
    sound = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=config.hop,
        win_length=config.window,
        n_fft=config.fft,
        random_state=seed,
    )
    return np.asarray(sound, np.float32)
