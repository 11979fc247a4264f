"""Patterns one can hear: mean aligned spectrograms turned back into sound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from asr_introspect.features import FeatureConfig, waveform_of
from asr_introspect.progress import track

PEAK = 0.9
FADE_SECONDS = 0.02


def mean_levels(levels: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over utterances of their own mean and deviation *(choice)*.

    Parameters
    ----------
    levels
        Per utterance what :func:`~asr_introspect.features.levels` gives.
    """
    means, deviations = zip(*levels, strict=True)
    return np.mean(means, axis=0), np.mean(deviations, axis=0)


def pattern_sounds(
    means: np.ndarray,
    levels: tuple[np.ndarray, np.ndarray],
    config: FeatureConfig,
    *,
    seed: int = 0,
    iterations: int = 32,
) -> list[np.ndarray]:
    """The sound of each mean spectrogram (the average over groups plus the group's pattern), float32.

    Denormalised by ``levels``, exponentiated, the Mel filters inverted, phases found by Griffin-Lim. All are
    amplified alike, so that the loudest peaks at 0.9; ends are faded over 20 ms. A mean of logarithms is a
    blur of many voices: such sounds are hoarse and less loud than any one of what they are a mean of.

    Parameters
    ----------
    means
        Normalised log-Mel, ``(G, F, W)``; a missing cell (NaN) takes the average level of its band.
    levels
        Mean and deviation, ``(F, 1)`` or ``(1, 1)``; see :func:`mean_levels`.
    """
    mean, deviation = levels
    sounds = [
        _faded(
            waveform_of(np.nan_to_num(own) * deviation + mean, config, seed=seed, iterations=iterations),
            config.sample_rate,
        )
        for own in track(means, "sounds of patterns", unit="sound")
    ]
    loudest = max((float(np.abs(sound).max(initial=0)) for sound in sounds), default=0.0)
    gain = PEAK / loudest if loudest > 0 else 1.0
    return [sound * np.float32(gain) for sound in sounds]


def _faded(sound: np.ndarray, rate: int) -> np.ndarray:
    length = min(round(FADE_SECONDS * rate), len(sound) // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    faded = sound.copy()
    faded[:length] *= ramp
    faded[len(faded) - length :] *= ramp[::-1]
    return faded
