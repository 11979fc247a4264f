"""Clusterings of profiles without time, and of weighted ones, in the run and on its page."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from asr_introspect.errors import UsageError
from asr_introspect.experiments import run_clusters, run_sketches
from asr_introspect.experiments.gathered import Draws
from asr_introspect.experiments.introspect import introspect
from asr_introspect.introspection.profiles import Key, read_profiles
from tests.experiments.recognisers import tiny_checkpoint
from tests.experiments.test_introspect import small, speech  # noqa: F401 - fixtures
from tests.experiments.test_sketches import other_vowels  # noqa: F401 - fixture

FEW = Draws(rotations=3, resamples=3, letters=50)


@pytest.mark.speech
@pytest.mark.usefixtures("other_vowels")
def test_profiles_without_time_are_clustered_and_shown(
    speech: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (run_sketches, run_clusters):
        monkeypatch.setattr(module, "ENOUGH", 2)
    checkpoint, run = tiny_checkpoint(tmp_path), tmp_path / "run"
    with pytest.raises(UsageError, match="did you mean 'maximum'"):
        introspect(speech, checkpoint, run, reductions=["maximun"])  # type: ignore[list-item]
    introspect(speech, checkpoint, run, reductions=["maximum", "mean"], weights=["gradient"], draws=FEW)
    data = read_profiles(run / "profiles.h5", Key("letters", "none"), "layer5", average="none", minimum=2)
    with h5py.File(run / "clusters.h5") as file:
        kept = [str(name) for name in file["letters/none/activation/layer5"].attrs["groups"]]
        found = {name: file[f"letters/none/activation-{name}/layer5"] for name in ("maximum", "mean")}
        means = np.where(data["count"].values[:, None] > 0, data["mean"].values, np.nan)
        rows = [list(data["group"].values).index(name) for name in kept]
        for name, reduce in (("maximum", np.nanmax), ("mean", np.nanmean)):
            without = reduce(means[rows], axis=2)
            expected = squareform(pdist(without - without.mean(0)))
            np.testing.assert_allclose(found[name]["euclidean/distance"][()], expected, rtol=1e-4, atol=1e-6)
        assert "letters/gradient/gradient/layer5" in file
    with (run / "clusters.csv").open() as file_of_rows:
        weights = {row["weight"] for row in csv.DictReader(file_of_rows)}
    assert weights == {"activation", "activation-maximum", "activation-mean", "gradient"}
    page = (run / "report.html").read_text(encoding="utf-8")
    for title in ("; mean over time", "; maximum over time", "; activation × |gradient|"):
        assert f"Letters, aligned by gradient{title}" in page
    assert "sorted over time" not in page
