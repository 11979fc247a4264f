"""The relevance of a corpus on a tiny net: letter by letter the engine's, resumable, bad input named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch

from asr_introspect.attribution import attribute
from asr_introspect.commands import main
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments import attribute_corpus as room
from asr_introspect.experiments.attribute_corpus import attribute_corpus
from asr_introspect.recogniser.passes import INPUT, forward_pass
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser

CorpusMaker = Callable[..., Path]
TEXTS = {f"{1 + n % 2}-1-{n:04}": text for n, text in enumerate(["ONE", "TWO", "THREE", "FOUR", "FIVE"])}

pytestmark = pytest.mark.speech


@pytest.fixture
def speech(make_corpus: CorpusMaker) -> Path:
    """Five noisy utterances of different lengths."""
    place = make_corpus(TEXTS)
    random = np.random.default_rng(0)
    for number, path in enumerate(sorted(place.rglob("*.wav"))):
        soundfile.write(path, (random.normal(size=6000 + 2000 * number) * 0.1).astype(np.float32), 16_000)
    return place


def test_every_letter_is_the_engines(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    found = attribute_corpus(speech, checkpoint, tmp_path / "letters.h5", sentence=True)
    recogniser = tiny_recogniser(tmp_path)
    with h5py.File(found.path) as file:
        windows = file["windows"][:]
        assert file["windows"].chunks == (1, 128, 206)
        names = [name.decode() for name in file["utterances"][:]]
        assert sorted(names) == sorted(TEXTS)
        assert list(file["ledger"].attrs["columns"]) == ["outgoing", "incoming", "bias", "stabiliser"]
        assert file["ledger"].shape == (len(windows), len(file["ledger"].attrs["layers"]), 4)
        keys = file["utterance"][:] * 10_000 + file["step"][:]
        assert (np.diff(keys) > 0).all()
        for row, name in enumerate(names):
            utterance = next(each for each in utterances_of(speech) if each.name == name)
            (forward,) = forward_pass(recogniser, [utterance], layers=[INPUT])
            mine = file["utterance"][:] == row
            steps, labels = file["step"][:][mine], file["label"][:][mine]
            assert [s.decode() for s in file["symbol"][:][mine]] == recogniser.symbols.names(labels.tolist())
            assert (forward.logits[0].argmax(0).numpy()[steps] == labels).all()
            targets = torch.from_numpy(np.stack([0 * steps, steps, labels], 1))
            expected = attribute(
                recogniser.network,
                forward.activations[INPUT],
                targets,
                composite="epsilon-relative",
                against="mean",
            )
            scale = np.abs(windows[mine]).max((1, 2))
            worst = np.abs(windows[mine] - expected.windows.numpy()).max((1, 2)) / scale
            assert worst.max() < 1e-3
            assert np.array_equal(file["starts"][:][mine], expected.starts.numpy())
            total = expected.dense().sum(0).numpy()
            assert np.abs(file[f"sentence/{row:05}"][:] - total).max() < 1e-3 * np.abs(total).max()
    assert found.letters == len(windows)
    assert found.utterances == len(TEXTS)
    assert not (tmp_path / ".letters.h5.work").exists()


def utterances_of(speech: Path) -> tuple:  # type: ignore[type-arg]
    from asr_introspect.corpus.reading import read_corpus

    return read_corpus(speech).utterances


def test_a_stopped_run_ends_with_the_same_file(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "GROUP", 2)
    checkpoint = tiny_checkpoint(tmp_path)
    attribute_corpus(speech, checkpoint, tmp_path / "whole.h5")
    explained, calls = room._explained, []

    def stopping(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return explained(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "_explained", stopping)
    with pytest.raises(KeyboardInterrupt):
        attribute_corpus(speech, checkpoint, tmp_path / "stopped.h5")
    assert not (tmp_path / "stopped.h5").exists()
    attribute_corpus(speech, checkpoint, tmp_path / "stopped.h5")
    assert len(calls) == 4  # the first group was not computed again
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "stopped.h5") as stopped:
        for name in ("windows", "starts", "scores", "step", "utterance", "ledger", "leak"):
            assert np.array_equal(whole[name][:], stopped[name][:]), name
    again = attribute_corpus(speech, checkpoint, tmp_path / "stopped.h5")
    assert len(calls) == 4
    assert again.letters > 0


def test_half_precision_is_relative_to_each_maps_largest_value(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    attribute_corpus(speech, checkpoint, tmp_path / "single.h5")
    attribute_corpus(speech, checkpoint, tmp_path / "half.h5", half=True)
    with h5py.File(tmp_path / "single.h5") as single, h5py.File(tmp_path / "half.h5") as half:
        assert half["windows"].dtype == np.float16
        restored = half["windows"][:].astype(np.float32) * half["scale"][:][:, None, None]
        largest = np.abs(single["windows"][:]).max((1, 2))
        assert (np.abs(restored - single["windows"][:]).max((1, 2)) <= 1e-3 * largest).all()


def test_long_utterances_go_in_pieces(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces with their context give what one pass over the whole gives."""
    checkpoint = tiny_checkpoint(tmp_path)
    options = {"composite": "epsilon", "method": "gradient", "max_utterances": 2, "sentence": True}
    attribute_corpus(speech, checkpoint, tmp_path / "whole.h5", **options)
    monkeypatch.setattr(room, "LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(room, "GROUP", 1)
    attribute_corpus(speech, checkpoint, tmp_path / "pieces.h5", **options)
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "pieces.h5") as pieces:
        assert np.array_equal(whole["starts"][:], pieces["starts"][:])
        for name in whole["sentence"]:
            expected, found = whole["sentence"][name][:], pieces["sentence"][name][:]
            assert np.abs(expected - found).max() < 1e-5 * np.abs(expected).max()
        largest = np.abs(whole["windows"][:]).max()
        assert np.abs(whole["windows"][:] - pieces["windows"][:]).max() < 1e-5 * largest


