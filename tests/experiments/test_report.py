"""``report``: the function and the command, what they write and what they refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asr_introspect.errors import IntrospectError
from asr_introspect.experiments import report as module
from asr_introspect.experiments.report import report
from asr_introspect.files import locked
from tests.reporting.synthetic import write_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small run whose heat maps take no time."""
    monkeypatch.setattr(module, "write_heat_maps", lambda maps, folder: [])
    return write_run(tmp_path / "a run", utterances=1, phonemes=False)


def test_it_writes_page_and_text_and_nothing_else(run: Path) -> None:
    before = {path.name for path in run.iterdir()}
    page = report(run)
    assert page == run / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.name for path in run.iterdir()} - before == {"report.html", "report.md", "lock"}


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    first = report(run).read_bytes()
    assert report(run).read_bytes() == first


def test_a_folder_in_use_is_refused(run: Path) -> None:
    with locked(run), pytest.raises(IntrospectError, match="in use by another run"):
        report(run)


def test_a_failure_leaves_the_old_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = report(run)
    before = page.read_bytes()

    def fail(_: object) -> str:
        raise IntrospectError("disk full")

    monkeypatch.setattr(module, "render", fail)
    with pytest.raises(IntrospectError):
        report(run)
    assert page.read_bytes() == before


def test_an_unwritable_folder_is_named(run: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("running as root")
    run.chmod(0o500)
    try:
        with pytest.raises(IntrospectError, match="a run"):
            report(run)
    finally:
        run.chmod(0o700)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "asr_introspect", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False)


@pytest.mark.speech
def test_the_command_prints_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", utterances=1, phonemes=False)
    shutil.rmtree(run / "audio")
    (run / "clusters.h5").unlink()
    done = _command("report", str(run))
    assert (done.returncode, done.stdout) == (0, f"{run / 'report.html'}\n"), done.stderr


@pytest.mark.speech
def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    done = _command("report", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "does not exist; make one with" in done.stderr
    assert _command("report").returncode == 2
