"""The walkthrough runs from top to bottom, with phone alignments and without, and says what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

RECIPE = Path(__file__).parents[1] / "recipes" / "librispeech" / "walkthrough.py"
FIGURES = ["1-sentence", "2-offsets", "3-patterns", "4-relevance", "5-letters", "6-phonemes"]


def walk(figures: Path, **settings: str) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, str(RECIPE)],
        env={**os.environ, "UTTERANCES": "8", "FIGURES": str(figures), "DISPLAY": "", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.speech
def test_every_step_on_the_demo_corpus(tmp_path: Path) -> None:
    said = walk(tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == FIGURES
    for path in tmp_path.glob("*.png"):
        pixels = image.imread(path)
        assert min(pixels.shape[:2]) > 200, path
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50, path
    assert "8 utterances" in said
    assert "2 speakers" in said
    lag = re.search(r"middle of their phone: ([+-]\d+) ms \(([+-]\d+) to ([+-]\d+)\)", said)
    assert lag is not None
    median, low, high = map(int, lag.groups())
    assert -100 < low <= median <= high < 100
    agree = {
        name: float(value)
        for name, value in re.findall(r"   (the step itself|gradient|random place) +(\d\.\d+) ", said)
    }
    # What holds for any recogniser that has learnt something: a random place is worse.
    assert agree["the step itself"] > agree["random place"]
    assert said.count("silhouette") == 5


@pytest.mark.speech
def test_without_phone_alignments(tmp_path: Path) -> None:
    said = walk(tmp_path, ALIGNMENTS=str(tmp_path / "none"))
    assert "no phone alignments" in said
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == FIGURES[:-1]
    assert said.count("silhouette") == 3


def test_its_cells_are_a_notebook() -> None:
    text = RECIPE.read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)[1:]
    words = [cell for cell in cells if cell.startswith(" [markdown]")]
    assert len(words) >= 9
    for cell in words:
        lines = cell.splitlines()[1:]
        assert all(line.startswith("#") or not line.strip() for line in lines)
