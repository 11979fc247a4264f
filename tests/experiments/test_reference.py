"""The bundled recogniser on speech: batches, long files, error rates, and letters where they sound."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from asr_introspect.corpus.audio import read_audio
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.experiments.boundaries import BoundaryRow, word_boundaries
from asr_introspect.experiments.evaluate import evaluate
from asr_introspect.experiments.transcribe import transcribe
from asr_introspect.features import extract
from asr_introspect.recogniser.checkpoint import Recogniser, load_model
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.resources import bundled

pytestmark = pytest.mark.speech


@cache
def reference() -> Recogniser:
    return load_model(bundled("reference"))


def responses(recogniser: Recogniser, place: Path, count: int, batch_seconds: float) -> dict[str, Tensor]:
    """The logits of a corpus's first utterances by name."""
    utterances = read_corpus(place, count).utterances
    precision = recogniser.network.layer1.convolution.weight.dtype
    inputs = [extract(read_audio(each.audio), recogniser.features).to(precision) for each in utterances]
    return {
        utterance.name: forward.logits[row, :, : int(forward.lengths[row])]
        for forward in forward_pass(
            recogniser, utterances, batch_seconds=batch_seconds, spectrograms=inputs.__getitem__
        )
        for row, utterance in enumerate(forward.utterances)
    }


@pytest.mark.parametrize(
    ("precision", "count", "tolerance"), [(torch.float32, 12, 1e-5), (torch.float64, 4, 1e-10)]
)
def test_real_speech_has_the_same_logits_alone_and_in_batches(
    sample: Path, precision: torch.dtype, count: int, tolerance: float
) -> None:
    """Relative to the logit where that is above 1: those of rare letters reach -100, where float32 is spaced
    by 8e-6."""
    place = sample / "LibriSpeech"
    recogniser = load_model(bundled("reference"))
    recogniser.network.to(precision)
    alone = responses(recogniser, place, count, batch_seconds=0.01)
    together = responses(recogniser, place, count, batch_seconds=50)
    assert len(alone) == len(together) == count
    for name, logits in alone.items():
        assert together[name].dtype == precision
        assert torch.allclose(together[name], logits, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_long_recording_is_heard_as_in_one_pass(
    demo: Path, tmp_path: Path, precision: torch.dtype, tolerance: float
) -> None:
    """Speech joined to 65 s; in one piece it would be 65 s of activations, here it is cut and joined.

    Relative to the largest logit (about 100): float32 rounds each by what the size of its terms gives.
    """
    corpus = read_corpus(demo, 20)
    sound = np.concatenate([read_audio(utterance.audio) for utterance in corpus.utterances])
    sound = np.tile(sound, 2)[: 65 * 16_000]
    soundfile.write(tmp_path / "long.wav", sound, 16_000, subtype="FLOAT")
    utterance = dataclasses.replace(corpus.utterances[0], audio=tmp_path / "long.wav", duration=65.0)
    recogniser = load_model(bundled("reference"))
    recogniser.network.to(precision)
    inputs = extract(read_audio(utterance.audio), recogniser.features)
    given = None if precision == torch.float32 else lambda _: inputs.double()
    (forward,) = forward_pass(recogniser, [utterance], layers=["input", "layer9"], spectrograms=given)
    whole = recogniser.network(forward.activations["input"]).detach()
    assert forward.logits.shape == (1, 29, 3250)
    assert (forward.logits - whole).abs().max() < tolerance * whole.abs().max()


def test_the_demo_voices_are_understood(demo: Path) -> None:
    found = evaluate(demo, reference())
    assert len(found.utterances) == 160
    assert [row.sex for row in found.speakers] == ["F", "M"]
    assert found.letter_error.rate < 0.3
    assert found.letter_error.low < found.letter_error.rate < found.letter_error.high


def test_shuffled_transcripts_are_not(demo: Path) -> None:
    """The test above can fail: against other utterances' transcripts the letter error is that of chance."""
    corpus = read_corpus(demo, 20)
    texts = [utterance.text for utterance in corpus.utterances]
    moved = tuple(
        dataclasses.replace(utterance, text=texts[number - 1])
        for number, utterance in enumerate(corpus.utterances)
    )
    assert evaluate(dataclasses.replace(corpus, utterances=moved), reference()).letter_error.rate > 0.6


def test_transcription_of_one_file_is_that_of_the_corpus(sample: Path) -> None:
    corpus = read_corpus(sample / "LibriSpeech", 3)
    scored = evaluate(corpus, reference())
    heard = transcribe([utterance.audio for utterance in corpus.utterances], reference())
    assert [each.text for each in heard] == [score.hypothesis for score in scored.utterances]


def test_words_are_aligned_where_they_sound(sample: Path) -> None:
    """CTC may emit letters late or early by some steps; it places words far better than no sound does."""
    rows = word_boundaries(sample / "LibriSpeech", sample / "alignments", reference(), max_utterances=40)
    named: dict[tuple[str, str], BoundaryRow] = {(row.comparison, row.edge): row for row in rows}
    for edge in ("start", "end"):
        paired, even = named["paired", edge], named["even", edge]
        assert paired.count > 600
        assert abs(paired.median.value) < 0.1
        assert paired.within[2].low > even.within[2].high + 0.4
        assert paired.ninetieth.high < even.ninetieth.low / 2
        nearest, shifted = named["nearest", edge], named["shifted, nearest", edge]
        assert nearest.within[2].low > shifted.within[2].high + 0.2
