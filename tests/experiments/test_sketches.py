"""Sketches of a pass against windows cut out and folded; however the corpus is cut; and what they say."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments import run_clusters, run_sketches
from asr_introspect.experiments.gathered import Draws, Gathered
from asr_introspect.experiments.introspect import introspect
from asr_introspect.experiments.merge import merge
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE, Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.pass_sketches import SKETCHED, drawn_places, read_sketches
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.experiments.run_sketches import JOINT, sketch_evidence, sketched
from asr_introspect.introspection.clusters import class_evidence, silhouette
from asr_introspect.introspection.distances import clipped, cross_validated, draws_for
from asr_introspect.introspection.sketches import fold
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, forward_pass
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser
from tests.experiments.test_introspect import datasets, small, speech  # noqa: F401 - fixtures

Passed = Callable[..., Gathered]


@pytest.fixture
def passed(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Passed:  # noqa: F811
    """Runs the pass alone over the noise of the main job's tests, in small slices."""
    monkeypatch.setattr(run_sketches, "ENOUGH", 2)

    def run(name: str = "work", **changed: object) -> Gathered:
        utterances = read_corpus(speech).utterances
        phones = read_alignments(speech / "alignments", utterances)
        given = {"sketch_seed": 0, "slice_seconds": 1.5} | changed
        plan = Pass(tiny_recogniser(tmp_path), utterances, phones, **given)  # type: ignore[arg-type]
        work = tmp_path / name
        rows = all_rows(plan, [part for _, part in streamed(plan, work)])
        return Gathered(plan, rows, work, tmp_path, 0)

    return run


@pytest.mark.parametrize("layer", [INPUT, "layer1", "layer9", "layer10", "layer12"])
def test_sketches_are_stored_windows_folded(passed: Passed, layer: str) -> None:
    """Every instance in the order of the table of instances, windows cut from each utterance alone."""
    run = passed()
    cone = run.plan.layout[layer]
    alone = []
    for utterance in run.plan.utterances:
        (forward,) = forward_pass(run.plan.recogniser, [utterance], layers=[layer])
        values = forward.activations[layer][0].double().numpy()
        alone.append(values - values.mean(0) if layer == LAYERS[-1] else values)
    for key in SKETCHED:
        instances = run.rows.instances[key.labels]
        stored = read_sketches(run.work, key, layer)
        assert stored is not None
        assert np.array_equal(stored.label, instances.label)
        assert np.array_equal(stored.place, instances.utterance)  # none was skipped
        folded = fold(cone, len(alone[0]), 0)
        wanted = np.zeros_like(stored.values)
        for number, (place, step) in enumerate(zip(instances.utterance, instances.step, strict=True)):
            at = cone.stride * step
            if key == LETTERS_GRADIENT and cone.shifts:
                at = run.rows.found[layer][number]
            values = alone[place]
            inside = at + folded.first + folded.position
            cells = np.where(
                (inside >= 0) & (inside < values.shape[1]),
                values[folded.channel, inside.clip(0, values.shape[1] - 1)],
                values.mean(1)[folded.channel],
            )
            for b in range(len(folded.edges) - 1):
                own = slice(folded.edges[b], folded.edges[b + 1])
                wanted[number, b] = (cells[own] * folded.sign[own]).sum()
            assert stored.mean[number] == pytest.approx(cells.mean(), abs=1e-4 * np.abs(cells).max())
        scale = np.abs(wanted).max(1, keepdims=True)
        assert (np.abs(stored.values - wanted) <= 2**-10 * np.abs(wanted) + 1e-4 * scale).all()
        np.testing.assert_allclose(stored.ones, folded.ones)
        assert stored.cells == folded.cells


def test_other_slices_and_stopped_passes_give_the_same_sketches(passed: Passed) -> None:
    """In slices or whole; and after a stop, which loses the slice that was not finished."""
    several, whole = passed("several"), passed("whole", slice_seconds=1e9, batch_seconds=1.0)
    assert len(list((several.work / "sketches").iterdir())) > 2
    assert len(list((whole.work / "sketches").iterdir())) == 1
    for key in SKETCHED:
        for layer in several.plan.layout:
            ours, theirs = (read_sketches(each.work, key, layer) for each in (several, whole))
            assert ours is not None
            assert theirs is not None
            assert np.array_equal(ours.label, theirs.label)
            scale = np.abs(theirs.values).max()
            # Another batch rounds its float32 convolutions differently.
            np.testing.assert_allclose(ours.values, theirs.values, atol=2e-3 * scale)


@pytest.mark.speech
def test_shards_merged_have_the_sketches_of_the_whole_to_the_bit(speech: Path, tmp_path: Path) -> None:  # noqa: F811
    checkpoint = tiny_checkpoint(tmp_path)
    introspect(speech, checkpoint, tmp_path / "whole")
    parts = [tmp_path / f"part {number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        introspect(speech, checkpoint, part, shard=(number, 2))
    merge(tmp_path / "merged", parts)
    names = sorted(path.name for path in (tmp_path / "whole" / "work" / "sketches").iterdir())
    assert len(names) > 1
    for name in names:
        ours, whole = (datasets(tmp_path / run / "work" / "sketches" / name) for run in ("merged", "whole"))
        assert ours.keys() == whole.keys()
        assert all(ours[each].tobytes() == whole[each].tobytes() for each in ours)


@pytest.mark.speech
def test_without_sketches(speech: Path, tmp_path: Path) -> None:  # noqa: F811
    introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "run", sketches=False)
    assert not (tmp_path / "run" / "work" / "sketches").exists()
    assert not (tmp_path / "run" / "sketches.csv").exists()
    with (tmp_path / "run" / "clusters.csv").open() as file:
        assert {row["distance"] for row in csv.DictReader(file)} <= {"plain, profiles"}
    with pytest.raises(IntrospectError, match="other settings"):
        introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "run")


