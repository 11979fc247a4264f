"""Every command that reads a corpus goes on past what is bad in it, and names it at the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_introspect.commands import main
from tests.conftest import CorpusMaker, sine
from tests.experiments.recognisers import tiny_checkpoint

RATE = 16_000
BAD = {
    "empty": "the file is empty",
    "text": "not a sound file",
    "truncated": "truncated",
    "zero": "holds no sample",
    "short": "shorter than one output step",
    "nan": "not numbers",
    "digits": "digits in its transcript",
    "html": "unknown symbols in its transcript",
    "nothing": "no transcript",
    "long": "too long for its audio",
    "unheard": "no such file",
}
GOOD = ["good", "silent", "stereo", "fast", "slow", "deep", "float", 'it\'s "quoted"']


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with one utterance of each kind, good and bad."""
    place = tmp_path / "sound"
    place.mkdir()
    texts = dict.fromkeys([*GOOD, *BAD], "hello world")
    texts |= {"digits": "IN 1984", "html": "<b>hello</b>", "nothing": "", "long": "HELLO WORLD " * 20}
    tone = sine(1.5)
    for name in texts:
        soundfile.write(place / f"{name}.flac", tone, RATE)
    (place / "empty.flac").write_bytes(b"")
    (place / "text.flac").write_text("not a sound\n" * 20)
    whole = (place / "truncated.flac").read_bytes()
    (place / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    (place / "unheard.flac").unlink()
    soundfile.write(place / "short.flac", tone[:100], RATE)
    soundfile.write(place / "silent.flac", 0 * tone, RATE)
    soundfile.write(place / "stereo.flac", np.stack([tone, tone], axis=1), RATE)
    soundfile.write(place / "fast.flac", sine(1.5, 48_000), 48_000)
    soundfile.write(place / "slow.flac", sine(1.5, 8_000), 8_000)
    soundfile.write(place / "deep.flac", tone, RATE, subtype="PCM_24")
    wav = {"zero": tone[:0], "nan": np.full(RATE, np.nan, np.float32), "float": tone}
    for name, sound in wav.items():
        (place / f"{name}.flac").unlink()
        soundfile.write(place / f"{name}.wav", sound, RATE, subtype="FLOAT")
    path = tmp_path / "table.tsv"
    rows = [f"sound/{name}.{'wav' if name in wav else 'flac'}\t{text}" for name, text in texts.items()]
    path.write_text("\n".join(["path\ttext", *rows]) + "\n")
    return path


@pytest.mark.speech
@pytest.mark.parametrize("command", ["prepare", "evaluate", "align"])
def test_bad_items_are_skipped_counted_and_named(
    command: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = {
        "prepare": [str(table), "--out", str(out)],
        "evaluate": ["--corpus", str(table), "--checkpoint", str(tiny_checkpoint(tmp_path))],
        "align": ["--corpus", str(table), "--checkpoint", str(tiny_checkpoint(tmp_path)), "--out", str(out)],
    }[command]
    assert main([command, *arguments]) == 0
    captured = capsys.readouterr()
    assert f"skipped {len(BAD)}:" in captured.err
    for name, reason in BAD.items():
        (line,) = [line for line in captured.err.splitlines() if line.startswith(f"  {name}: ")]
        assert reason in line
    if command == "evaluate":
        assert json.loads(captured.out.splitlines()[-1])["utterances"] == len(GOOD)
    else:
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert {line["utterance"] for line in lines} == set(GOOD)


@pytest.mark.speech
@pytest.mark.parametrize("command", ["prepare", "evaluate", "align"])
@pytest.mark.parametrize(
    ("corpus", "message"),
    [("missing", "no such file"), ("empty", "no corpus in LibriSpeech's layout"), ("1984", "usable")],
)
def test_nothing_usable_is_an_error(
    command: str,
    corpus: str,
    message: str,
    tmp_path: Path,
    make_corpus: CorpusMaker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    make_corpus({"1-2-0000": "1984"}, folder=tmp_path / "1984")
    place = str(tmp_path / corpus)
    checkpoint = ["--checkpoint", str(tiny_checkpoint(tmp_path))]
    out = ["--out", str(tmp_path / "out.jsonl")]
    arguments = {
        "prepare": [place, *out],
        "evaluate": ["--corpus", place, *checkpoint],
        "align": ["--corpus", place, *checkpoint, *out],
    }[command]
    assert main([command, *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out.jsonl").exists()
