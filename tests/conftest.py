"""What tests share: where speech lies, small corpora made of sines, and the rule that skips are listed."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parent.parent
LISTED = tomllib.loads(Path(__file__).with_name("skips.toml").read_text(encoding="utf-8"))["skip"]
REQUIRED = tuple(filter(None, os.environ.get("ASR_INTROSPECT_REQUIRED", "").split(",")))

CorpusMaker = Callable[..., Path]

_unlisted: list[str] = []


@pytest.fixture(scope="session")
def sample() -> Path:
    """The folder of 78 real utterances: ``LibriSpeech`` (FLAC, transcripts) and ``alignments`` (TextGrids).

    ``ASR_INTROSPECT_SPEECH`` names another place than ``../shared/data/sample``.
    """
    place = Path(os.environ.get("ASR_INTROSPECT_SPEECH", REPOSITORY / ".." / "shared" / "data" / "sample"))
    if not place.is_dir():
        pytest.skip(f"no real speech at {place}; ASR_INTROSPECT_SPEECH names another place")
    return place.resolve()


@pytest.fixture(scope="session")
def demo() -> Path:
    """The demo corpus of the repository."""
    return REPOSITORY / "data" / "demo"


@pytest.fixture
def make_corpus(tmp_path: Path) -> CorpusMaker:
    """Makes a corpus in LibriSpeech's layout out of sines: ``make_corpus({"1-2-0000": "HELLO"})``.

    Keywords: ``seconds`` of each utterance, ``folder`` it lies in, ``extension`` and ``rate`` of its sound.
    """

    def make(
        texts: dict[str, str],
        *,
        seconds: float = 1.0,
        folder: Path | None = None,
        extension: str = "wav",
        rate: int = 16_000,
    ) -> Path:
        root = folder or tmp_path / "corpus"
        for number, (name, text) in enumerate(texts.items()):
            speaker, chapter, _ = name.split("-")
            place = root / speaker / chapter
            place.mkdir(parents=True, exist_ok=True)
            tone = sine(seconds, rate, 200.0 + 50 * number)
            soundfile.write(place / f"{name}.{extension}", tone, rate)
            with (place / f"{speaker}-{chapter}.trans.txt").open("a", encoding="utf-8") as file:
                file.write(f"{name} {text}\n")
        return root

    return make


def sine(seconds: float, rate: int = 16_000, frequency: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def _is_listed(test: str, reason: str) -> bool:
    if reason.startswith(REQUIRED or ("\0",)):
        return False
    return any(
        reason.startswith(entry["reason"]) and any(fnmatch(test, pattern) for pattern in entry["tests"])
        for entry in LISTED
    )


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = told.removeprefix("Skipped: ")
    if not _is_listed(report.nodeid, reason):
        _unlisted.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unlisted and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unlisted:
        terminalreporter.section("skips that are not listed in tests/skips.toml, or must not occur here")
        for line in _unlisted:
            terminalreporter.line(line)
