"""Shards merged are the whole; what does not fit together is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_introspect.commands import main
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments import pass_plan, run_lags, run_tables
from asr_introspect.experiments.introspect import introspect
from asr_introspect.experiments.merge import merge
from tests.experiments.recognisers import tiny_checkpoint
from tests.experiments.test_introspect import EVERY, datasets, own_labels, small, speech  # noqa: F401 - fixtures

SAME = ("instances.csv", "offsets.csv", "utterances.csv", "lags.csv", "skipped.csv")


@pytest.mark.parametrize("of", [1, 2, 7])
def test_shards_are_the_whole(
    speech: Path,  # noqa: F811
    tmp_path: Path,
    of: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With all labels and splits: moments equal to 1e-12, tables to the byte; merged again, the same bits."""
    # What is made of equal tables and moments is made by the same code: the tables suffice.
    monkeypatch.setattr("asr_introspect.experiments.introspect.PARTS", (run_tables.part, run_lags.part))
    checkpoint = tiny_checkpoint(tmp_path)
    every: dict[str, Any] = {**EVERY, "tables": [own_labels(tmp_path)]}
    introspect(speech, checkpoint, tmp_path / "whole", **every)
    parts = [tmp_path / f"part {number}" for number in range(1, of + 1)]
    for number, part in enumerate(parts, 1):
        found = introspect(speech, checkpoint, part, shard=(number, of), **every)
        assert found.report is None
        assert not found.findings
    merged = merge(tmp_path / "merged", parts[::-1])
    assert merged.report is not None
    for name in SAME:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    ours, whole = (datasets(tmp_path / name / "work" / "moments.h5") for name in ("merged", "whole"))
    assert ours.keys() == whole.keys()
    for name, values in ours.items():
        if values.dtype == np.float64:
            scale = np.abs(whole[name]).max(initial=1e-300)
            np.testing.assert_allclose(values, whole[name], rtol=1e-12, atol=1e-12 * scale)
        elif values.dtype != object:
            assert np.array_equal(values, whole[name])
    merge(tmp_path / "again", parts)
    again = datasets(tmp_path / "again" / "work" / "moments.h5")
    assert all(again[name].tobytes() == ours[name].tobytes() for name in ours if ours[name].dtype != object)


def test_every_slice_is_in_one_shard() -> None:
    for count in (1, 3, 8):
        for of in (1, 2, 3, 7, 11):
            plans = [pass_plan.Pass(None, [], {}, shard=(i, of)) for i in range(1, of + 1)]  # type: ignore
            for plan in plans:
                plan.__dict__["slices"] = [range(0)] * count
            assert [number for plan in plans for number in plan.own] == list(range(count))


def test_what_does_not_fit_together(speech: Path, tmp_path: Path) -> None:  # noqa: F811
    checkpoint = tiny_checkpoint(tmp_path)
    one, two = tmp_path / "1", tmp_path / "2"
    introspect(speech, checkpoint, one, shard=(1, 2))
    introspect(speech, checkpoint, two, shard=(2, 2))
    with pytest.raises(UsageError, match="nothing to merge"):
        merge(tmp_path / "out", [])
    with pytest.raises(IntrospectError, match="all shards 1/2 to 2/2 are needed"):
        merge(tmp_path / "out", [one])
    with pytest.raises(IntrospectError, match="each once; given are 1/2, 1/2, 2/2"):
        merge(tmp_path / "out", [one, two, one])
    introspect(speech, checkpoint, tmp_path / "seed", shard=(2, 2), seed=1)
    with pytest.raises(IntrospectError, match=r"other settings .*\(seed\)"):
        merge(tmp_path / "out", [one, tmp_path / "seed"])
    introspect(speech, checkpoint, tmp_path / "fewer", shard=(2, 2), max_utterances=3)
    with pytest.raises(IntrospectError, match="another checkpoint or corpus"):
        merge(tmp_path / "out", [one, tmp_path / "fewer"])
    with pytest.raises(IntrospectError, match="cannot read"):
        merge(tmp_path / "out", [one, tmp_path / "missing"])
    shutil.copytree(two, tmp_path / "unfinished")
    record = json.loads((two / "run.json").read_text())
    record["parts"]["introspect"]["complete"] = False
    (tmp_path / "unfinished" / "run.json").write_text(json.dumps(record))
    with pytest.raises(IntrospectError, match="not finished"):
        merge(tmp_path / "out", [one, tmp_path / "unfinished"])
    assert not (tmp_path / "out" / "run.json").exists()
    with pytest.raises(IntrospectError, match="holds a run already"):
        merge(one, [one, two])


def test_on_the_command_line(
    speech: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = ["introspect", "--checkpoint", str(tiny_checkpoint(tmp_path)), "--corpus", str(speech), "--out"]
    for number in (1, 2):
        assert main([*call, str(tmp_path / str(number)), "--shard", f"{number}/2"]) == 0
    assert main(["merge", str(tmp_path / "both"), str(tmp_path / "1"), str(tmp_path / "2")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "both" / "report.html")
    for wrong in ("3/2", "0/2", "2", "a/b"):
        assert main([*call, str(tmp_path / "x"), "--shard", wrong]) == 2
    assert main(["merge", str(tmp_path / "one"), str(tmp_path / "1")]) == 1
