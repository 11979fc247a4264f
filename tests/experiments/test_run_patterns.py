"""Patterns of a run: errors against windows cut by hand, splits, caches, sound, and what can go wrong."""

from __future__ import annotations

import functools
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Segment
from asr_introspect.experiments import pass_plan, run_patterns
from asr_introspect.experiments.gathered import Draws, Gathered
from asr_introspect.experiments.introspect import introspect
from asr_introspect.experiments.merge import merge
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.introspection.patterns import frequent, read_patterns
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, input_of
from tests.conftest import CorpusMaker
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser

TEXTS = {f"{speaker}-1-{i:04}": "A TEXT" for speaker in (10, 20) for i in range(3)}
FEW = Draws(rotations=20, resamples=10, letters=100)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of two instances, sounds with hardly any phase."""
    monkeypatch.setattr(run_patterns, "frequent", functools.partial(frequent, minimum=2))
    monkeypatch.setattr(
        run_patterns, "pattern_sounds", functools.partial(run_patterns.pattern_sounds, iterations=1)
    )


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    return tiny_recogniser(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def corpus(make_corpus: CorpusMaker) -> Path:
    """Six utterances of noise that swells and fades, so that a net of random weights says many things."""
    place = make_corpus(TEXTS, seconds=2.0)
    for number, path in enumerate(sorted(place.rglob("*.wav"))):
        random = generator(0, "noise", number)
        swell = np.abs(np.sin(np.arange(32_000) / random.integers(900, 2500)))
        soundfile.write(path, 0.2 * random.normal(size=32_000) * swell, 16_000)
    return place


def gathered(recogniser: Recogniser, corpus: Path, folder: Path, **settings: object) -> Gathered:
    """What a pass over the corpus gives, with phones of 150 ms."""
    utterances = read_corpus(corpus).utterances
    names = ("AA", "S", "T")
    phones = tuple(Segment(names[i % 3], 0.15 * i, 0.15 * (i + 1), 1.0) for i in range(13))
    plan = Pass(
        recogniser,
        utterances,
        {utterance.name: Alignment((), phones) for utterance in utterances},
        **settings,  # type: ignore[arg-type]
    )
    rows = all_rows(plan, [part for _, part in streamed(plan, folder / "work")])
    return Gathered(plan, rows, folder / "work", folder, seed=0, draws=FEW)


def plain(found: Gathered, labels: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Groups, their means less the unweighted mean over all, and clustered errors, ``(G, F, W)``."""
    plan, instances = found.plan, found.rows.instances[labels]
    cone = plan.layout[INPUT]
    rows = [
        input_of(plan.recogniser, plan.utterances[record["row"]], record["row"]).numpy()
        for record in found.rows.utterances
    ]
    at = found.rows.found[INPUT] if labels == "letters" else cone.stride * instances.step
    names = [name for i, name in enumerate(plan.sets[labels].labels) if (instances.label == i).sum() > 1]
    shape = (len(rows), len(names), *rows[0].shape[:1], cone.positions)
    sums, counts = np.zeros(shape), np.zeros(shape)
    for utterance, label, position in zip(instances.utterance, instances.names(), at, strict=True):
        if label in names:
            wide = np.pad(rows[utterance].astype(float), ((0, 0), (300, 300)), constant_values=np.nan)
            window = wide[:, position + cone.first + 300 :][:, : cone.positions]
            sums[utterance, names.index(label)] += np.nan_to_num(window)
            counts[utterance, names.index(label)] += np.isfinite(window)
    total = counts.sum(0)
    mean = sums.sum(0) / np.maximum(total, 1)
    inside = np.array([labels == "phonemes" or name.isalpha() for name in names])
    weights = inside[:, None, None] * (total > 0)
    weights = weights / np.maximum(weights.sum(0), 1)
    deviation = (sums - counts * mean) / np.maximum(total, 1)
    difference = deviation - (weights * deviation).sum(1, keepdims=True)
    error = np.sqrt((difference**2).sum(0))
    known = (counts > 0).sum(0) > 1
    pattern = np.where(total > 0, mean, np.nan) - (weights * mean).sum(0)
    return names, pattern, np.where(known, error, np.nan)


