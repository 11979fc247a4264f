"""Patterns from arrays, written and read again: averages, errors, significance, a sentence, sound."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.features import FeatureConfig, levels, log_mel, normalise
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.pattern_errors import UtteranceWindows, difference_errors
from asr_introspect.introspection.pattern_findings import significance_finding
from asr_introspect.introspection.pattern_sounds import mean_levels, pattern_sounds
from asr_introspect.introspection.patterns import (
    PatternAxes,
    frequent,
    loudest_cell,
    moments_of,
    overshadowing,
    patterns_of,
    read_patterns,
    strength,
    write_patterns,
)
from asr_introspect.introspection.rotations import rotation_thresholds
from asr_introspect.random import generator

GROUPS = ("A", "B", "C", " ", "Q")
CONE = Cone("input", 2, -4, 9, 1, 0.0)
AXES = PatternAxes(np.array([100.0, 200.0, 400.0, 800.0]), 0.01, 2)
INSIDE = np.array([True, True, True, False])


def speech(seed: int = 0, utterances: int = 12) -> list[UtteranceWindows]:
    """Noise in which B has more energy at 400 Hz, 10 ms after its frame; Q comes nine times only."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(utterances):
        rows = random.normal(size=(60, 4)) + random.normal(size=4)
        position = np.sort(random.choice(60, 20, replace=False))
        group = random.integers(0, 4, 20)
        if number < 9:
            group[3] = 4
        rows[(position[group == 1] + 1).clip(max=59), 2] += 3
        found.append(UtteranceWindows(rows.astype(np.float32), position, group))
    return found


def written(path: Path, *, errors: bool = True) -> Path:
    spoken = speech()
    found = frequent(moments_of(spoken, GROUPS, CONE.first, CONE.positions))
    kept = [
        UtteranceWindows(own.rows, own.position, np.where(own.group == 4, -1, own.group)) for own in spoken
    ]
    with h5py.File(path, "w") as file:
        write_patterns(
            file,
            "letters",
            CONE,
            found,
            AXES,
            errors=difference_errors(found, INSIDE, CONE.first, kept) if errors else None,
            thresholds=rotation_thresholds(kept, INSIDE, CONE.first, CONE.positions, draws=200)
            if errors
            else None,
            sounds=["a.flac"] * 4,
        )
    return path


