"""Reading run folders: whole, thin and damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from asr_introspect.errors import IntrospectError
from asr_introspect.reporting.run import overshadowed, read_run
from asr_introspect.reporting.tables import number, read_instances
from tests.reporting.synthetic import HOSTILE, LAYERS, LETTERS


def test_everything_is_read(stored_run: Path) -> None:
    run = read_run(stored_run)
    assert run.part["seed"] == 0
    assert list(run.patterns) == ["letters", "phonemes"]
    letters = run.patterns["letters"]
    assert letters.mean.shape == letters.error["counts"].shape == (28, 128, 206)
    assert letters.sounds[0] is not None
    assert letters.sounds[1] is None
    assert run.relevance is not None
    assert run.relevance.windows.shape[1:] == (128, 206)
    assert len(run.relevance.symbols) == len(run.relevance.windows)
    assert [m.layer for m in run.clusters if (m.labels, m.offset) == ("letters", "none")] == list(LAYERS)
    assert run.clusters[0].metric == "euclidean"
    assert run.sound is not None
    assert HOSTILE in {row["speaker"] for row in run.utterances}


def test_a_missing_folder_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        IntrospectError, match=r"nowhere does not exist; make one with: asr-introspect introspect"
    ):
        read_run(tmp_path / "nowhere")
    with pytest.raises(IntrospectError, match=r"is not a run"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format": 99, "parts": {"introspect": {}}}, "newer asr-introspect"),
        ({"format": 1, "parts": {}}, "holds no introspection"),
        ({"parts": {"introspect": {}}}, "newer asr-introspect"),
    ],
)
def test_other_records_are_refused(tmp_path: Path, record: object, message: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(IntrospectError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["patterns.h5", "relevance.h5", "clusters.h5"])
def test_a_truncated_file_is_named(stored_run: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 3])
    with pytest.raises(IntrospectError, match=rf"{name} is damaged .*run introspect again"):
        read_run(folder)


def test_a_file_that_lacks_an_array_is_named(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    with h5py.File(folder / "relevance.h5", "a") as file:
        del file["lrp/starts"]
    with pytest.raises(IntrospectError, match=r"relevance.h5 is damaged \(.*starts"):
        read_run(folder)


def test_a_json_file_of_another_kind_is_named(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    (folder / "corpus.json").write_text("[1]")
    with pytest.raises(IntrospectError, match=r"corpus.json is damaged"):
        read_run(folder)


def test_parts_that_are_missing_are_none(stored_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((stored_run / "run.json").read_text())
    run = read_run(tmp_path)
    assert run.patterns == {}
    assert run.relevance is None
    assert run.sound is None
    assert [run.clusters, run.lags, run.findings, run.instances.positions] == [[], [], [], {}]
    assert run.overshadowing == {}


def test_numbers_and_what_is_none() -> None:
    assert number("1.5") == 1.5
    assert np.isnan([number(""), number(None), number("x")]).all()


def test_overshadowing_of_shared_and_own_parts() -> None:
    """Two groups at m + d and m - d: the grand mean is m, each pattern d."""
    shared, own = np.array([[3.0, 0.0, 4.0]]), np.array([[0.0, 2.0, 0.0]])
    np.testing.assert_allclose(overshadowed(np.stack([shared + own, shared - own])), [2.5, 2.5])
    assert np.isnan(overshadowed(np.stack([shared, shared]))).all()


def test_overshadowing_is_read_from_profiles(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    with h5py.File(folder / "profiles.h5", "w") as file:
        place = file.create_group("letters/gradient/activation/layer2")
        place["group"] = [*LETTERS[:3], " "]
        place["mean"] = np.array([[[2.0, 1.0]], [[2.0, -1.0]], [[2.0, 0.0]], [[99.0, 99.0]]])
        place.attrs["left_out"] = ["J (3)"]
    run = read_run(folder)
    np.testing.assert_allclose(run.overshadowing["letters"]["layer2"], [2.0, 2.0, np.nan])
    assert run.left_out == {"letters": ("J (3)",)}


def test_instances_and_offsets_meet(tmp_path: Path) -> None:
    """Offsets in another order, of an instance that is not there, and without a value."""
    (tmp_path / "instances.csv").write_text(
        "instance,kind,utterance,step,label\n0,letter,0,5,A\n1,letter,1,9,B\n2,phoneme,1,,AA\n"
    )
    (tmp_path / "offsets.csv").write_text(
        "instance,method,input\n1,gradient,20\n0,gradient,11\n7,gradient,3\n0,centre,12\n1,centre,\n"
    )
    found = read_instances(tmp_path / "instances.csv", tmp_path / "offsets.csv", 1)
    assert {at: row["label"] for at, row in found.chosen.items()} == {1: "B", 2: "AA"}
    assert found.found == {1: 20.0}
    assert found.steps["gradient"].tolist() == [9, 5]
    assert found.positions["gradient"]["input"].tolist() == [20.0, 11.0]
    assert found.steps["centre"].tolist() == [5]
