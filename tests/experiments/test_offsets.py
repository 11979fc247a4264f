"""The offset table by itself on the demo corpus, and the recipe that prints runs side by side."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.offsets import offsets
from asr_introspect.introspection.offset_methods import METHODS
from asr_introspect.introspection.runs import read_lags, read_offset_table
from asr_introspect.resources import bundled

RECIPE = Path(__file__).parents[2] / "recipes" / "librispeech" / "offsets.py"


@pytest.mark.speech
def test_tables_with_two_alignments_and_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phones = bundled("demo") / "alignments"
    runs = [tmp_path / "one", tmp_path / "two"]
    one, two = offsets(bundled("demo"), [phones, phones], out=runs, most=1000, max_utterances=4)
    assert [row.method for row in one.rows[: len(METHODS)]] == list(METHODS)
    assert len(one.rows) == 10 * len(METHODS)
    assert [row.lag for row in one.rows] == [row.lag for row in two.rows]
    at_input = {row.method: row for row in one.rows if row.layer == "input"}
    assert abs(at_input["phone"].lag.median) <= 5
    assert at_input["phone"].lag.spread.value < 5 < at_input["random"].lag.spread.value
    assert at_input["none"].unseen.value == 0 < at_input["random"].unseen.value

    table, lags = read_offset_table(runs[0]), read_lags(runs[0])
    assert int(table["count"].sel(placed="none", layer="input")) == at_input["none"].agreement.count
    value = float(table["explained"].sel(placed="ctc", layer="layer9"))
    (wanted,) = (row for row in one.rows if (row.method, row.layer) == ("ctc", "layer9"))
    assert value == pytest.approx(wanted.agreement.explained.value, rel=1e-5)
    assert lags["placed"].values.tolist() == ["emission"]

    monkeypatch.setattr(sys, "argv", ["offsets.py", *map(str, runs)])
    runpy.run_path(str(RECIPE), run_name="__main__")
    said = capsys.readouterr().out
    assert said.count("### layer") == 9
    assert "| none | 1 |" in said
    assert "| random (control) | 2 |" in said
    assert "### Letters are written after the middle of their sound, ms" in said


def test_a_recipe_that_is_told_too_little(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for wrong in ([], ["--corpus", "x"], ["--corpus", "x", "--alignments", "a", "b", "--out", "c"]):
        monkeypatch.setattr(sys, "argv", ["offsets.py", *wrong])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(RECIPE), run_name="__main__")
        assert stopped.value.code == 2
    with pytest.raises(IntrospectError, match="is not a run"):
        read_offset_table(tmp_path)