def test_averages_are_subtracted_on_reading(tmp_path: Path) -> None:
    path = written(tmp_path / "patterns.h5")
    plain = read_patterns(path, average="none")
    assert list(plain["group"].values) == list("ABC ")
    found = moments_of(speech(), GROUPS, CONE.first, CONE.positions)
    np.testing.assert_allclose(plain["pattern"].values, found.mean[:4], rtol=1e-6, atol=1e-7)
    patterns = read_patterns(path)
    letters = patterns["pattern"].sel(group=["A", "B", "C"]).values
    np.testing.assert_allclose(letters.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(patterns["pattern"] + patterns["average"], plain["pattern"], atol=1e-6)
    by_counts = read_patterns(path, average="counts")
    weights = plain["count"].sel(group=["A", "B", "C"]).values[:, None]
    letters = by_counts["pattern"].sel(group=["A", "B", "C"]).values
    np.testing.assert_allclose((letters * weights).sum(0), 0, atol=1e-4)
    assert np.abs(by_counts["pattern"] - patterns["pattern"]).max() > 0.01
    with pytest.raises(UsageError, match="unknown patterns"):
        read_patterns(path, "phonemes")
    with pytest.raises(UsageError, match="unknown average"):
        read_patterns(path, average="count")  # type: ignore[arg-type]
    with pytest.raises(IntrospectError, match="cannot read"):
        read_patterns(tmp_path / "none.h5")


def test_axes_are_in_hertz_and_milliseconds(tmp_path: Path) -> None:
    path = written(tmp_path / "patterns.h5")
    patterns = read_patterns(path)
    assert patterns["frequency"].attrs["unit"] == "Hz"
    assert patterns["time"].attrs["unit"] == "ms"
    np.testing.assert_allclose(patterns["time"], np.arange(-40, 50, 10))
    np.testing.assert_array_equal(patterns["frame"], np.arange(-4, 5))
    hertz, milliseconds, value = loudest_cell(patterns, "B")
    assert (hertz, milliseconds) == (400.0, 10.0)
    assert value == pytest.approx(2, abs=0.5)
    assert strength(patterns).argmax() == 1
    assert overshadowing(patterns).shape == (4,)
    with h5py.File(path) as file:
        mean = file["letters/mean"]
        assert [mean.dims[axis][0].name for axis in range(3)] == [
            f"/letters/{name}" for name in ("group", "frequency", "time")
        ]
        assert file["letters/threshold"].attrs["draws"] == 200


def test_cells_of_the_pattern_are_significant_and_the_rest_is_not(tmp_path: Path) -> None:
    patterns = read_patterns(written(tmp_path / "patterns.h5"))
    assert bool(patterns["significant"].sel(group="B", frequency=400.0, frame=1))
    others = patterns["significant"].sel(group=["A", "C"], frequency=[100.0, 200.0, 800.0])
    assert others.mean() < 0.02
    with_none = read_patterns(written(tmp_path / "plain.h5", errors=False))
    assert "significant" not in with_none
    assert "error" not in with_none


def test_the_same_from_arrays_alone(tmp_path: Path) -> None:
    stored = read_patterns(written(tmp_path / "patterns.h5"))
    found = patterns_of(speech(), GROUPS, AXES, first=CONE.first, positions=CONE.positions, draws=200)
    assert set(stored.data_vars) == set(found.data_vars)
    for name in ("pattern", "error", "average"):
        np.testing.assert_allclose(found[name], stored[name], atol=1e-5)
    for name in ("count", "significant", "utterances"):
        np.testing.assert_array_equal(found[name], stored[name])
    assert found["pattern"].dims == ("group", "frequency", "frame")
    without = patterns_of(
        speech(), GROUPS, AXES, first=CONE.first, positions=CONE.positions, average="none", minimum=1
    )
    assert list(without["group"].values) == list(GROUPS)


def test_moments_are_those_of_windows_cut_by_hand() -> None:
    spoken = speech(1, 3)
    found = moments_of(spoken, GROUPS, CONE.first, CONE.positions)
    for group in range(4):
        windows = [
            np.pad(own.rows.astype(float), ((9, 9), (0, 0)), constant_values=np.nan)[q + CONE.first + 9 :][:9]
            for own in spoken
            for q in own.position[own.group == group]
        ]
        np.testing.assert_allclose(found.mean[group], np.nanmean(windows, 0).T, atol=1e-6)
        np.testing.assert_allclose(found.variance[group], np.nanvar(windows, 0).T, atol=1e-6)
        np.testing.assert_array_equal(found.count[group], np.isfinite(windows).all(2).sum(0))


def test_a_sentence_says_how_much_is_more_than_chance() -> None:
    shares = dict.fromkeys("ABCDEFGHIJKLMNOPQRST", 0.0)
    none = significance_finding({**shares, "A": 0.001}, 1000)
    assert not none.difference
    assert "No difference" in none.sentence
    assert "1 of 20 letters" in none.sentence
    some = significance_finding({**shares, **dict.fromkeys("BCDEFGHIJ", 0.2), "S": 0.6}, 1000)
    assert some.difference
    assert "most in S (60 %)" in some.sentence
    assert "None in A, K" in some.sentence


def test_sounds_have_the_means_they_are_made_of() -> None:
    """Two tones: the sound of each, at the level of the utterances, loudest at 0.9."""
    config = FeatureConfig(normalise="utterance")
    time = np.arange(20_000) / 16000
    tones = [0.3 * np.sin(2 * np.pi * f * time) + 0.01 * np.sin(2 * np.pi * 150 * time) for f in (700, 2500)]
    noise = generator(0, "noise").normal(0, 1e-4, len(time))
    spectrograms = [log_mel((tone + noise).astype(np.float32), config) for tone in tones]
    found = [levels(own, "utterance") for own in spectrograms]
    level = mean_levels((mean.numpy(), deviation.numpy()) for mean, deviation in found)
    assert level[0].shape == (1, 1)
    np.testing.assert_allclose(level[0], np.mean([mean.item() for mean, _ in found]))
    means = np.stack([normalise(own, "utterance").numpy() for own in spectrograms])
    sounds = pattern_sounds(means, level, config, seed=1, iterations=8)
    assert max(np.abs(sound).max() for sound in sounds) == pytest.approx(0.9, abs=0.02)
    for sound, frequency in zip(sounds, (700, 2500), strict=True):
        spectrum = np.abs(np.fft.rfft(sound))
        assert abs(spectrum.argmax() * 16000 / len(sound) - frequency) < 40
        assert sound[0] == sound[-1] == 0
    holes = means.copy()
    holes[:, :, :5] = np.nan
    assert np.isfinite(pattern_sounds(holes, level, config, iterations=2)).all()
    assert pattern_sounds(means[:0], level, config) == []
