"""Aligns the phones of a corpus: by PocketSphinx, or by a recogniser of phonemes and a lexicon."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asr_introspect.corpus.alignment_files import textgrid_places
from asr_introspect.corpus.alignments import Alignment, write_textgrid
from asr_introspect.corpus.pronunciations import PHONES, Lexicon, read_lexicon, variants
from asr_introspect.corpus.records import Corpus, Segment, Skipped, Utterance
from asr_introspect.corpus.sphinx import PhoneAlignments, align_corpus_phones
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments.align import DECIMALS, aligned_each, heard_seconds, times
from asr_introspect.experiments.inputs import as_corpus, as_recogniser
from asr_introspect.files import writing
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import Forward
from asr_introspect.recogniser.pronunciation_alignment import (
    Fill,
    PronouncedWord,
    align_pronunciations,
    filled,
)
from asr_introspect.recogniser.symbols import letters


@dataclass(frozen=True)
class PronouncedCorpus:
    """Words and phones in time by a recogniser of phonemes.

    Parameters
    ----------
    alignments
        By the name of the utterance, in the corpus's order; the score of a phone is its mean posterior over
        the steps that carry it.
    several
        How many spoken words had more than one pronunciation to choose from.
    other
        In how many of those another one than the first fitted best.
    skipped
        Utterances that could not be aligned, and why.
    """

    alignments: Mapping[str, Alignment]
    several: int
    other: int
    skipped: tuple[Skipped, ...]


def align_phones(
    corpus: Path | str | Corpus,
    *,
    lexicon: Path | str | None = None,
    max_utterances: int | None = None,
    out: Path | str | None = None,
    textgrids: Path | str | None = None,
    workers: int | None = None,
) -> PhoneAlignments:
    """Words and phones of English speech in seconds, by PocketSphinx; no recogniser of ours is involved.

    Parameters
    ----------
    lexicon
        Pronunciations of words that PocketSphinx's dictionary lacks, or others of words that it has: lines of
        a word and its phones.
    out
        Where to write JSON lines: ``{"utterance", "duration", "words": [{"word", "start", "end"}],
        "phones": [{"symbol", "start", "end"}]}``; ``train --times`` and ``introspect --alignments`` read
        them.
    textgrids
        Folder for TextGrids with the tiers ``words`` and ``phones``; ``introspect --alignments`` reads them.
    workers
        Number of processes; one for each processor if not given.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed, nothing can be aligned, or an output cannot be written.
    """
    speech = as_corpus(corpus, max_utterances)
    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    found = align_corpus_phones(speech.utterances, textgrids, lexicon=pronunciations, workers=workers)
    _write_lines(out, speech, found.alignments)
    return dataclasses.replace(found, skipped=(*speech.skipped, *found.skipped))


def align_pronounced(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser,
    lexicon: Path | str | None = None,
    *,
    fill: Fill = "midpoints",
    device: str = "auto",
    max_utterances: int | None = None,
    out: Path | str | None = None,
    textgrids: Path | str | None = None,
) -> PronouncedCorpus:
    """Words and phones in seconds by a recogniser of phonemes, of any language.

    Of a word's pronunciations the one is taken that makes the whole utterance most likely.

    Parameters
    ----------
    checkpoint
        A recogniser whose symbols are phones.
    lexicon
        Lines of a word and its phones, which are symbols of the recogniser; a word may stand on several.
        Where its symbols are those of ARPAbet, words that the lexicon lacks come from the CMU dictionary,
        then from gruut (extra ``phones``), and the lexicon may be left out.
    fill
        How phones share the steps between the few that carry them; see
        :func:`~asr_introspect.recogniser.pronunciation_alignment.filled`.
    out, textgrids
        As for :func:`align_phones`; phones in JSON have a ``score`` besides.

    Raises
    ------
    UsageError
        The recogniser emits letters, or no lexicon is given for one that does not emit ARPAbet.
    IntrospectError
        The lexicon has phones that are no symbols of the recogniser, nothing can be aligned, or an output
        cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    symbols = phones_of_recogniser(recogniser)
    english = set(symbols) <= set(PHONES)
    if lexicon is None and not english:
        raise UsageError(
            "a recogniser of phonemes other than ARPAbet needs a lexicon: name one with --lexicon"
        )
    pronunciations = None if lexicon is None else read_lexicon(lexicon, symbols)
    speech = as_corpus(corpus, max_utterances)
    one = partial(_align_one, lexicon=pronunciations, english=english, fill=fill)
    found, skipped = aligned_each(recogniser, speech, one)
    alignments = {name: alignment for name, (alignment, _) in found.items()}
    chosen = sum((counts for _, counts in found.values()), Counter[str]())
    _write_lines(out, speech, alignments)
    if textgrids is not None:
        places = textgrid_places(speech.utterances, Path(textgrids))
        for utterance in speech.utterances:
            if aligned := alignments.get(utterance.name):
                write_textgrid(places[utterance.name], aligned, utterance.duration)
    return PronouncedCorpus(alignments, chosen["several"], chosen["other"], skipped)


