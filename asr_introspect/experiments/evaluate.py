"""Scores a recogniser on a corpus: letter and word error, for all and for each speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, checkpoint_name
from asr_introspect.files import write_records
from asr_introspect.recogniser.beam import BeamConfig, choose_decoder
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import text
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.recogniser.scoring import ErrorRate, edit_distance, error_rate, interval_name


@dataclass(frozen=True, slots=True)
class UtteranceScore:
    """One utterance's hypothesis and its edits, over characters (spaces and apostrophes too) and words."""

    utterance: str
    speaker: str
    sex: str
    seconds: float
    reference: str
    hypothesis: str
    letter_edits: int
    letters: int
    word_edits: int
    words: int


@dataclass(frozen=True, slots=True)
class SpeakerScore:
    """One speaker's error rates; the intervals are over the speaker's utterances."""

    speaker: str
    sex: str
    utterances: int
    seconds: float
    letter_error: ErrorRate
    word_error: ErrorRate


@dataclass(frozen=True)
class Evaluation:
    """A recogniser's error rates on a corpus."""

    checkpoint: str
    decoding: Mapping[str, Any]
    letter_error: ErrorRate
    word_error: ErrorRate
    speakers: tuple[SpeakerScore, ...]
    utterances: tuple[UtteranceScore, ...]
    skipped: tuple[Skipped, ...]

    @property
    def seconds(self) -> float:
        """Seconds of speech that was scored."""
        return sum(score.seconds for score in self.utterances)

    def summary(self) -> dict[str, Any]:
        """The figures as JSON: rates are fractions; an interval that cannot be had is None."""
        return {
            "utterances": len(self.utterances),
            "seconds": round(self.seconds, 3),
            "speakers": len(self.speakers),
            "letter_error_rate": self.letter_error.rate,
            "letter_error_interval": self.letter_error.interval,
            "word_error_rate": self.word_error.rate,
            "word_error_interval": self.word_error.interval,
            "interval": f"95 % bootstrap over {interval_name(len(self.speakers))}",
            "letter_edits": self.letter_error.edits,
            "letters": self.letter_error.length,
            "word_edits": self.word_error.edits,
            "words": self.word_error.length,
            "skipped": len(self.skipped),
            "checkpoint": self.checkpoint,
            **self.decoding,
        }


def evaluate(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser | None = None,
    *,
    decoder: str = "greedy",
    language_model: Path | str | None = None,
    beam: BeamConfig = BeamConfig(),  # noqa: B008 - frozen
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
    out: Path | str | None = None,
) -> Evaluation:
    """Letter and word error over a corpus.

    Edits over reference characters (spaces and apostrophes included), summed over utterances; intervals by
    :func:`~asr_introspect.recogniser.scoring.error_rate`.

    Parameters
    ----------
    checkpoint
        The bundled reference if not given.
    decoder, language_model, beam
        See :func:`~asr_introspect.recogniser.beam.choose_decoder`.
    out
        Where to write a CSV with a row per utterance.

    Raises
    ------
    IntrospectError
        Nothing of the corpus can be used, the recogniser does not spell text, the language model cannot be
        used, or ``out`` cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    if not recogniser.symbols.spells_text:
        raise IntrospectError(
            "the recogniser's symbols are not letters: it has no letter and word error; "
            "--alignments gives the phonemes that it is scored against"
        )
    decode = choose_decoder(recogniser.symbols, decoder, language_model, beam)
    speech = as_corpus(corpus, max_utterances)
    skipped = list(speech.skipped)
    scores: dict[int, UtteranceScore] = {}
    for forward in forward_pass(recogniser, speech.utterances, skipped=skipped, what="evaluate"):
        heard = [text(decode(logits), recogniser.symbols) for logits in forward.valid_logits()]
        for position, utterance, hypothesis in zip(forward.positions, forward.utterances, heard, strict=True):
            scores[position] = score(utterance, hypothesis)
    if not scores:
        raise IntrospectError(f"no utterance could be scored; all {len(skipped)} were skipped")
    ordered = tuple(scores[position] for position in sorted(scores))
    letter_error, word_error = rates(ordered, seed=seed)
    if out is not None:
        write_records(out, ordered)
    decoding: dict[str, Any] = {"decoder": decoder}
    if decoder == "beam":
        decoding |= {"language_model": str(language_model) if language_model else None, "beam": asdict(beam)}
    return Evaluation(
        checkpoint_name(checkpoint),
        decoding,
        letter_error,
        word_error,
        _by_speaker(ordered, seed),
        ordered,
        tuple(skipped),
    )


def score(utterance: Utterance, hypothesis: str) -> UtteranceScore:
    """The edits between an utterance's transcript and a hypothesis."""
    reference_words = utterance.text.split()
    return UtteranceScore(
        utterance.name,
        utterance.speaker,
        utterance.sex,
        utterance.duration,
        utterance.text,
        hypothesis,
        edit_distance(hypothesis, utterance.text),
        len(utterance.text),
        edit_distance(hypothesis.split(), reference_words),
        len(reference_words),
    )


def rates(
    scores: Sequence[UtteranceScore], against: Sequence[UtteranceScore] | None = None, *, seed: int = 0
) -> tuple[ErrorRate, ErrorRate]:
    """Letter and word error of some utterances, with intervals.

    With ``against``, the scores of the same utterances in the same order: by how much the errors exceed
    those, paired by utterance.

    Raises
    ------
    ValueError
        ``against`` has not as many scores.
    """
    letter_edits = [each.letter_edits for each in scores]
    word_edits = [each.word_edits for each in scores]
    if against is not None:
        letter_edits = [own - each.letter_edits for own, each in zip(letter_edits, against, strict=True)]
        word_edits = [own - each.word_edits for own, each in zip(word_edits, against, strict=True)]
    speakers = [each.speaker for each in scores]
    letters = error_rate(letter_edits, [each.letters for each in scores], speakers, seed=seed)
    words = error_rate(word_edits, [each.words for each in scores], speakers, seed=seed)
    return letters, words


def _by_speaker(scores: Sequence[UtteranceScore], seed: int) -> tuple[SpeakerScore, ...]:
    found = []
    for speaker in sorted({each.speaker for each in scores}):
        own = [each for each in scores if each.speaker == speaker]
        seconds = sum(each.seconds for each in own)
        found.append(SpeakerScore(speaker, own[0].sex, len(own), seconds, *rates(own, seed=seed)))
    return tuple(found)
