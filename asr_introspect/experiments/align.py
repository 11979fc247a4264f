"""Aligns the transcripts of a corpus with its sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asr_introspect.corpus.alignments import write_tiers
from asr_introspect.corpus.records import Corpus, Segment, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.inputs import as_corpus, as_recogniser
from asr_introspect.files import writing
from asr_introspect.recogniser.alignment import AlignedText, align_text
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import LONGEST_SECONDS, Forward, forward_pass

LONGEST_FILE_NAME = 50
DECIMALS = 6

Aligned = TypeVar("Aligned")


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
    aligned, skipped = aligned_each(recogniser, speech, align_one)
    found = CorpusAlignment(tuple(aligned.values()), skipped)
    if out is not None:
        with writing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(as_json(each), ensure_ascii=False) + "\n" for each in found.utterances)
    if textgrids is not None:
        _write_textgrids(Path(textgrids), found)
    return found


def aligned_each(
    recogniser: Recogniser, speech: Corpus, one: Callable[[Recogniser, Forward, int], Aligned]
) -> tuple[dict[str, Aligned], tuple[Skipped, ...]]:
    """What ``one`` says of each utterance, by name in the corpus's order, and what was skipped.

    Parameters
    ----------
    one
        Aligns the utterance of a row of a batch, or raises an :class:`IntrospectError`.

    Raises
    ------
    IntrospectError
        Nothing of the corpus can be aligned.
    """
    skipped = list(speech.skipped)
    short: list[Utterance] = []
    for utterance in speech.utterances:
        if utterance.duration > LONGEST_SECONDS:
            skipped.append(Skipped(utterance.name, f"longer than {LONGEST_SECONDS:.0f} s: not aligned"))
        else:
            short.append(utterance)
    aligned: dict[int, Aligned] = {}
    for forward in forward_pass(recogniser, short, skipped=skipped, what="align"):
        for row, position in enumerate(forward.positions):
            try:
                aligned[position] = one(recogniser, forward, row)
            except IntrospectError as error:
                reason = str(error).removeprefix(f"{short[position].name}: ")
                skipped.append(Skipped(short[position].name, reason))
    if not aligned:
        reasons = "; ".join(f"{item.item}: {item.reason}" for item in skipped[:3])
        raise IntrospectError(f"no utterance could be aligned ({reasons})")
    return {short[position].name: aligned[position] for position in sorted(aligned)}, tuple(skipped)


def align_one(recogniser: Recogniser, forward: Forward, row: int) -> AlignedText:
    """The alignment of one utterance of a batch, as :func:`align_text` gives it."""
    utterance = forward.utterances[row]
    return align_text(
        recogniser,
        forward.logits[row, :, : int(forward.lengths[row])],
        utterance.text,
        utterance=utterance.name,
        duration=heard_seconds(recogniser, forward, row),
    )


def heard_seconds(recogniser: Recogniser, forward: Forward, row: int) -> float:
    """The length of an utterance: a manifest may claim too little.

    The sound itself is at least as long as its last frame's centre.
    """
    heard = (int(forward.frames[row]) - 1) * recogniser.features.frame_seconds
    return max(forward.utterances[row].duration, heard)


def as_json(aligned: AlignedText) -> dict[str, Any]:
    """One line of the output."""
    return {
        "utterance": aligned.utterance,
        "duration": round(aligned.duration, DECIMALS),
        "words": [{"word": word.symbol, **times(word)} for word in aligned.words],
        "letters": [
            {"symbol": letter.symbol, **times(letter), "score": round(letter.score, DECIMALS)}
            for letter in aligned.letters
        ],
    }


def times(segment: Segment) -> dict[str, float]:
    """Start and end of a segment in seconds, as they are written."""
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