def test_wrong_calls(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    for options, message in (
        ({"method": "lrrp"}, "did you mean 'lrp'"),
        ({"composite": "epsilon-gama"}, "epsilon-gamma"),
        ({"against": "meen"}, "did you mean 'mean'"),
        ({"composite": "epsilon-plus-box"}, "bounds"),
    ):
        with pytest.raises(UsageError, match=message):
            attribute_corpus(speech, checkpoint, tmp_path / "letters.h5", **options)
    attribute_corpus(speech, checkpoint, tmp_path / "letters.h5", max_utterances=1)
    with pytest.raises(IntrospectError, match="another run"):
        attribute_corpus(speech, checkpoint, tmp_path / "letters.h5", max_utterances=1, against="blank")
    for against in ("blank", "none", "E", "runner-up"):
        attribute_corpus(
            speech, checkpoint, tmp_path / "letters.h5", max_utterances=1, against=against, overwrite=True
        )
    with h5py.File(tmp_path / "letters.h5") as file:
        assert json.loads(file.attrs["settings"])["against"] == "runner-up"


def test_the_command(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    (speech / "1" / "1" / "1-1-0000.wav").write_bytes(b"no sound")
    out = tmp_path / "letters.h5"
    call = ["attribute", "--corpus", str(speech), "--checkpoint", str(checkpoint), "--out", str(out)]
    assert main([*call, "--composite", "epsilon-gamma", "--float16", "--sentence"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out)
    assert "1-1-0000" in printed.err
    assert main([*call, "--method", "grad-cam", "--sentence", "--overwrite", "--quiet"]) == 0
    with h5py.File(out) as file:
        assert file["windows"].shape[1:] == (206,)
    assert main([*call, "--composite", "epsilon-plus"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*call, "--composite", "nonsense", "--overwrite"]) == 2
