"""Phonetic classes of letters and of the 39 phones of ARPAbet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asr_introspect.errors import unknown_name

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
MANNERS: Mapping[str, tuple[str, ...]] = {
    "vowel": VOWELS,
    "stop": ("B", "D", "G", "K", "P", "T"),
    "fricative": ("DH", "F", "HH", "S", "SH", "TH", "V", "Z", "ZH"),
    "affricate": ("CH", "JH"),
    "nasal": ("M", "N", "NG"),
    "liquid": ("L", "R"),
    "glide": ("W", "Y"),
}
UNVOICED = ("CH", "F", "HH", "K", "P", "S", "SH", "T", "TH")

LETTER_VOWELS = ("A", "E", "I", "O", "U")

_OF_PHONES = ("vowel-consonant", "manner", "voicing")
CLASSES = {
    "letters": ("vowel-consonant",),
    "letters-aligned": ("vowel-consonant",),
    "phonemes": _OF_PHONES,
    "phonemes-stressed": _OF_PHONES,
    "joint": ("vowel-consonant",),
}
"""Which divisions there are for each set of labels; a user's own labels have none."""

_MANNER = {phone: manner for manner, phones in MANNERS.items() for phone in phones}


def letter_class(letter: str) -> str:
    """``vowel`` (A E I O U) or ``consonant``; Y counts as a consonant *(choice)*."""
    return "vowel" if letter in LETTER_VOWELS else "consonant"


def phone_class(phone: str, division: str) -> str | None:
    """The class of a phone (without stress) by ``vowel-consonant``, ``manner`` or ``voicing``; None: unknown
    phone.

    Vowels are voiced.
    """
    if division not in CLASSES["phonemes"]:
        raise unknown_name("division", division, CLASSES["phonemes"])
    manner = _MANNER.get(phone)
    if manner is None:
        return None
    if division == "manner":
        return manner
    if division == "voicing":
        return "unvoiced" if phone in UNVOICED else "voiced"
    return "vowel" if manner == "vowel" else "consonant"


def classes_of(labels: str, groups: Sequence[str], division: str) -> list[str | None]:
    """The class of each group; None where a group has none.

    Parameters
    ----------
    labels
        A key of :data:`CLASSES`; of ``joint``, groups are named ``letter A``, ``phone AA``.
    """
    if labels in ("letters", "letters-aligned"):
        return [letter_class(group) for group in groups]
    if labels in ("phonemes", "phonemes-stressed"):
        return [phone_class(group.rstrip("012"), division) for group in groups]
    return [
        letter_class(group.removeprefix("letter "))
        if group.startswith("letter ")
        else phone_class(group.removeprefix("phone "), division)
        for group in groups
    ]
