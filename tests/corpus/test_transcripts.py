"""Transcripts are spelled in A to Z, apostrophe and space, or are unusable with a reason."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_introspect.corpus.transcripts import length_problem, minimum_steps, normalise, steps_in


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("HELLO WORLD", "HELLO WORLD"),
        ("hello  world\t ", "HELLO WORLD"),
        ("Don’t", "DON'T"),
        ("café naïve Ångström", "CAFE NAIVE ANGSTROM"),
        ("cafe\u0301", "CAFE"),
        ("straße", "STRASSE"),
        ("Œuvre ænigma Øre Łódź", "OEUVRE AENIGMA ORE LODZ"),
        ("\ufb01ne", "FINE"),
        ("A\u00a0B\u2003C", "A B C"),
    ],
)
def test_what_is_used(raw: str, text: str) -> None:
    found = normalise(raw)
    assert (found.text, found.problem) == (text, "")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("", "no transcript"),
        (" \t ", "no transcript"),
        ("'", "no letter"),
        ("IN 1984", "digits"),
        ("½ PAST", "digits"),
        ("٣ DAYS", "digits"),
        ("HELLO, WORLD", "unknown symbols in its transcript: ,"),
        ("<b>BOLD</b>", "unknown symbols"),
        ("ПРИВЕТ", "unknown symbols"),
        ("WELL-KNOWN", "unknown symbols in its transcript: -"),
        ("A\0B", "unknown symbols"),
    ],
)
def test_what_is_not(raw: str, problem: str) -> None:
    found = normalise(raw)
    assert found.text == ""
    assert found.problem.startswith(problem)


def test_what_was_changed_is_known() -> None:
    assert not normalise("HELLO  WORLD").lower_case
    assert normalise("Hello").lower_case
    assert not normalise("Hello").accents
    assert normalise("CAFÉ").accents
    assert normalise("DON’T").accents


@given(st.text(max_size=40))
def test_anything_is_spelled_or_refused(raw: str) -> None:
    found = normalise(raw)
    assert bool(found.text) != bool(found.problem)
    assert set(found.text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert found.text == " ".join(found.text.split())
    if found.text:
        assert normalise(found.text).text == found.text


def test_minimum_steps_against_all_paths() -> None:
    """The shortest sequence of symbols and blanks that collapses to a text, by trying all of them."""

    def collapse(path: tuple[str, ...]) -> str:
        kept = [symbol for i, symbol in enumerate(path) if i == 0 or path[i - 1] != symbol]
        return "".join(symbol for symbol in kept if symbol != "_")

    for text in ("A", "AB", "AA", "AAB", "ABBA", "AAA"):
        lengths = (n for n in range(1, 7) if any(collapse(p) == text for p in product("AB_", repeat=n)))
        assert minimum_steps(text) == next(lengths), text


@pytest.mark.parametrize(("samples", "steps"), [(0, 0), (159, 0), (160, 1), (479, 1), (480, 2), (16_000, 50)])
def test_steps_of_a_sound(samples: int, steps: int) -> None:
    assert steps_in(samples / 16_000) == steps


def test_a_transcript_may_be_too_long_for_its_audio() -> None:
    assert length_problem("HELLO", 0.12) == ""  # 6 steps: H E L _ L O
    assert "too long for its audio" in length_problem("HELLO", 0.10)
    assert "shorter than one output step" in length_problem("A", 0.005)
