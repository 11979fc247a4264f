"""Phonetic classes of letters and phones, as the pictures mark them."""

from __future__ import annotations

MANNERS = {
    "vowel": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
    "stop": "B D G K P T",
    "fricative": "DH F HH S SH TH V Z ZH",
    "affricate": "CH JH",
    "nasal": "M N NG",
    "liquid": "L R",
    "glide": "W Y",
}
PHONE_CLASS = {phone: manner for manner, phones in MANNERS.items() for phone in phones.split()}
VOWEL_LETTERS = frozenset("AEIOU")

COLOURS = {
    "vowel": "#d55e00",
    "stop": "#0072b2",
    "fricative": "#56b4e9",
    "affricate": "#009e73",
    "nasal": "#cc79a7",
    "liquid": "#e69f00",
    "glide": "#b3a100",
    "vowel letter": "#d55e00",
    "consonant letter": "#7a7a7a",
}
"""Okabe and Ito's colours, which stay apart for every kind of colour vision (yellow darkened)."""


def class_of(label: str, kind: str) -> str:
    """The class that a label's mark shows, "" where it has none.

    Parameters
    ----------
    label
        As ``clusters.h5`` writes it: ``A``, ``AA``; in joint maps ``letter A``, ``phone AA``.
    kind
        ``letters``, ``letters-aligned``, ``phonemes``, ``phonemes-stressed`` or ``joint``; a user's own
        labels have no classes.
    """
    name = bare(label)
    if kind in ("phonemes", "phonemes-stressed") or (kind == "joint" and is_phone(label)):
        return PHONE_CLASS.get(name.rstrip("012"), "")
    if kind in ("letters", "letters-aligned", "joint") and len(name) == 1 and name.isalpha():
        return "vowel letter" if name in VOWEL_LETTERS else "consonant letter"
    return ""


def bare(label: str) -> str:
    """A label without the mark of its kind."""
    return label.removeprefix("letter ").removeprefix("phone ")


def is_phone(label: str) -> bool:
    """Whether a label of a joint map is a phone's."""
    return label.startswith("phone ")


def short(label: str) -> str:
    """A label as it stands beside a heat map: of a joint map's phones ``/AA/``, of its letters ``A``."""
    if is_phone(label):
        return f"/{bare(label)}/"
    return {" ": "␣"}.get(bare(label), bare(label))
