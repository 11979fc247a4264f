"""The LibriSpeech recipe: what ``run.sh`` calls and when, its configurations, its scripts on tiny corpora."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asr_introspect.commands import train
from asr_introspect.commands.shell import run
from asr_introspect.experiments.evaluate import evaluate
from tests.conftest import REPOSITORY
from tests.experiments.recognisers import tiny_checkpoint

RECIPE = REPOSITORY / "recipes" / "librispeech"
CONFIGURATIONS = sorted(RECIPE.glob("conf/*.yaml"))

# In place of the real command: writes down how it was called, and makes what --out and --textgrids name.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$CALLS"
[[ $1 == "${FAILING:-}" ]] && { echo half; exit 1; }
while (( $# )); do
  [[ $1 == --textgrids ]] && mkdir -p "$2"
  [[ $1 == --out ]] && { [[ $2 == *.* ]] && touch "$2" || mkdir -p "$2"; }
  shift
done
"""


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., tuple[int, list[str], str]]:
    """Runs ``run.sh`` with the stand-in: exit code, the calls it made, stderr."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "asr-introspect").write_text(STAND_IN)
    (place / "asr-introspect").chmod(0o755)

    def calling(*arguments: str, **environment: str) -> tuple[int, list[str], str]:
        calls = tmp_path / "calls"
        calls.write_text("")
        paths = {"PATH": f"{place}:{os.environ['PATH']}", "CALLS": str(calls), "HOME": str(tmp_path)}
        done = subprocess.run(
            [str(RECIPE / "run.sh"), *arguments],
            cwd=tmp_path,
            env=paths | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, calls.read_text().splitlines(), done.stderr

    return calling


def test_the_whole_line_then_only_what_resumes_by_itself(call: Callable[..., Any]) -> None:
    code, calls, _ = call("a b", "c", "d", "my run")
    assert code == 0
    assert [each.split()[0] for each in calls] == (
        ["prepare"] * 3 + ["align"] * 2 + ["train"] + ["evaluate"] * 2 + ["introspect"]
    )
    assert calls[0] == "prepare a b --out my run/training.jsonl"
    assert "--times my run/times.jsonl" in calls[5]
    assert f"--config {RECIPE}/conf/small.yaml" in calls[5]
    assert "--corpus my run/test.jsonl" in calls[7]
    assert "--alignments my run/alignments" in calls[8]
    code, calls, _ = call("a b", "c", "d", "my run")
    assert code == 0
    assert [each.split()[0] for each in calls] == ["train", "introspect"]


def test_what_failed_is_done_again(call: Callable[..., Any], tmp_path: Path) -> None:
    code, _, _ = call("a", "b", "c", "run", FAILING="evaluate")
    assert code == 1
    assert not (tmp_path / "run" / "development.txt").exists()
    code, calls, _ = call("a", "b", "c", "run")
    assert code == 0
    assert [each.split()[0] for each in calls] == ["train", "evaluate", "evaluate", "introspect"]


def test_subsets_are_fetched_on_request_only(call: Callable[..., Any]) -> None:
    code, calls, _ = call(
        "train-clean-100,train-clean-360", "dev-clean", "test-clean", "run", DOWNLOAD="my speech"
    )
    assert code == 0
    assert calls[0] == (
        "prepare --download train-clean-100 train-clean-360 --download-to my speech --out run/training.jsonl"
    )
    assert calls[2] == "prepare --download test-clean --download-to my speech --out run/test.jsonl"


def test_another_launcher_and_configuration(call: Callable[..., Any]) -> None:
    code, calls, _ = call("a", "b", "c", "run", "thin.yaml", LAUNCH="asr-introspect --fast")
    assert code == 0
    assert "--fast train --config thin.yaml --corpus run/training.jsonl" in calls[5]


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("a", "b", "c", "d", "e", "f")])
def test_a_wrong_call_says_how(call: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    code, calls, said = call(*arguments)
    assert (code, calls) == (2, [])
    assert "run.sh TRAINING DEVELOPMENT TEST [RUN] [CONFIGURATION]" in said
    assert said.rstrip().endswith('"torchrun --nproc-per-node=4 -m asr_introspect"')


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_train_takes_every_configuration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(train, "train_recogniser", lambda *_, **settings: taken.update(settings) or {})
    assert run(["train", "--config", str(path), "--corpus", "a", "--development", "b", "--out", "c"]) == 0
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert taken["network"].wide == settings["network"]["wide"]
    assert taken["schedule"].updates == settings["schedule"]["updates"]
    curriculum = taken["curriculum"]
    assert curriculum.framewise_updates < curriculum.short_updates < settings["schedule"]["updates"] / 5


def script(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Runs a script of the recipe in this process."""
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    runpy.run_path(str(RECIPE / name), run_name="__main__")


def test_a_language_model_and_what_it_adds(
    make_corpus: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    corpus = make_corpus({"1-1-0000": "HELLO WORLD", "1-1-0001": "HELLO AGAIN", "2-1-0000": "WORLD"})
    model = tmp_path / "letters.arpa"
    script(
        "language_model.py",
        monkeypatch,
        "--corpus",
        corpus,
        "--out",
        model,
        "--order",
        3,
        "--held-out",
        corpus,
    )
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("3 transcripts, 27 letters; order 3")
    assert 0 < float(second.split()[0]) < 3
    assert third == str(model)
    checkpoint = tiny_checkpoint(tmp_path)
    tried = ["--weights", 0.3, 0.6, "--bonuses", 0, 1, "--size", 10]
    script(
        "decoders.py",
        monkeypatch,
        *["--corpus", corpus, "--language-model", model, "--checkpoint", checkpoint, *tried],
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 utterances, 0 skipped")
    assert sum("weight" in line for line in lines) == 5
    assert lines[-1].strip().split(" minus greedy")[0].startswith("weight")


@pytest.mark.speech
def test_coders_are_compared_by_round_trip(
    make_corpus: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = make_corpus({"1-1-0000": "HELLO WORLD", "1-1-0001": "HELLO AGAIN"})
    checkpoint = ["--checkpoint", tiny_checkpoint(tmp_path)]
    script("codecs.py", monkeypatch, corpus, "--coder", "mp3", "--compression", 0.8, *checkpoint)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mp3: ")
    assert lines[1] == "2 utterances, letter error"
    script("codecs.py", monkeypatch, corpus, corpus, *checkpoint)
    assert "second minus first: 0.00 %" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        script("codecs.py", monkeypatch, corpus, *checkpoint)


def test_checkpoints_are_held_against_the_first(
    make_corpus: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = make_corpus({"1-1-0000": "HELLO WORLD", "1-1-0001": "HELLO AGAIN", "2-1-0000": "WORLD"})
    checkpoints = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        checkpoints.append(tiny_checkpoint(tmp_path / str(seed), seed=seed))
    script("compare.py", monkeypatch, *checkpoints, checkpoints[0], "--corpus", corpus)
    lines = capsys.readouterr().out.splitlines()
    rates = [100 * evaluate(corpus, checkpoint).letter_error.rate for checkpoint in checkpoints]
    assert lines[0].startswith(f"{rates[0]:.2f} (")
    assert lines[1].split(")  ")[1].startswith(f"{rates[1] - rates[0]:.2f} (")
    assert lines[2].split(")  ")[1].startswith("0.00 (0.00 to 0.00")
