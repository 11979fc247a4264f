"""The main job on real speech with the bundled net: streamed moments against stored windows, offsets by
autograd.
"""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.experiments.introspect import introspect
from asr_introspect.experiments.pass_plan import BATCH_SECONDS
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.profiles import Key, read_exact
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, forward_pass
from asr_introspect.resources import bundled

pytestmark = pytest.mark.speech
COUNT = 4


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job on the first utterances of the sample, without heat maps and with a small offset table."""
    out = tmp_path_factory.mktemp("speech") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr_introspect.experiments.report.write_heat_maps", lambda maps, folder: [])
        patch.setattr("asr_introspect.experiments.run_offsets.MOST_LETTERS", 1)
        introspect(
            sample / "LibriSpeech",
            bundled("reference"),
            out,
            alignments=sample / "alignments",
            max_utterances=COUNT,
        )
    return out


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_streamed_is_stored(run: Path, sample: Path) -> None:
    """Two passes over stored windows of the same batches, in float64: 1e-10 of the largest value."""
    recogniser = load_model(bundled("reference"))
    layout = cones(recogniser.network)
    rows = table(run / "instances.csv")
    offsets = table(run / "offsets.csv")
    utterances = read_corpus(sample / "LibriSpeech", COUNT).utterances
    layers = (INPUT, "layer1", "layer9", "layer10", LAYERS[-1])
    activations: dict[tuple[int, str], np.ndarray] = {}
    for forward in forward_pass(recogniser, utterances, layers=layers, batch_seconds=BATCH_SECONDS):
        for item, place in enumerate(forward.positions):
            for layer in layers:
                length = int((forward.frames if layer == INPUT else forward.lengths)[item])
                values = forward.activations[layer][item, :, :length]
                if layer == LAYERS[-1]:
                    values = values - values.mean(0, keepdim=True)
                activations[place, layer] = values.double().numpy()
    worst = 0.0
    with h5py.File(run / "work" / "moments.h5") as file:
        for key, kind in ((Key("letters", "gradient"), "letter"), (Key("phonemes", "none"), "phoneme")):
            some = [(n, row) for n, row in enumerate(rows) if row["kind"] == kind]
            for layer in layers:
                cone, found = layout[layer], read_exact(file, key, layer)
                for group, name in enumerate(found.groups):
                    windows = []
                    for number, row in some:
                        if row["label"] != name:
                            continue
                        at = cone.stride * int(row["step"])
                        if kind == "letter" and cone.shifts:
                            at = int(offsets[number][layer])
                        values = activations[int(row["utterance"]), layer]
                        index = at + cone.first + np.arange(cone.positions)
                        inside = (index >= 0) & (index < values.shape[1])
                        windows.append(
                            np.where(inside, values[:, index.clip(0, values.shape[1] - 1)], np.nan)
                        )
                    if not windows:
                        assert not found.count[group].any()
                        continue
                    cut = np.stack(windows)
                    known = np.isfinite(cut[:, 0]).sum(0)
                    assert np.array_equal(found.count[group], known)
                    mean = np.nansum(cut, 0) / np.maximum(known, 1)
                    m2 = np.nansum(np.square(cut - mean), 0)
                    scale = np.nanmax(np.abs(cut))
                    worst = max(worst, np.abs(found.mean[group] - mean).max() / scale)
                    worst = max(worst, np.abs(found.m2[group] - m2).max() / (scale**2 * len(cut)))
    assert worst < 1e-10, worst


def test_offsets_on_real_speech_are_those_of_autograd(run: Path, sample: Path) -> None:
    recogniser = load_model(bundled("reference"))
    utterance = read_corpus(sample / "LibriSpeech", 1).utterances[0]
    (forward,) = forward_pass(recogniser, [utterance], layers=[INPUT])
    letters = [
        row for row in table(run / "instances.csv") if row["kind"] == "letter" and row["utterance"] == "0"
    ]
    offsets = table(run / "offsets.csv")
    classes = {name: i for i, name in enumerate(recogniser.symbols.symbols)}
    agree = []
    for number in range(0, len(letters), 7):
        row = letters[number]
        values = {INPUT: forward.activations[INPUT].clone().requires_grad_()}
        for name, block in recogniser.network.blocks():
            values[name] = block(values[list(values)[-1]])
        logits = values[LAYERS[-1]][0, :, int(row["step"])]
        own = classes[row["label"]]
        contrast = logits[own] - (logits.sum() - logits[own]) / (len(logits) - 1)
        gradients = torch.autograd.grad(contrast, list(values.values()))
        for name, gradient in zip(values, gradients, strict=True):
            if name not in offsets[0]:
                continue
            curve = gradient[0].abs().mean(0)
            at = int(offsets[number][name])
            agree.append(bool(curve[at] >= curve.max() * (1 - 1e-4)))  # ties within float32 noise
    assert len(agree) > 50
    assert all(agree)


def test_letters_are_found_inside_what_their_step_sees(run: Path) -> None:
    rows, offsets = table(run / "instances.csv"), table(run / "offsets.csv")
    for row, found in zip(rows, offsets, strict=False):
        assert -101 <= int(found["input"]) - 2 * int(row["step"]) <= 104
        assert -15 <= int(found["layer9"]) - int(row["step"]) <= 16
    assert {row["sound"] for row in table(run / "lags.csv")} == {"phone"}
