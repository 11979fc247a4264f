"""Transcripts as the recogniser spells them: A to Z, apostrophe and single spaces."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from asr_introspect.corpus.audio import SAMPLE_RATE

STEP_SECONDS = 0.02
_HOP_SAMPLES = SAMPLE_RATE // 100
_SPELLING = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ '")
_LETTERS_WITHOUT_PARTS = {"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH", "ẞ": "SS"}
_SIGNS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", **_LETTERS_WITHOUT_PARTS})


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript after normalisation.

    ``text`` is "" where ``problem`` says why the transcript cannot be used; ``lower_case`` and ``accents``
    say what was changed.
    """

    text: str
    problem: str = ""
    lower_case: bool = False
    accents: bool = False


def normalise(raw: str) -> Transcript:
    """The transcript in upper case with single spaces and accents folded (É to E, Æ to AE, ß to SS).

    Digits and all other symbols make it unusable: nobody knows how they were read aloud.
    """
    upper = raw.upper()
    parts = unicodedata.normalize("NFKD", upper.translate(_SIGNS))
    folded = "".join(character for character in parts if unicodedata.category(character) != "Mn").upper()
    text = " ".join(folded.split())
    if not text:
        return Transcript("", "no transcript")
    unknown = sorted(set(text) - _SPELLING)
    if any(character.isdigit() for character in unknown):
        return Transcript("", "digits in its transcript; write numbers out as words")
    if unknown:
        shown = " ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        return Transcript("", f"unknown symbols in its transcript: {shown}")
    if not set(text) - set(" '"):
        return Transcript("", "no letter in its transcript")
    plain = " ".join(upper.split())
    return Transcript(text, "", lower_case=upper != raw, accents=plain != text)


def steps_in(seconds: float) -> int:
    """Output steps of 20 ms of a sound at 16 kHz: half of its ``1 + samples // 160`` frames."""
    samples = round(seconds * SAMPLE_RATE)
    return (1 + samples // _HOP_SAMPLES) // 2


def minimum_steps(symbols: Sequence[object]) -> int:
    """The fewest steps in which CTC can emit a text, or any symbols: one each, a blank between equals."""
    return len(symbols) + sum(bool(first == second) for first, second in itertools.pairwise(symbols))


def length_problem(text: str, seconds: float) -> str:
    """Why a sound is too short to be used with its transcript, or ""."""
    steps, needed = steps_in(seconds), minimum_steps(text)
    if steps < 1:
        return f"shorter than one output step ({STEP_SECONDS * 1000:.0f} ms)"
    if steps < needed:
        return f"its transcript is too long for its audio: needs {needed} steps of 20 ms, has {steps}"
    return ""