def phones_of_recogniser(recogniser: Recogniser) -> tuple[str, ...]:
    """The symbols of a recogniser of phonemes, without the blank.

    Raises
    ------
    UsageError
        It emits letters.
    """
    table = recogniser.symbols
    symbols = tuple(name for i, name in enumerate(table.symbols) if i != table.blank)
    if set(symbols) <= set(letters().symbols):
        raise UsageError("the recogniser emits letters; phones are aligned by one that emits phonemes")
    return symbols


def _align_one(
    recogniser: Recogniser, forward: Forward, row: int, *, lexicon: Lexicon | None, english: bool, fill: Fill
) -> tuple[Alignment, Counter[str]]:
    """The alignment of one utterance of a batch, and in how many words pronunciations were chosen."""
    utterance = forward.utterances[row]
    spoken = utterance.text.split()
    phones = [variants(word, lexicon, english=english) for word in spoken]
    if unknown := sorted({word for word, own in zip(spoken, phones, strict=True) if not own}):
        raise IntrospectError(f"no pronunciation of {', '.join(unknown)}; give it in the lexicon")
    classes = [[recogniser.symbols.classes(variant) for variant in own] for own in phones]
    steps = int(forward.lengths[row])
    posteriors = forward.logits[row, :, :steps].double().log_softmax(0).T.cpu().numpy()
    words = align_pronunciations(posteriors, classes, recogniser.symbols.blank)
    counts = Counter(
        several=sum(len(own) > 1 for own in phones), other=sum(word.variant > 0 for word in words)
    )
    duration = heard_seconds(recogniser, forward, row)
    segments = _segments(recogniser, words, phones, filled(words, classes, posteriors, fill), duration)
    if any(not segment.start < segment.end for own in segments for segment in own):
        raise IntrospectError("its words cannot be found in its sound")
    return Alignment(
        tuple(Segment(word, own[0].start, own[-1].end) for word, own in zip(spoken, segments, strict=True)),
        tuple(segment for own in segments for segment in own),
    ), counts


def _segments(
    recogniser: Recogniser,
    words: list[PronouncedWord],
    phones: list[tuple[tuple[str, ...], ...]],
    steps: list[list[tuple[float, float]]],
    duration: float,
) -> list[list[Segment]]:
    """Each word's phones in seconds: step ``i`` starts at ``(2 i + 0.5) * 10 ms``."""

    def seconds(step: float) -> float:
        at = (recogniser.step_frames * step + 0.5) * recogniser.features.frame_seconds
        return round(min(max(at, 0.0), duration), DECIMALS)

    return [
        [
            Segment(own[word.variant][span.target], seconds(start), seconds(end), span.score)
            for span, (start, end) in zip(word.spans, times, strict=True)
        ]
        for word, own, times in zip(words, phones, steps, strict=True)
    ]


def _write_lines(out: Path | str | None, speech: Corpus, alignments: Mapping[str, Alignment]) -> None:
    if out is None:
        return
    with writing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for utterance in speech.utterances:
            if utterance.name in alignments:
                line = _as_json(utterance, alignments[utterance.name])
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _as_json(utterance: Utterance, aligned: Alignment) -> dict[str, Any]:
    return {
        "utterance": utterance.name,
        "duration": round(utterance.duration, DECIMALS),
        "words": [{"word": word.symbol, **times(word)} for word in aligned.words],
        "phones": [
            {"symbol": phone.symbol, **times(phone)}
            | ({} if math.isnan(phone.score) else {"score": round(phone.score, DECIMALS)})
            for phone in aligned.phones
        ],
    }
