"""Scores a phoneme recogniser against phone alignments: phoneme error, for all and for each speaker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, checkpoint_name
from asr_introspect.files import write_records
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import greedy
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.recogniser.scoring import ErrorRate, edit_distance, error_rate, interval_name


@dataclass(frozen=True, slots=True)
class PhonemeScore:
    """One utterance's phonemes, spoken and recognised, and the edits between them."""

    utterance: str
    speaker: str
    sex: str
    seconds: float
    reference: str
    hypothesis: str
    edits: int
    phonemes: int


@dataclass(frozen=True)
class PhonemeEvaluation:
    """A phoneme recogniser's error on a corpus; ``speakers`` holds each speaker's."""

    checkpoint: str
    phoneme_error: ErrorRate
    speakers: dict[str, ErrorRate]
    utterances: tuple[PhonemeScore, ...]
    skipped: tuple[Skipped, ...]

    def summary(self) -> dict[str, Any]:
        """The figures as JSON: rates are fractions."""
        error = self.phoneme_error
        return {
            "utterances": len(self.utterances),
            "seconds": round(sum(each.seconds for each in self.utterances), 3),
            "speakers": len(self.speakers),
            "phoneme_error_rate": error.rate,
            "phoneme_error_interval": error.interval,
            "interval": f"95 % bootstrap over {interval_name(len(self.speakers))}",
            "phoneme_edits": error.edits,
            "phonemes": error.length,
            "skipped": len(self.skipped),
            "checkpoint": self.checkpoint,
            "decoder": "greedy",
        }


def evaluate_phonemes(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser,
    alignments: Path | str,
    *,
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
    out: Path | str | None = None,
) -> PhonemeEvaluation:
    """Phoneme error of a phoneme recogniser over a corpus, decoded greedily.

    Edits over the phones of the alignments, stress stripped, silences left out, summed over utterances.
    Utterances without an alignment, and those with a phone that the recogniser does not know, are skipped.

    Parameters
    ----------
    alignments
        Whatever :func:`~asr_introspect.corpus.alignment_files.read_alignments` reads.
    out
        Where to write a CSV with a row per utterance.

    Raises
    ------
    IntrospectError
        Nothing can be scored, the recogniser spells text, or ``out`` cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    symbols = recogniser.symbols
    if symbols.spells_text:
        raise IntrospectError("the recogniser's symbols are letters: evaluate it without --alignments")
    speech = as_corpus(corpus, max_utterances)
    skipped = list(speech.skipped)
    spoken = {
        name: [without_stress(phone.symbol) for phone in alignment.phones]
        for name, alignment in read_alignments(alignments, speech.utterances, skipped).items()
    }
    known = []
    for utterance in speech.utterances:
        unknown = sorted(set(spoken.get(utterance.name, ())) - set(symbols.symbols))
        if utterance.name not in spoken:
            skipped.append(Skipped(utterance.name, "no phone alignment"))
        elif unknown:
            skipped.append(Skipped(utterance.name, f"unknown phones: {' '.join(unknown[:5])}"))
        else:
            known.append(utterance)
    scores: dict[int, PhonemeScore] = {}
    for forward in forward_pass(recogniser, known, skipped=skipped, what="evaluate"):
        for position, utterance, logits in zip(
            forward.positions, forward.utterances, forward.valid_logits(), strict=True
        ):
            heard = [symbols.symbols[each] for each in greedy(logits, symbols.blank)]
            reference = spoken[utterance.name]
            scores[position] = PhonemeScore(
                utterance.name,
                utterance.speaker,
                utterance.sex,
                utterance.duration,
                " ".join(reference),
                " ".join(heard),
                edit_distance(heard, reference),
                len(reference),
            )
    if not scores:
        raise IntrospectError(f"no utterance could be scored; all {len(skipped)} were skipped")
    ordered = tuple(scores[position] for position in sorted(scores))
    if out is not None:
        write_records(out, ordered)
    speakers = sorted({each.speaker for each in ordered})
    return PhonemeEvaluation(
        checkpoint_name(checkpoint),
        _rate(ordered, seed),
        {name: _rate([each for each in ordered if each.speaker == name], seed) for name in speakers},
        ordered,
        tuple(skipped),
    )


def _rate(scores: tuple[PhonemeScore, ...] | list[PhonemeScore], seed: int) -> ErrorRate:
    edits, lengths = [each.edits for each in scores], [each.phonemes for each in scores]
    return error_rate(edits, lengths, [each.speaker for each in scores], seed=seed)
