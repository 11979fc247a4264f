"""Controls: an untrained network with statistics of the speech; a frame classifier on other utterances."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_introspect.errors import UsageError
from asr_introspect.experiments import run_sketches
from asr_introspect.experiments.gathered import Draws
from asr_introspect.experiments.introspect import introspect
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, PHONEMES_NONE
from asr_introspect.experiments.pass_sketches import FRAMES, SKETCHED, read_sketches
from asr_introspect.experiments.run_controls import (
    control_sketches,
    frame_scores,
    untrained,
    untrained_evidence,
)
from asr_introspect.experiments.run_sketches import sketched
from asr_introspect.introspection.distances import labelled
from asr_introspect.introspection.sketches import frame_fold
from asr_introspect.recogniser.passes import INPUT, forward_pass
from tests.experiments.recognisers import tiny_checkpoint
from tests.experiments.test_introspect import small, speech  # noqa: F401 - fixtures
from tests.experiments.test_sketches import Passed, other_vowels, passed  # noqa: F401 - fixtures


def test_an_untrained_network_has_the_statistics_of_the_speech(passed: Passed) -> None:  # noqa: F811
    """Before scale and shift each unit of every layer has mean 0 and deviation 1 over the speech."""
    run = passed(batch_seconds=1e9)
    plan = run.plan
    control = untrained(plan.recogniser, plan.utterances, seed=1)
    again, other = (untrained(plan.recogniser, plan.utterances, seed=seed) for seed in (1, 2))
    ours = control.network.state_dict()
    assert all(torch.equal(ours[name], again.network.state_dict()[name]) for name in ours)
    weight = "layer1.convolution.weight"
    assert not torch.equal(ours[weight], other.network.state_dict()[weight])
    assert not torch.equal(ours[weight], plan.recogniser.network.state_dict()[weight])
    assert not any(module.training for module in control.network.modules())
    seen: list[torch.Tensor] = []
    hook = control.network.layer5.normalisation.register_forward_hook(
        lambda _, __, output: seen.append(output)
    )
    for forward in forward_pass(control, plan.utterances, batch_seconds=1e9):
        lengths = forward.lengths
    hook.remove()
    values = torch.cat([seen[0][i, :, :length] for i, length in enumerate(lengths)], 1)
    norm = control.network.layer5.normalisation
    plain = (values - norm.bias[:, None]) / norm.weight[:, None]
    # Exact where the speech is one batch, up to the unbiased variance and the batch's padding.
    torch.testing.assert_close(plain.mean(1), torch.zeros(len(plain)), atol=0.02, rtol=0)
    torch.testing.assert_close(plain.std(1), torch.ones(len(plain)), atol=0.05, rtol=0)


def test_a_control_that_is_the_recogniser_itself_gives_its_sketches(passed: Passed) -> None:  # noqa: F811
    """The windows stand where the run's own did, gradient offsets included."""
    run = passed()
    same = control_sketches(run, run.plan.recogniser, run.folder / "same")
    for key in SKETCHED:
        for layer in (INPUT, "layer4", "layer11"):
            ours, theirs = read_sketches(same.work, key, layer), read_sketches(run.work, key, layer)
            assert ours is not None
            assert theirs is not None
            assert np.array_equal(ours.label, theirs.label)
            assert np.array_equal(ours.place, theirs.place)
            # Other batches round their float32 convolutions differently.
            np.testing.assert_allclose(ours.values, theirs.values, atol=2e-3 * np.abs(theirs.values).max())


def test_frames_are_means_of_bands_and_pairs_of_frames() -> None:
    activations = np.random.default_rng(0).normal(size=(128, 60)).astype(np.float32)
    found, _ = frame_fold(128).at_all_positions(activations)
    assert found.shape == (60, 256)
    wanted = activations[:, 22:38].reshape(32, 4, 8, 2).mean((1, 3))
    np.testing.assert_allclose(found[30], wanted.reshape(-1), atol=1e-5)
    few, _ = frame_fold(8).at_all_positions(activations[:8])
    np.testing.assert_allclose(
        few[30], activations[:8, 22:38].reshape(8, 8, 2).mean(2).reshape(-1), atol=1e-5
    )


def test_the_frame_classifier_names_what_can_be_told_on_utterances_that_it_has_not_seen() -> None:
    random = np.random.default_rng(0)
    utterance, group = np.repeat(np.arange(20), 30), random.integers(0, 4, 600)
    means = 2 * random.normal(size=(4, 16))
    for effect, low, high in ((1.0, 0.9, 1.0), (0.0, 0.15, 0.35)):
        frames = (effect * means[group] + random.normal(size=(600, 16))).astype(np.float32)
        found = labelled([([*"abcd"], frames, frames.mean(1), group, utterance)], ["s"] * 20, np.ones(16))
        scores = frame_scores(found, 0)
        assert scores.shape == (600, 4)
        np.testing.assert_allclose(scores.mean(1), 0, atol=1e-9)
        assert low <= (scores.argmax(1) == group).mean() <= high
    # One utterance's own labels do not enter its scores.
    changed = replace(found, group=np.where(utterance == 3, (group + 1) % 4, group))
    assert np.array_equal(frame_scores(changed, 0)[utterance == 3], scores[utterance == 3])


@pytest.mark.speech
@pytest.mark.usefixtures("other_vowels")
def test_controls_of_a_run(
    speech: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_sketches, "ENOUGH", 2)
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'untrained'"):
        introspect(speech, checkpoint, tmp_path / "run", control="untrain")
    with pytest.raises(UsageError, match="by sketches"):
        introspect(speech, checkpoint, tmp_path / "run", control="untrained", sketches=False)
    draws = Draws(rotations=3, resamples=3, letters=50)
    found = introspect(speech, checkpoint, tmp_path / "run", control="untrained", draws=draws)
    with (tmp_path / "run" / "controls.csv").open() as file:
        rows = list(csv.DictReader(file))
    frames = [row for row in rows if row["control"] == "frame-classifier"]
    assert {row["layer"] for row in frames} == {FRAMES}
    assert {row["layer"] for row in rows if row["control"] == "untrained"} >= {INPUT, "layer5", "layer12"}
    # The input is the same in both networks.
    with (tmp_path / "run" / "clusters.csv").open() as file:
        own = {
            (row["labels"], row["offset"], row["layer"], row["metric"], row["classes"]): row["silhouette"]
            for row in csv.DictReader(file)
            if row["weight"] == "activation"
        }
    for row in rows:
        if row["control"] == "untrained" and row["layer"] == INPUT and row["silhouette"]:
            key = (row["labels"], row["offset"], INPUT, row["metric"], row["classes"])
            assert float(row["silhouette"]) == pytest.approx(float(own[key]), abs=1e-3)
    assert found.report is not None
    page = found.report.read_text(encoding="utf-8")
    assert "a classical frame classifier" in page
    assert 'class="control"' in page


def test_untrained_evidence_is_reproducible(passed: Passed) -> None:  # noqa: F811
    run = passed()
    one = untrained_evidence(run)
    assert one
    assert sketched(run, LETTERS_GRADIENT, "layer2") is not None
    again = untrained_evidence(run)
    pairs = [(a, b) for a, b in zip(one, again, strict=True) if a.key == PHONEMES_NONE]
    assert pairs
    assert all(np.array_equal(a.distance, b.distance) for a, b in pairs)
