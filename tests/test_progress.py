"""Bars and messages go to stderr, and nowhere when quiet."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from asr_introspect.progress import bar, quietly, say, track


def test_messages(capsys: pytest.CaptureFixture[str]) -> None:
    say("one")
    with quietly():
        say("two")
        with quietly(False):
            say("three")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, say, "four").result()
    with quietly(False):
        say("five")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "one\nfive\n"


def test_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    with bar("moving", 3.0) as moving:
        moving.update(1.5)
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal_and_none_when_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(track(range(3), "counting"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "counting" in captured.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with quietly():
        list(track(range(3), "counting"))
    assert capsys.readouterr().err == ""