def test_long_corpora_leave_sketches_of_utterances_drawn_by_seed(
    passed: Passed, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = [Utterance(f"u{i}", Path("x"), "", "", "", 10.0) for i in range(100)]
    drawn = drawn_places(utterances, 0, 300.0)
    assert len(drawn) == 30
    assert drawn == drawn_places(utterances, 0, 300.0)
    assert drawn != drawn_places(utterances, 1, 300.0)
    assert drawn_places(utterances, 0, 1000.0) == frozenset(range(100))
    assert len(drawn_places(utterances, 0, 1.0)) == 1
    monkeypatch.setattr("asr_introspect.experiments.pass_sketches.SKETCH_SECONDS", 2.0)
    run = passed()
    stored = read_sketches(run.work, LETTERS_NONE, "layer3")
    assert stored is not None
    assert 1 <= len(set(stored.place)) < len(run.plan.utterances)


def test_a_damaged_file_is_said(passed: Passed) -> None:
    run = passed()
    path = sorted((run.work / "sketches").iterdir())[0]
    path.write_bytes(b"no HDF5")
    with pytest.raises(IntrospectError, match=r"is damaged .*run again"):
        read_sketches(run.work, LETTERS_NONE, "layer3")
    assert read_sketches(run.folder / "none", LETTERS_NONE, "layer3") is None


@pytest.fixture
def other_vowels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny net says consonants only: every other letter counts as a vowel."""
    monkeypatch.setattr("asr_introspect.introspection.phonetics.LETTER_VOWELS", tuple("ACEGIKMOQSUWY"))


@pytest.mark.usefixtures("other_vowels")
def test_evidence_is_of_the_same_statistic_in_value_null_and_interval(passed: Passed) -> None:
    """Each draw is recomputed: labels rotated, utterances resampled, in the same halves."""
    run = passed()
    found = sketch_evidence(replace(run, draws=Draws(rotations=9, resamples=8)))
    rows = {(e.key, e.layer, e.metric, e.classes): e for e in found}
    assert {e.layer for e in found} == set(run.plan.layout)
    assert {e.key for e in found} == {LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE, JOINT}
    one = rows[PHONEMES_NONE, "layer5", "euclidean", "voicing"]
    assert one.groups == ("AA", "S", "T")
    data = sketched(run, PHONEMES_NONE, "layer5")
    assert data is not None
    draws = draws_for(data, seed=0, rotations=9, resamples=8)

    def value(**how: np.ndarray) -> float:
        assert data is not None
        return silhouette(clipped(cross_validated(data, draws.halves, **how)[0], "euclidean"), one.named)

    assert one.silhouette.value == pytest.approx(value())
    null = np.array([value(rotation=each) for each in draws.rotations])
    assert one.rotated.p_value == pytest.approx((1 + (null >= value() - 1e-12).sum()) / 10)
    assert one.rotated.null_mean == pytest.approx(np.nanmean(null))
    drawn = [value(weights=each) for each in draws.weights]
    assert one.silhouette.low == pytest.approx(np.nanquantile(drawn, 0.025))
    assert one.permuted == class_evidence(one.distance, one.named)
    assert set(one.speakers) == {"1", "2", "3"}
    assert one.unit == "utterances within speakers"
    joint = rows[JOINT, "layer5", "cosine", "vowel-consonant"]
    assert "phone AA" in joint.groups
    assert any(group.startswith("letter ") for group in joint.groups)
    assert np.isnan(joint.silhouette.low)
    moved, still = (
        rows[key, "layer11", "cosine", "vowel-consonant"] for key in (LETTERS_GRADIENT, LETTERS_NONE)
    )
    assert np.array_equal(moved.distance, still.distance)
    assert moved.key == LETTERS_GRADIENT


@pytest.mark.speech
@pytest.mark.usefixtures("other_vowels")
def test_tables_and_distances_of_a_run(
    speech: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (run_sketches, run_clusters):
        monkeypatch.setattr(module, "ENOUGH", 2)
    draws = Draws(rotations=9, resamples=8, letters=50)
    introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "run", draws=draws)
    with (tmp_path / "run" / "clusters.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["weight"] == "activation"]
    of_sketches = [row for row in rows if row["distance"] == "cross-validated, sketches"]
    assert {(row["labels"], row["offset"]) for row in of_sketches} >= {
        ("letters", "gradient"),
        ("phonemes", "none"),
    }
    for row in of_sketches:
        if row["labels"] != "joint" and row["silhouette"]:
            assert 0.1 <= float(row["rotated_p"]) <= 1
            assert row["drawn"] == "utterances within speakers"
            assert -1 <= float(row["plain_profiles"]) <= 1
    with (tmp_path / "run" / "sketches.csv").open() as file:
        table = {(row["labels"], row["offset"], row["layer"]): row for row in csv.DictReader(file)}
    assert float(table["letters", "none", "layer12"]["euclidean_deviation"]) < 1e-3  # kept whole
    assert 0 < float(table["letters", "none", "layer1"]["euclidean_deviation"]) < 1
    assert int(table["letters", "none", "layer1"]["numbers"]) == 256
    assert int(table["letters", "none", "layer1"]["cells"]) == 8 * 80
    with (tmp_path / "run" / "clusters_by_speaker.csv").open() as file:
        assert {row["speaker"] for row in csv.DictReader(file)} == {"1", "2", "3"}
    with h5py.File(tmp_path / "run" / "clusters.h5") as file:
        crossed = file["letters/gradient/activation/layer5/cosine/cross_validated"]
        assert crossed.shape == (len(crossed.attrs["groups"]),) * 2
