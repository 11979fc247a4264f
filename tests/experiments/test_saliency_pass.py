"""Saliency-adjusted profiles in the main job: what is stored, and how it is asked for; stopped, resumed and
merged they are in test_introspect and test_merge."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from asr_introspect.commands import main
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.errors import UsageError
from asr_introspect.experiments.introspect import introspect
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.profiles import Key, keys_of, layers_of, read_exact, read_profiles
from asr_introspect.introspection.saliency import WEIGHTS, SaliencySums
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, forward_pass
from tests.experiments.recognisers import tiny_checkpoint
from tests.experiments.test_introspect import small, speech, table  # noqa: F401 - fixtures


def test_on_the_command_line_and_equal_to_one_batch(speech: Path, tmp_path: Path) -> None:  # noqa: F811
    checkpoint, run = tiny_checkpoint(tmp_path), tmp_path / "run"
    call = ["introspect", "--corpus", str(speech), "--checkpoint", str(checkpoint), "--out", str(run)]
    asked = [word for weight in WEIGHTS for word in ("--weights", weight)]
    assert main([*call, *asked, "--no-sketches", "--quiet"]) == 0

    keys = [Key("letters", "gradient", weight) for weight in WEIGHTS]
    assert set(keys) < set(keys_of(run / "profiles.h5"))
    assert layers_of(run / "profiles.h5", keys[0]) == [INPUT, *LAYERS[:-1]]
    data = read_profiles(run / "profiles.h5", keys[2], "layer9", minimum=1)
    assert data["mean"].dims == ("group", "channel", "position")
    weights = {row["weight"] for row in table(run / "clusters.csv")}
    assert weights <= {"activation", *WEIGHTS}

    # All utterances as one batch, from what the run's own tables say of instances and positions.
    recogniser = load_model(checkpoint)
    rows = [row for row in table(run / "instances.csv") if row["kind"] == "letter"]
    offsets = table(run / "offsets.csv")
    records = table(run / "utterances.csv")
    utterances = {each.name: each for each in read_corpus(speech).utterances}
    layers = (INPUT, *LAYERS)
    (forward,) = forward_pass(
        recogniser, [utterances[row["name"]] for row in records], layers=layers, batch_seconds=1e4
    )
    place = {position: item for item, position in enumerate(forward.positions)}
    item = np.array([place[int(row["utterance"])] for row in rows])
    step = np.array([int(row["step"]) for row in rows])
    label = np.array([recogniser.symbols.symbols.index(row["label"]) for row in rows])
    layout = cones(recogniser.network)
    at = {
        name: np.array([int(row[name]) for row in offsets]) if cone.shifts else cone.stride * step
        for name, cone in layout.items()
    }
    sums = SaliencySums(recogniser, recogniser.symbols.symbols, WEIGHTS, layout)
    sums.add(forward, item, step, label, at)
    with h5py.File(run / "work" / "moments.h5") as file:
        for key in keys:
            for layer in (INPUT, "layer3", "layer11"):
                stored, wanted = read_exact(file, key, layer), sums.moments(key.weight, layer)
                assert wanted is not None
                assert np.array_equal(stored.count, wanted.count)
                scale = np.abs(wanted.mean).max()
                np.testing.assert_allclose(stored.mean, wanted.mean, atol=1e-4 * scale)


def test_unknown_weights(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="relevance"):
        introspect(speech, checkpoint, tmp_path / "run", weights=["relevnce"])
    call = ["introspect", "--corpus", str(speech), "--out", str(tmp_path / "run"), "--weights", "saliency"]
    assert main(call) == 2
    assert "gradient-activation" in capsys.readouterr().err
