"""Aligns the transcripts of a corpus with its sound."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_introspect.corpus.alignments import Alignment, write_tiers
from asr_introspect.corpus.pronunciations import read_lexicon
from asr_introspect.corpus.records import Corpus, Segment, Skipped, Utterance
from asr_introspect.corpus.sphinx import PhoneAlignments, align_corpus_phones
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.inputs import as_corpus, as_recogniser
from asr_introspect.files import writing
from asr_introspect.recogniser.alignment import AlignedText, align_text
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import LONGEST_SECONDS, Forward, forward_pass

LONGEST_FILE_NAME = 50
DECIMALS = 6


@dataclass(frozen=True)
class CorpusAlignment:
    """Letters and words in time of each utterance that could be aligned, in the corpus's order."""

    utterances: tuple[AlignedText, ...]
    skipped: tuple[Skipped, ...]


def align(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser | None = None,
    *,
    device: str = "auto",
    max_utterances: int | None = None,
    out: Path | str | None = None,
    textgrids: Path | str | None = None,
) -> CorpusAlignment:
    """Forced alignment of letters and words, in seconds.

    Utterances above 60 s are skipped.

    Parameters
    ----------
    checkpoint
        The bundled reference if not given.
    out
        Where to write JSON lines: ``{"utterance", "duration", "words": [{"word", "start", "end"}],
        "letters": [{"symbol", "start", "end", "score"}]}``.
    textgrids
        Folder for one Praat TextGrid per utterance, with the tiers ``words`` and ``letters``.

    Raises
    ------
    IntrospectError
        Nothing of the corpus can be aligned, or an output cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    speech = as_corpus(corpus, max_utterances)
    skipped = list(speech.skipped)
    short: list[Utterance] = []
    for utterance in speech.utterances:
        if utterance.duration > LONGEST_SECONDS:
            skipped.append(Skipped(utterance.name, f"longer than {LONGEST_SECONDS:.0f} s: not aligned"))
        else:
            short.append(utterance)
    aligned: dict[int, AlignedText] = {}
    for forward in forward_pass(recogniser, short, skipped=skipped, what="align"):
        for row, position in enumerate(forward.positions):
            try:
                aligned[position] = align_one(recogniser, forward, row)
            except IntrospectError as error:
                reason = str(error).removeprefix(f"{short[position].name}: ")
                skipped.append(Skipped(short[position].name, reason))
    if not aligned:
        reasons = "; ".join(f"{item.item}: {item.reason}" for item in skipped[:3])
        raise IntrospectError(f"no utterance could be aligned ({reasons})")
    found = CorpusAlignment(tuple(aligned[position] for position in sorted(aligned)), tuple(skipped))
    if out is not None:
        with writing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(as_json(each), ensure_ascii=False) + "\n" for each in found.utterances)
    if textgrids is not None:
        _write_textgrids(Path(textgrids), found)
    return found


def align_phones(
    corpus: Path | str | Corpus,
    *,
    lexicon: Path | str | None = None,
    max_utterances: int | None = None,
    out: Path | str | None = None,
    textgrids: Path | str | None = None,
) -> PhoneAlignments:
    """Words and phones of English speech in seconds, by PocketSphinx; no recogniser of ours is involved.

    Parameters
    ----------
    lexicon
        Pronunciations of words that PocketSphinx's dictionary lacks: lines of a word and its phones.
    out
        Where to write JSON lines: ``{"utterance", "duration", "words": [{"word", "start", "end"}],
        "phones": [{"symbol", "start", "end"}]}``; ``train --times`` reads them.
    textgrids
        Folder for TextGrids with the tiers ``words`` and ``phones``; ``introspect --alignments`` reads them.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed, nothing can be aligned, or an output cannot be written.
    """
    speech = as_corpus(corpus, max_utterances)
    pronunciations = None if lexicon is None else read_lexicon(lexicon)
    found = align_corpus_phones(speech.utterances, textgrids, lexicon=pronunciations)
    found = dataclasses.replace(found, skipped=(*speech.skipped, *found.skipped))
    if out is not None:
        with writing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            for utterance in speech.utterances:
                if utterance.name in found.alignments:
                    line = _phones_as_json(utterance, found.alignments[utterance.name])
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return found


def _phones_as_json(utterance: Utterance, aligned: Alignment) -> dict[str, Any]:
    return {
        "utterance": utterance.name,
        "duration": round(utterance.duration, DECIMALS),
        "words": [{"word": word.symbol, **_times(word)} for word in aligned.words],
        "phones": [{"symbol": phone.symbol, **_times(phone)} for phone in aligned.phones],
    }


def align_one(recogniser: Recogniser, forward: Forward, row: int) -> AlignedText:
    """The alignment of one utterance of a batch, as :func:`align_text` gives it."""
    utterance = forward.utterances[row]
    # A manifest may claim too little; the sound itself is at least as long as its last frame's centre.
    heard = (int(forward.frames[row]) - 1) * recogniser.features.frame_seconds
    return align_text(
        recogniser,
        forward.logits[row, :, : int(forward.lengths[row])],
        utterance.text,
        utterance=utterance.name,
        duration=max(utterance.duration, heard),
    )


def as_json(aligned: AlignedText) -> dict[str, Any]:
    """One line of the output."""
    return {
        "utterance": aligned.utterance,
        "duration": round(aligned.duration, DECIMALS),
        "words": [{"word": word.symbol, **_times(word)} for word in aligned.words],
        "letters": [
            {"symbol": letter.symbol, **_times(letter), "score": round(letter.score, DECIMALS)}
            for letter in aligned.letters
        ],
    }


def _times(segment: Segment) -> dict[str, float]:
    return {"start": round(segment.start, DECIMALS), "end": round(segment.end, DECIMALS)}


def _write_textgrids(folder: Path, found: CorpusAlignment) -> None:
    """One file per utterance, named like it as far as file names allow."""
    taken: set[str] = set()
    for aligned in found.utterances:
        plain = "".join(
            sign if sign.isprintable() and sign not in '/\\:*?"<>|' else "_" for sign in aligned.utterance
        )
        stem = plain.strip(". ")[:LONGEST_FILE_NAME] or "_"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add(name.casefold())
        tiers = {"words": aligned.words, "letters": aligned.letters}
        write_tiers(folder / f"{name}.TextGrid", tiers, aligned.duration)
