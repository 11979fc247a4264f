"""Sound of every kind becomes mono float32 at 16 kHz; what cannot is refused with a reason."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from asr_introspect.corpus.audio import AudioError, probe, read_audio
from tests.conftest import sine

RATE = 16_000
LOSSY = {"mp3": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.flac", {"subtype": "PCM_24"}),
        ("a b'\"c.flac", {}),
    ],
)
def test_lossless_files_come_back_as_written(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    written = sine(0.5)
    soundfile.write(tmp_path / name, written, RATE, **options)
    read = read_audio(tmp_path / name)
    assert read.dtype == np.float32
    assert read.shape == written.shape
    np.testing.assert_allclose(read, written, atol=2**-15)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_files_sound_alike(tmp_path: Path, kind: str) -> None:
    written = sine(2.0, frequency=440)
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, written, RATE, **LOSSY[kind])
    read = read_audio(path)
    assert abs(len(read) - len(written)) < 0.15 * RATE
    peak = np.abs(np.fft.rfft(read[:RATE])).argmax()
    assert peak == 440


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_as_by_soxr_at_once(tmp_path: Path, rate: int) -> None:
    # Longer than one block, so that the joints between blocks are looked at.
    written = np.random.default_rng(0).normal(0, 0.1, (1 << 20) + 12_345).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", written, rate, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav")
    whole = soxr.resample(written, rate, RATE, quality="HQ")
    assert read.shape == whole.shape
    np.testing.assert_allclose(read, whole, atol=1e-6)


def test_a_resampled_tone_keeps_its_frequency(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0, 48_000, 1000.0), 48_000)
    spectrum = np.abs(np.fft.rfft(read_audio(tmp_path / "a.wav")))
    assert spectrum.argmax() == 1000
    assert len(spectrum) == RATE // 2 + 1


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sine(0.5, frequency=300), sine(0.5, frequency=700)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert probe(tmp_path / "a.wav").channels == 2
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-7)


def test_sound_beyond_full_scale_is_scaled_not_clipped(tmp_path: Path) -> None:
    written = 6 * sine(0.5)
    soundfile.write(tmp_path / "a.wav", written, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), written / np.abs(written).max(), rtol=1e-6)


def test_silence_is_used(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE, np.float32), RATE)
    assert not read_audio(tmp_path / "a.wav").any()


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    nan = noise.copy()
    nan[1000] = np.nan
    infinite = noise.copy()
    infinite[-1] = np.inf
    made = {
        "empty": (folder / "empty.flac", "the file is empty"),
        "text": (folder / "text.flac", "not a sound file"),
        "folder": (folder / "folder.flac", "is not a file"),
        "missing": (folder / "missing.flac", "no such file"),
        "zero": (folder / "zero.wav", "holds no sample"),
        "nan": (folder / "nan.wav", "not numbers"),
        "infinite": (folder / "infinite.wav", "not numbers"),
    }
    made["empty"][0].touch()
    made["text"][0].write_text("The quick brown fox\n" * 100)
    made["folder"][0].mkdir()
    soundfile.write(made["zero"][0], noise[:0], RATE)
    soundfile.write(made["nan"][0], nan, RATE, subtype="FLOAT")
    soundfile.write(made["infinite"][0], infinite, RATE, subtype="FLOAT")
    for kind in ("flac", "wav", "mp3", "ogg", "opus"):
        whole = folder / f"whole.{kind}"
        soundfile.write(whole, noise, RATE, **LOSSY.get(kind, {}))
        data = whole.read_bytes()
        for share in (3, 6, 9):
            path = folder / f"cut{share}.{kind}"
            path.write_bytes(data[: len(data) * share // 10])
            made[f"cut{share} {kind}"] = (path, "truncated")
        path = folder / f"stump.{kind}"
        path.write_bytes(data[:30])
        made[f"stump {kind}"] = (path, "")
    return made


def test_bad_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    for kind, (path, reason) in _bad_files(tmp_path).items():
        with pytest.raises(AudioError) as caught:
            read_audio(path)
        assert reason in caught.value.reason, kind
        assert str(caught.value) == f"{path}: {caught.value.reason}"
        assert "\n" not in str(caught.value)


def test_whole_files_are_not_taken_for_truncated(tmp_path: Path) -> None:
    _bad_files(tmp_path)
    for path in tmp_path.glob("whole.*"):
        assert abs(len(read_audio(path)) - 3 * RATE) < 0.15 * RATE


def test_a_wav_of_unknown_length_is_used(tmp_path: Path) -> None:
    """Programs that write into a pipe put the largest length into the header."""
    soundfile.write(tmp_path / "a.wav", sine(0.5), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = data[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == RATE // 2


def test_an_hour_is_read_in_little_more_memory_than_its_own(tmp_path: Path) -> None:
    rate, path = 48_000, tmp_path / "hour.flac"
    minute = np.stack([sine(60, rate), sine(60, rate, 300)], axis=1)
    with soundfile.SoundFile(path, "w", rate, 2) as file:
        for _ in range(4):
            file.write(minute)
    # 4 minutes of 48 kHz stereo stand for the hour: the ratio of memory to result is what counts.
    tracemalloc.start()
    read = read_audio(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read) == 240 * RATE
    assert peak < 2.5 * read.nbytes + 25e6


@pytest.mark.speech
def test_an_hour_long_file(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    minute = sine(60)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(60):
            file.write(minute)
    assert probe(path).duration == 3600
    assert len(read_audio(path)) == 3600 * RATE


@pytest.mark.skipif(os.geteuid() == 0, reason="running as root")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(0.1), RATE)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(AudioError, match="permission denied"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.speech
def test_reads_real_speech_as_librosa_does(sample: Path) -> None:
    paths = sorted(sample.rglob("*.flac"))[::10]
    assert paths
    for path in paths:
        np.testing.assert_array_equal(read_audio(path), librosa.load(path, sr=None)[0])
