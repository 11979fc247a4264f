"""The room's README: every example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

from asr_introspect.experiments.introspect import introspect
from asr_introspect.resources import bundled

matplotlib.use("agg")
REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "asr_introspect" / "introspection" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(<!-- needs RUN -->\n)?```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) == README.count("```python") == 4
    assert sum(bool(mark) for mark, _ in EXAMPLES) == 1


def test_every_module_that_is_named_is_there() -> None:
    room = REPOSITORY / "asr_introspect" / "introspection"
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert named <= {path.name for path in room.glob("*.py")}
    assert len(named) > 10


@pytest.mark.speech
@pytest.mark.parametrize("number", [n for n, (mark, _) in enumerate(EXAMPLES) if not mark])
def test_an_example_runs(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[number][1], f"example {number}", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.speech
def test_the_example_that_reads_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_introspect.experiments.report.write_heat_maps", lambda maps, folder: [])
    monkeypatch.setattr("asr_introspect.experiments.run_offsets.MOST_LETTERS", 1)
    introspect(bundled("demo"), None, tmp_path / "run", max_utterances=6)
    (example,) = [code for mark, code in EXAMPLES if mark]
    names: dict[str, object] = {"RUN": tmp_path / "run"}
    exec(compile(example, "example of a run", "exec"), names)
    assert capsys.readouterr().out.strip()
    profile, letters, found = (names[name] for name in ("profile", "letters", "found"))
    assert profile["mean"].dims == ("group", "channel", "position")  # type: ignore[index]
    assert letters.sizes["instance"] == found.sizes["instance"]  # type: ignore[attr-defined]
    table, lags, linked = (names[name] for name in ("table", "lags", "linked"))
    assert set(table["explained"].dims) == {"placed", "layer"}  # type: ignore[index]
    assert "emission" in lags["placed"]  # type: ignore[index]
    assert set(linked["group"].values) <= set(profile["group"].values)  # type: ignore[index]
