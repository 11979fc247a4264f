"""transcribe, evaluate and align on the command line: what goes to stdout and stderr, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_introspect.commands import main
from tests.experiments.recognisers import tiny_checkpoint

TEXTS = {"1-1-0000": "DON'T STOP", "1-1-0001": "A B C", "2-1-0000": "HELLO"}
Maker = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return str(tiny_checkpoint(tmp_path))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_transcribe_prints_a_line_per_file(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str
) -> None:
    root = make_corpus({"1-1-0000": "X", "1-1-0001": "Y"})
    files = [root / "1" / "1" / f"1-1-000{n}.wav" for n in (1, 0)]
    code, out, _ = run(capsys, "transcribe", "--checkpoint", checkpoint, *files)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(path) for path in files]
    assert all(line.count("\t") == 1 for line in out.splitlines())


def test_transcribe_goes_on_after_a_bad_file_and_exits_1(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str, tmp_path: Path
) -> None:
    good = make_corpus({"1-1-0000": "X"}) / "1" / "1" / "1-1-0000.wav"
    bad = tmp_path / 'a "quoted" name.flac'
    bad.write_bytes(b"")
    code, out, err = run(
        capsys, "transcribe", tmp_path / "missing.wav", bad, good, "--checkpoint", checkpoint, "--quiet"
    )
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(good)]
    assert "missing.wav" in err
    assert bad.name in err
    assert len(err.splitlines()) == 1


def test_transcribe_without_a_file_is_a_wrong_call(
    capsys: pytest.CaptureFixture[str], checkpoint: str
) -> None:
    code, out, err = run(capsys, "transcribe", "--checkpoint", checkpoint)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_evaluate_ends_in_json(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str, tmp_path: Path
) -> None:
    out_file = tmp_path / "scores.csv"
    code, out, _ = run(
        capsys, "evaluate", "--checkpoint", checkpoint, "--corpus", make_corpus(TEXTS), "--out", out_file
    )
    assert code == 0
    *table, last = out.splitlines()
    summary = json.loads(last)
    assert summary["utterances"] == 3
    assert summary["seconds"] == pytest.approx(3.0)
    assert summary["letter_error_rate"] > 0
    assert summary["word_error_rate"] > 0
    assert summary["checkpoint"] == checkpoint
    assert [line.split()[0] for line in table] == ["speaker", "1", "2", "all"]
    assert out_file.read_text(encoding="utf-8").count("\n") == 4


def test_evaluate_names_what_it_skipped(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str
) -> None:
    root = make_corpus({**TEXTS, "3-1-0000": "ROUTE 66"})
    code, out, err = run(capsys, "evaluate", "--checkpoint", checkpoint, "--corpus", root)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["skipped"] == 1
    assert "3-1-0000: digits in its transcript" in err
    quiet_code, quiet_out, quiet_err = run(
        capsys, "evaluate", "--checkpoint", checkpoint, "--corpus", root, "--quiet"
    )
    assert (quiet_code, quiet_out, quiet_err) == (0, out, "")


def test_align_writes_lines_and_textgrids(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str, tmp_path: Path
) -> None:
    arguments = ["align", "--checkpoint", checkpoint, "--corpus", make_corpus(TEXTS)]
    code, out, _ = run(capsys, *arguments, "--out", tmp_path / "a.jsonl", "--textgrids", tmp_path / "grids")
    assert (code, out.strip()) == (0, str(tmp_path / "a.jsonl"))
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["utterance"] for line in lines] == list(TEXTS)
    assert len(list((tmp_path / "grids").iterdir())) == 3


@pytest.mark.parametrize("command", ["evaluate", "transcribe"])
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--decoder", "best"], 2, "greedy"),
        (["--language-model", "lm.arpa"], 2, "a language model needs the beam decoder: --decoder beam"),
        (["--decoder", "beam", "--language-model", "missing.arpa"], 1, "cannot read missing.arpa"),
        (["--decoder", "beam", "--beam.size", "0"], 2, "a beam search needs a size"),
    ],
)
def test_decoders_that_cannot_be_had(
    capsys: pytest.CaptureFixture[str],
    make_corpus: Maker,
    checkpoint: str,
    command: str,
    flags: list[str],
    code: int,
    said: str,
) -> None:
    root = make_corpus(TEXTS)
    given = ["--corpus", root] if command == "evaluate" else [root / "1" / "1" / "1-1-0000.wav"]
    found, out, err = run(capsys, command, *given, "--checkpoint", checkpoint, *flags)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["evaluate", "align", "transcribe"])
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--checkpoint", "missing.safetensors"], 1, "no checkpoint at missing.safetensors"),
        (["--device", "tpu"], 2, "device"),
        (["--checkpont", "x"], 2, "checkpoint"),
    ],
)
def test_what_goes_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str],
    make_corpus: Maker,
    tmp_path: Path,
    command: str,
    flags: list[str],
    code: int,
    said: str,
) -> None:
    root = make_corpus(TEXTS)
    given = {
        "evaluate": ["--corpus", root],
        "align": ["--corpus", root, "--out", tmp_path / "a.jsonl"],
        "transcribe": [root / "1" / "1" / "1-1-0000.wav"],
    }[command]
    found, out, err = run(capsys, command, *given, *flags)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "a.jsonl").exists()


def test_cuda_where_there_is_none(
    capsys: pytest.CaptureFixture[str],
    make_corpus: Maker,
    checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    root = make_corpus(TEXTS)
    code, out, err = run(capsys, "evaluate", "--checkpoint", checkpoint, "--corpus", root, "--device", "cuda")
    assert (code, out) == (1, "")
    assert "no CUDA device here; use --device cpu or auto" in err


@pytest.mark.parametrize("command", ["evaluate", "align"])
def test_a_corpus_with_nothing_usable_exits_1(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str, tmp_path: Path, command: str
) -> None:
    rest = ["--out", tmp_path / "a.jsonl"]
    for corpus in (tmp_path / "nowhere", make_corpus({"1-1-0000": "12 34"})):
        code, out, err = run(capsys, command, "--checkpoint", checkpoint, "--corpus", corpus, *rest)
        assert (code, out) == (1, "")
        assert str(corpus) in err


def test_the_flag_wins_over_the_file(
    capsys: pytest.CaptureFixture[str], make_corpus: Maker, checkpoint: str, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"corpus: {make_corpus(TEXTS)}\ncheckpoint: {checkpoint}\nmax-utterances: 1\n")
    _, out, _ = run(capsys, "evaluate", "--config", settings)
    assert json.loads(out.splitlines()[-1])["utterances"] == 1
    _, out, _ = run(capsys, "evaluate", "--config", settings, "--max-utterances", 2)
    assert json.loads(out.splitlines()[-1])["utterances"] == 2
