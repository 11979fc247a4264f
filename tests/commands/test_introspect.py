"""introspect and demo on the command line: the page, exit codes, killed and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_introspect.commands import main
from tests.experiments.recognisers import tiny_checkpoint

Maker = Callable[..., Path]
TEXTS = {f"1-1-{n:04}": "HELLO WORLD" for n in range(4)}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


@pytest.mark.speech
def test_the_last_line_is_the_page(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    call = (
        "introspect",
        "--checkpoint",
        tiny_checkpoint(tmp_path),
        "--corpus",
        make_corpus(TEXTS),
        "--out",
        out,
    )
    code, lines, err = run(capsys, *call)
    assert code == 0, err
    assert lines[-1] == str(out / "report.html")
    assert (out / "report.html").stat().st_size > 10_000
    findings = json.loads((out / "findings.json").read_text())
    assert lines[:-1] == [finding["sentence"] for finding in findings]
    assert "4 utterances" in err
    code, again, _ = run(capsys, *call, "--quiet")
    assert (code, again) == (0, lines)
    code, _, err = run(capsys, *call, "--seed", 5)
    assert code == 1
    assert "seed" in err
    assert "--overwrite" in err


def test_wrong_calls(capsys: pytest.CaptureFixture[str], make_corpus: Maker, tmp_path: Path) -> None:
    corpus, checkpoint = make_corpus(TEXTS), tiny_checkpoint(tmp_path)
    given = ("introspect", "--checkpoint", checkpoint, "--out", tmp_path / "run")
    assert run(capsys, *given)[0] == 2  # no corpus
    assert run(capsys, *given, "--corpus", corpus, "--max-utterances", 0)[0] == 2
    code, _, err = run(capsys, *given, "--corpus", tmp_path / "none")
    assert code == 1
    assert "none" in err
    assert len(err.splitlines()) == 1
    (tmp_path / "empty").mkdir()
    assert run(capsys, *given, "--corpus", tmp_path / "empty")[0] == 1
    (tmp_path / "a file").write_text("")
    code, _, err = run(capsys, *given[:3], "--corpus", corpus, "--out", tmp_path / "a file")
    assert code == 1
    assert "a file" in err
    if not torch.cuda.is_available():
        code, _, err = run(capsys, *given, "--corpus", corpus, "--device", "cuda")
        assert code == 1
        assert "CUDA" in err


def test_tables_and_labels_that_do_not_work(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, tmp_path: Path
) -> None:
    """One line that names the file and what is wrong; nothing is left in the folder."""
    out = tmp_path / "run"
    given = (
        "introspect",
        "--checkpoint",
        tiny_checkpoint(tmp_path),
        "--corpus",
        make_corpus(TEXTS),
        "--out",
        out,
    )
    wrong = tmp_path / "breath.csv"
    wrong.write_text("who,when\n1-1-0000,0.1\n")
    named = tmp_path / "letters.csv"
    named.write_text("utterance,time,label\n1-1-0000,0.1,in\n")
    for code, message, *call in (
        (1, "breath.csv has no column utterance or time or label", "--table", wrong),
        (1, "cannot read", "--table", tmp_path / "missing.csv"),
        (2, "a table cannot be called 'letters'", "--table", named),
        (2, "", "--labels", "letters-alined"),
        (2, "", "--splits", "gender"),
        (1, "phone cannot be had without phone alignments", "--splits", "phone", "right"),
        (1, "phonemes-stressed cannot be had", "--labels", "phonemes-stressed", "letters-aligned"),
    ):
        found, _, err = run(capsys, *given, *call)
        assert found == code, (call, err)
        assert message in err
        if message:
            assert len(err.strip().splitlines()[-1]) < 300
            assert "Traceback" not in err
    assert not (out / "run.json").exists()


@pytest.mark.speech
def test_killed_and_gone_on_with(make_corpus: Maker, tmp_path: Path) -> None:
    """A kill in the middle of the pass: the next call ends with what an undisturbed one has."""
    checkpoint, corpus = tiny_checkpoint(tmp_path), make_corpus(TEXTS, seconds=4.0)
    program = (
        "import sys, asr_introspect.experiments.pass_plan as p; p.SLICE_SECONDS = 5.0; "
        "from asr_introspect.experiments.introspect import introspect; introspect(*sys.argv[1:])"
    )
    call = [sys.executable, "-c", program, str(corpus), str(checkpoint)]
    killed = subprocess.Popen([*call, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    moments = tmp_path / "killed" / "work" / "moments.h5"
    waited = 0.0
    while not moments.exists() and killed.poll() is None and waited < 120:
        time.sleep(0.05)
        waited += 0.05
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert moments.exists()
    for name in ("killed", "whole"):
        subprocess.run([*call, str(tmp_path / name)], check=True, capture_output=True)
    for name in ("instances.csv", "offsets.csv", "clusters.csv", "findings.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "killed").rglob("*.partial"))


@pytest.mark.speech
def test_demo_on_the_bundled_speech(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_introspect.experiments.run_offsets.MOST_LETTERS", 1)
    out = tmp_path / "demo"
    code, lines, err = run(capsys, "demo", "--out", out, "--max-utterances", 4)
    assert code == 0, err
    assert lines[-1] == str(out / "report.html")
    corpus, model = (json.loads((out / name).read_text()) for name in ("corpus.json", "model.json"))
    assert corpus["synthetic"] is True
    assert model["bundled"] is True
    assert corpus["utterances"] == 4
    assert "synthetic" in (out / "report.html").read_text(encoding="utf-8")
    code, _, _ = run(capsys, "demo", "--out", out, "--max-utterances", 2)  # always overwrites
    assert code == 0
    assert json.loads((out / "corpus.json").read_text())["utterances"] == 2
