"""``train`` from the command line: configuration, flags, resuming, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from asr_introspect.commands import main
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import read_header

CONFIGURATION = """
network: {mels: 16, narrow: 8, wide: 8}
features: {mels: 16}
schedule: {updates: 4, warmup: 1, evaluate-every: 2, precision: float32}
curriculum: {batch-seconds: 4, framewise-updates: 0, short-updates: 0, augmented-after: 0}
"""


def speech(folder: Path, speaker: str) -> Path:
    """Four utterances of noise in LibriSpeech's layout."""
    chapter = folder / speaker / "1"
    chapter.mkdir(parents=True)
    draw = generator(3, "noise", int(speaker))
    lines = []
    for number in range(4):
        name = f"{speaker}-1-{number:04d}"
        sf.write(chapter / f"{name}.flac", 0.1 * draw.normal(size=16_000), 16_000)
        lines.append(f"{name} HELLO WORLD\n")
    (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(CONFIGURATION)
    training, development = speech(tmp_path / "training", "1"), speech(tmp_path / "development", "2")
    return [
        *("train", "--config", str(tmp_path / "tiny.yaml"), "--corpus", str(training)),
        *("--development", str(development), "--out", str(tmp_path / "run"), "--device", "cpu"),
    ]


def test_flag_beats_file_and_the_call_resumes(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*call, "--schedule.updates", "6"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'run' / 'best.safetensors'}\n"
    header = read_header(tmp_path / "run" / "best.safetensors")
    assert header["training"]["settings"]["schedule"]["updates"] == 6
    assert header["network"]["narrow"] == 8
    assert main([*call, "--schedule.updates", "6"]) == 0
    assert "going on after update 6" in capsys.readouterr().err
    updates = [json.loads(line)["update"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert updates == sorted(updates)


def test_other_settings_in_the_same_folder_are_refused(
    call: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call) == 0
    assert main([*call, "--seed", "5"]) == 1
    assert "other settings (seed)" in capsys.readouterr().err


def test_a_start_from_other_weights_is_said(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call) == 0
    best = tmp_path / "run" / "best.safetensors"
    other = [str(tmp_path / "again") if part == str(tmp_path / "run") else part for part in call]
    again = [*other, "--start-from", str(best)]
    assert main(again) == 0
    assert f"starting from the weights of {best}" in capsys.readouterr().err
    assert read_header(tmp_path / "again" / "best.safetensors")["training"]["started_from"] == str(best)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--network.narow", "4"], 2, "narow"),
        (["--targets", "phonemes"], 1, "--times"),
        (["--times", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["--curriculum.framewise-updates", "3"], 1, "--times"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    call: list[str], flags: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*call, *flags]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert "Traceback" not in "".join(lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuda" if part == "cpu" else part for part in call]) == 1
    assert "cuda" in capsys.readouterr().err.lower()


def test_a_phoneme_net_learns_the_phones_it_is_given(call: list[str], tmp_path: Path) -> None:
    times = tmp_path / "times.jsonl"
    phones = [
        {"symbol": symbol, "start": 0.1 * place, "end": 0.1 * place + 0.1}
        for place, symbol in enumerate(["HH", "AH", "L", "OW"])
    ]
    names = [f"{speaker}-1-{number:04d}" for speaker in "12" for number in range(3)]
    times.write_text(
        "".join(json.dumps({"utterance": n, "words": [], "phones": phones}) + "\n" for n in names)
    )
    assert main([*call, "--targets", "phonemes", "--times", str(times)]) == 0
    header = read_header(tmp_path / "run" / "best.safetensors")
    assert len(header["symbols"]["symbols"]) == 40
    assert header["training"]["hours"] == pytest.approx(3 * 1.01 / 3600, abs=1e-3)
    assert np.isfinite(header["bounds"]).all()
