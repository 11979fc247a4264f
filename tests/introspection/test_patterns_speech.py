"""Patterns of phonemes in real speech: what phonetics says of them is beyond chance, and chance is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.audio import read_audio
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.features import FeatureConfig, extract, mel_frequencies
from asr_introspect.introspection.pattern_errors import UtteranceWindows
from asr_introspect.introspection.patterns import PatternAxes, patterns_of
from asr_introspect.recogniser.symbols import PHONEMES

pytestmark = pytest.mark.speech
CONFIG = FeatureConfig()


@pytest.fixture(scope="module")
def spoken(sample: Path) -> list[UtteranceWindows]:
    """Every second utterance of the sample, phones at the middle of their spans."""
    utterances = read_corpus(sample / "LibriSpeech").utterances[::2]
    alignments = read_alignments(sample / "alignments", utterances, [])
    found = []
    for utterance in utterances:
        rows = extract(read_audio(utterance.audio), CONFIG).numpy().T
        phones = [
            phone
            for phone in alignments[utterance.name].phones
            if without_stress(phone.symbol) in PHONEMES and phone.end < len(rows) / 100
        ]
        position = np.array([round(50 * (phone.start + phone.end)) for phone in phones])
        group = np.array([PHONEMES.index(without_stress(phone.symbol)) for phone in phones])
        found.append(UtteranceWindows(rows, position, group))
    return found


def patterns(utterances: list[UtteranceWindows]) -> xarray.Dataset:
    axes = PatternAxes(mel_frequencies(CONFIG), CONFIG.frame_seconds)
    return patterns_of(
        utterances, PHONEMES, axes, first=-10, positions=21, labels="phonemes", minimum=20, draws=100
    )


def test_hiss_voice_and_closure_are_beyond_chance(spoken: list[UtteranceWindows]) -> None:
    found = patterns(spoken)
    for phone, low, high, sign in (
        ("S", 4500, 7500, 1),  # hiss
        ("S", 200, 1500, -1),  # no voice
        ("AA", 600, 1200, 1),  # first and second formant
        ("IY", 2000, 3000, 1),  # second and third formant
        ("IY", 900, 1500, -1),  # between first and second
        ("P", 1000, 6000, -1),  # closure
    ):
        place = found.sel(group=phone, frame=slice(-1, 1), frequency=slice(low, high))
        assert bool((np.sign(place["pattern"]).mean() * sign) > 0.9), (phone, low)
        assert float(place["significant"].mean()) > 0.3, (phone, low)
    assert float(found["significant"].mean()) < 0.5


def test_with_the_labels_of_other_utterances_hardly_anything_is(spoken: list[UtteranceWindows]) -> None:
    others = [
        UtteranceWindows(own.rows, own.position, np.resize(other.group, len(own.group)))
        for own, other in zip(spoken, spoken[1:] + spoken[:1], strict=True)
    ]
    found = patterns(others)
    exceeding = found["significant"].any(("frequency", "frame"))
    # 5 % of some 27 maps are expected; six or more come once in 600 times.
    assert int(exceeding.sum()) < 6
    assert float(found["significant"].mean()) < 0.005
