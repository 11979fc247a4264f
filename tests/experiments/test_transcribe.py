"""Transcription of files."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_introspect.corpus.records import Skipped
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.transcribe import transcribe
from asr_introspect.features import extract
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.symbols import phonemes
from tests.experiments.recognisers import tiny_recogniser


def noise(path: Path, seconds: float, rate: int = 16_000) -> Path:
    sound = generator(0, "transcribe", round(seconds * 1000)).normal(0, 0.1, round(seconds * rate))
    soundfile.write(path, sound, rate, subtype="PCM_16")
    return path


def by_hand(recogniser: Recogniser, path: Path) -> str:
    """The definition, one file at a time."""
    waveform = soundfile.read(path, dtype="float32")[0]
    with torch.no_grad():
        logits = recogniser.network(extract(waveform, recogniser.features)[None])[0]
    runs = [label for label, _ in groupby(logits.argmax(0).tolist()) if label != 0]
    return "".join(recogniser.symbols.names(runs))


def test_each_file_in_the_order_given(tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    files = [noise(tmp_path / f"{seconds} s.wav", seconds) for seconds in (2.0, 0.5, 61.0, 0.02)]
    found = transcribe(files, recogniser, out=tmp_path / "out.tsv")
    assert [each.path for each in found] == files
    assert [each.text for each in found] == [by_hand(recogniser, path) for path in files]
    assert len(found[2].text) > 50
    lines = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{each.path}\t{each.text}" for each in found]


def test_the_same_file_twice_gives_two_lines(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.wav", 0.5)
    one, two = transcribe([path, path], tiny_recogniser(tmp_path))
    assert one == two


def test_what_cannot_be_read_is_named_and_the_rest_transcribed(tmp_path: Path) -> None:
    files = [tmp_path / "missing.wav", noise(tmp_path / "good.wav", 0.5), tmp_path / "text.flac"]
    files[2].write_text("no sound")
    skipped: list[Skipped] = []
    recogniser = tiny_recogniser(tmp_path)
    found = transcribe(files, recogniser, skipped=skipped)
    assert [each.path for each in found] == [files[1]]
    assert {item.item for item in skipped} == {str(files[0]), str(files[2])}
    with pytest.raises(IntrospectError, match=r"missing\.wav"):
        transcribe(files, recogniser)


def test_a_phoneme_recogniser_writes_names_with_spaces(tmp_path: Path) -> None:
    table = phonemes()
    (found,) = transcribe([noise(tmp_path / "a.wav", 1.0)], tiny_recogniser(tmp_path, table))
    assert len(found.text.split()) > 3
    assert set(found.text.split()) <= set(table.symbols[1:])


def test_other_rates_and_channels_are_heard_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recogniser = tiny_recogniser(tmp_path)
    mono = noise(tmp_path / "mono.wav", 1.0)
    sound, rate = soundfile.read(mono)
    soundfile.write(tmp_path / "stereo.flac", np.stack([sound, sound], 1), rate, subtype="PCM_24")
    soundfile.write(tmp_path / "fast.wav", np.repeat(sound, 3), 48_000)
    found = transcribe([mono, tmp_path / "stereo.flac", tmp_path / "fast.wav"], recogniser)
    assert found[0].text == found[1].text
    assert found[2].text
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "1 utterance at 48,000 Hz, resampled to 16,000 Hz",
        "1 utterance with several channels, mixed down to one",
    ]


def test_nothing_to_do(tmp_path: Path) -> None:
    assert transcribe([], tiny_recogniser(tmp_path)) == []