def test_patterns_and_errors_are_those_of_windows_cut_by_hand(
    recogniser: Recogniser, corpus: Path, tmp_path: Path
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run")
    run_patterns.part(found)
    for labels in ("letters", "phonemes"):
        stored = read_patterns(tmp_path / "run" / "patterns.h5", labels, minimum=2)
        names, pattern, error = plain(found, labels)
        assert list(stored["group"].values) == names
        assert len(names) > 2
        known = np.isfinite(pattern) & (stored["count"].values > 0)[:, None]
        np.testing.assert_allclose(stored["pattern"].values[known], pattern[known], atol=2e-5)
        np.testing.assert_allclose(stored["error"], error, atol=2e-5)
        assert np.isfinite(stored["threshold"]).any()
        assert stored["utterances"].max() <= 6


def test_parts_of_groups_have_errors_but_no_threshold(
    recogniser: Recogniser, corpus: Path, tmp_path: Path
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run", splits=("speaker", "right"))
    run_patterns.part(found)
    stored = read_patterns(tmp_path / "run" / "patterns.h5", "phonemes", minimum=2)
    assert {"AA|10", "S|20", "T|20"} < set(stored["group"].values)
    assert np.isfinite(stored["error"].sel(group="AA|10")).any()
    assert np.isnan(stored["threshold"].sel(group=["AA|10", "S|20"])).all()
    both = stored["count"].sel(group="AA|10") + stored["count"].sel(group="AA|20")
    np.testing.assert_array_equal(both, stored["count"].sel(group="AA"))
    with h5py.File(tmp_path / "run" / "patterns.h5") as file:
        sounds = dict(zip(stored["group"].values, file["phonemes/sound"].asstr()[:], strict=True))
    assert sounds["AA"]
    assert not sounds["AA|10"]


def test_from_a_cache_as_from_sound(recogniser: Recogniser, corpus: Path, tmp_path: Path) -> None:
    run_patterns.part(gathered(recogniser, corpus, tmp_path / "sound"))
    utterances = read_corpus(corpus).utterances
    cache = [input_of(recogniser, utterance, i) for i, utterance in enumerate(utterances)]
    read: list[int] = []

    def spectrograms(place: int) -> torch.Tensor:
        read.append(place)
        return cache[place]

    found = gathered(recogniser, corpus, tmp_path / "cache", spectrograms=spectrograms)
    read.clear()
    run_patterns.part(found)
    assert sorted(read) == list(range(6))
    one, other = (read_patterns(tmp_path / name / "patterns.h5", minimum=2) for name in ("sound", "cache"))
    for name in ("pattern", "error", "threshold"):
        np.testing.assert_array_equal(one[name], other[name])


def test_speech_that_is_gone_leaves_patterns_and_says_so(
    recogniser: Recogniser, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run")
    for path in sorted(corpus.rglob("*.wav"))[2:]:
        path.unlink()
    run_patterns.part(found)
    said = capsys.readouterr().err
    assert "patterns without standard errors" in said
    stored = read_patterns(tmp_path / "run" / "patterns.h5", minimum=2)
    assert "error" not in stored
    assert np.isfinite(stored["pattern"]).any()
    with h5py.File(tmp_path / "run" / "patterns.h5") as file:
        assert ".wav" in file["letters"].attrs["errors_missing"]
        assert file["letters"].attrs["average_sound"]  # two utterances are enough for the level
    for path in corpus.rglob("*.wav"):
        path.unlink()
    run_patterns.part(found)
    assert "patterns without sound" in capsys.readouterr().err
    with h5py.File(tmp_path / "run" / "patterns.h5") as file:
        assert file["letters"].attrs["average_sound"] == ""
    assert not list((tmp_path / "run" / "audio" / "patterns").glob("*"))


def test_speech_that_has_changed_is_noticed(
    recogniser: Recogniser, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run")
    path = sorted(corpus.rglob("*.wav"))[0]
    sound, rate = soundfile.read(path)
    soundfile.write(path, sound[: len(sound) // 2], rate)
    run_patterns.part(found)
    assert "has changed" in capsys.readouterr().err


def test_stopped_anywhere_the_old_file_stays(
    recogniser: Recogniser, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run")
    run_patterns.part(found)
    path = tmp_path / "run" / "patterns.h5"
    before = path.read_bytes()

    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    for name in ("second_pass", "pattern_sounds", "write_patterns"):
        with monkeypatch.context() as patch:
            patch.setattr(run_patterns, name, stop)
            with pytest.raises(KeyboardInterrupt):
                run_patterns.part(found)
        assert path.read_bytes() == before
        assert sorted(each.name for each in path.parent.iterdir()) == ["audio", "patterns.h5", "work"]
    run_patterns.part(found)
    again = {name: read_patterns(path, minimum=2)[name] for name in ("pattern", "error", "threshold")}
    path.write_bytes(before)
    for name, values in again.items():
        np.testing.assert_array_equal(values, read_patterns(path, minimum=2)[name])


def test_sounds_are_in_the_run_and_those_of_an_earlier_one_are_not(
    recogniser: Recogniser, corpus: Path, tmp_path: Path
) -> None:
    found = gathered(recogniser, corpus, tmp_path / "run")
    old = tmp_path / "run" / "audio" / "patterns" / "00999.flac"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    run_patterns.part(found)
    assert not old.exists()
    named = []
    with h5py.File(tmp_path / "run" / "patterns.h5") as file:
        for labels in ("letters", "phonemes"):
            named += [file[labels].attrs["average_sound"], *file[labels]["sound"].asstr()[:]]
    assert len(set(named)) == len(named) == len(list(old.parent.iterdir()))
    peaks = []
    for name in named:
        sound, rate = soundfile.read(tmp_path / "run" / name)
        assert (rate, len(sound)) == (16_000, 205 * 160)
        peaks.append(np.abs(sound).max())
    assert max(peaks) == pytest.approx(0.9, abs=0.01)


def test_merged_shards_have_the_patterns_of_the_whole(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_plan, "SLICE_SECONDS", 3.0)
    monkeypatch.setattr("asr_introspect.experiments.introspect.PARTS", (run_patterns.part,))
    checkpoint = tiny_checkpoint(tmp_path)
    introspect(corpus, checkpoint, tmp_path / "whole", draws=FEW)
    for number in (1, 2):
        introspect(corpus, checkpoint, tmp_path / str(number), shard=(number, 2), draws=FEW)
        assert not (tmp_path / str(number) / "patterns.h5").exists()
    merge(tmp_path / "merged", [tmp_path / "1", tmp_path / "2"])
    whole, merged = (
        read_patterns(tmp_path / name / "patterns.h5", minimum=2) for name in ("whole", "merged")
    )
    for name in ("pattern", "error", "threshold"):
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merged["count"], whole["count"])
