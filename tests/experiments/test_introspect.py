"""The main job end to end on a tiny net: against stored windows, stopped and resumed, with bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch

from asr_introspect.corpus.alignments import Alignment, write_textgrid
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Segment
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments import pass_plan, profile_pass, run_clusters, run_splits
from asr_introspect.experiments.introspect import introspect
from asr_introspect.introspection import profiles
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.profiles import Key
from asr_introspect.recogniser.alignment import align_text
from asr_introspect.recogniser.checkpoint import Recogniser, load_model
from asr_introspect.recogniser.decoding import greedy
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, forward_pass
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser

CorpusMaker = Callable[..., Path]
TEXTS = {
    f"{1 + n % 3}-1-{n:04}": text for n, text in enumerate(["ONE TWO", "A", "I SEE", "NO", "YES", "DON'T"])
}
FILES = {
    *("run.json", "model.json", "corpus.json", "skipped.csv", "utterances.csv", "instances.csv"),
    *("offsets.csv", "lags.csv", "patterns.h5", "profiles.h5", "relevance.h5", "clusters.csv"),
    *("clusters.h5", "findings.json", "offset_table.csv"),
}


@pytest.fixture
def speech(make_corpus: CorpusMaker, tmp_path: Path) -> Path:
    """Six noisy utterances of different lengths with phones every 100 ms, and a few small slices of them."""
    place = make_corpus(TEXTS)
    random = np.random.default_rng(0)
    for number, path in enumerate(sorted(place.rglob("*.wav"))):
        noise = np.repeat(random.normal(size=40), 800)[: 8000 + 3000 * number]
        soundfile.write(path, (noise * random.normal(size=len(noise)) * 0.1).astype(np.float32), 16_000)
        duration = len(noise) / 16_000
        phones = [
            Segment(random.choice(["AA1", "T", "S"]), t, t + 0.1) for t in np.arange(0, duration - 0.1, 0.1)
        ]
        words = (Segment("WORD", 0.0, 0.1),)
        write_textgrid(
            place / "alignments" / f"{path.stem}.TextGrid", Alignment(words, tuple(phones)), duration
        )
    return place


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two or three utterances, groups of a few instances, and no static heat maps."""
    monkeypatch.setattr("asr_introspect.experiments.report.write_heat_maps", lambda maps, folder: [])
    monkeypatch.setattr(pass_plan, "SLICE_SECONDS", 1.5)
    monkeypatch.setattr(profiles, "MINIMUM", 2)
    monkeypatch.setattr(run_clusters, "ENOUGH", 2)
    monkeypatch.setattr(run_splits, "ENOUGH", 3)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def stored_windows(
    recogniser: Recogniser,
    rows: list[dict[str, str]],
    offsets: list[dict[str, str]] | None,
    corpus: Path,
    layer: str,
) -> Iterator[tuple[str, np.ndarray]]:
    """Every window cut out of the activations of its utterance alone, in float64, missing cells NaN."""
    cone = cones(recogniser.network)[layer]
    alone = []
    for utterance in read_corpus(corpus).utterances:
        (forward,) = forward_pass(recogniser, [utterance], layers=[layer])
        values = forward.activations[layer][0].double().numpy()
        alone.append(values - values.mean(0) if layer == LAYERS[-1] else values)
    for number, row in enumerate(rows):
        values = alone[int(row["utterance"])]
        at = cone.stride * int(row["step"])
        if offsets is not None and cone.shifts:
            at = int(offsets[number][layer])
        window = np.full((len(values), cone.positions), np.nan)
        for j in range(cone.positions):
            if 0 <= at + cone.first + j < values.shape[1]:
                window[:, j] = values[:, at + cone.first + j]
        yield row["label"], window


def test_profiles_are_the_moments_of_stored_windows(speech: Path, tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    found = introspect(speech, recogniser, tmp_path / "run")
    rows = table(tmp_path / "run" / "instances.csv")
    letters = [row for row in rows if row["kind"] == "letter"]
    phonemes = [row for row in rows if row["kind"] == "phoneme"]
    offsets = table(tmp_path / "run" / "offsets.csv")
    assert len(letters) == found.letters == len(offsets) > 50
    assert len(phonemes) == found.phonemes > 50
    for key, some, moved in (
        (Key("letters", "gradient"), letters, offsets),
        (Key("letters", "none"), letters, None),
        (Key("phonemes", "none"), phonemes, None),
    ):
        for layer in (INPUT, "layer1", "layer9", "layer10", "layer12"):
            stored = profiles.read_profiles(
                tmp_path / "run" / "profiles.h5", key, layer, average="none", minimum=1
            )
            windows: dict[str, list[np.ndarray]] = {}
            for label, window in stored_windows(recogniser, some, moved, speech, layer):
                windows.setdefault(label, []).append(window)
            assert list(stored["group"].values) == [
                *(name for name in _ordered(key, recogniser) if len(windows.get(name, ())) >= 2)
            ]
            for name in stored["group"].values:
                cut = np.stack(windows[name])
                known = np.isfinite(cut[:, 0]).sum(0)
                own = stored.sel(group=name)
                assert np.array_equal(own["count"].values, known)
                scale = np.nanmax(np.abs(cut))
                with np.errstate(invalid="ignore"):
                    mean = np.where(known, np.nansum(cut, 0) / np.maximum(known, 1), np.nan)
                    variance = np.where(
                        known, np.nansum(np.square(cut - mean), 0) / np.maximum(known, 1), np.nan
                    )
                # Batches round their float32 convolutions differently from utterances alone.
                np.testing.assert_allclose(own["mean"].values, mean, atol=1e-5 * scale)
                np.testing.assert_allclose(own["variance"].values, variance, atol=2e-5 * scale**2)


def _ordered(key: Key, recogniser: Recogniser) -> list[str]:
    return ["AA", "S", "T"] if key.labels == "phonemes" else list(recogniser.symbols.symbols)


def test_the_run_folder(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    found = introspect(speech, checkpoint, tmp_path / "run", seed=3)
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} >= FILES
    record = json.loads((run / "run.json").read_text())
    assert record["parts"]["introspect"]["complete"] is True
    assert record["parts"]["introspect"]["seed"] == 3
    corpus = json.loads((run / "corpus.json").read_text())
    utterances = table(run / "utterances.csv")
    assert corpus["utterances"] == found.utterances == len(utterances) == 6
    assert corpus["synthetic"] is False
    assert corpus["letter_error"]["edits"] == sum(int(row["letter_edits"]) for row in utterances)
    assert [row["speaker"] for row in corpus["per_speaker"]] == ["1", "2", "3"]
    assert corpus["chosen"] == 5  # none has 4 seconds: the longest
    recogniser = load_model(checkpoint)
    by_name = {utterance.name: utterance for utterance in read_corpus(speech).utterances}
    instances = [row for row in table(run / "instances.csv") if row["kind"] == "letter"]
    for number, row in enumerate(utterances):
        (forward,) = forward_pass(recogniser, [by_name[row["name"]]])
        spelled = "".join(each["label"] for each in instances if int(each["utterance"]) == number)
        assert row["hypothesis"] == spelled == "".join(recogniser.symbols.names(greedy(forward.logits[0])))
    with h5py.File(run / "relevance.h5") as file:
        relevance = file["lrp"]
        own = [row for row in instances if row["utterance"] == "5"]
        assert [each.decode() for each in relevance["symbol"]] == [row["label"] for row in own]
        assert relevance["windows"].shape == (len(own), 128, 206)
        assert np.abs(relevance["windows"][:]).max() == 1
        placed = np.zeros((128, relevance["sentence"].shape[1] + 2 * 206))
        for window, scale, start in zip(
            relevance["windows"], relevance["scale"], relevance["starts"], strict=True
        ):
            placed[:, start + 206 : start + 412] += window.astype(np.float64) * scale
        np.testing.assert_allclose(
            placed[:, 206:-206], relevance["sentence"], atol=0.01 * np.abs(placed).max()
        )
    assert soundfile.info(run / "audio" / "00005.flac").samplerate == 16_000
    model = json.loads((run / "model.json").read_text())
    assert model["parameters"] == sum(p.numel() for p in recogniser.network.parameters())


def test_stopped_and_resumed_gives_the_same_bits(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    every: dict[str, Any] = {**EVERY, "tables": [own_labels(tmp_path)]}
    introspect(speech, checkpoint, tmp_path / "whole", **every)
    plain = profile_pass.run_slice
    done: list[range] = []

    def stopping(plan: pass_plan.Pass, places: range) -> object:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(places)
        return plain(plan, places)

    monkeypatch.setattr(profile_pass, "run_slice", stopping)
    for stop in (1, 2):  # noqa: B007 - read by the closure
        with pytest.raises(KeyboardInterrupt):
            introspect(speech, checkpoint, tmp_path / "stopped", **every)
        assert (
            json.loads((tmp_path / "stopped" / "run.json").read_text())["parts"]["introspect"]["complete"]
            is False
        )
    stop = 99
    introspect(speech, checkpoint, tmp_path / "stopped", **every)
    assert len(done) == len(set(done)) > 2  # nothing was counted twice
    for name in (
        "instances.csv",
        "offsets.csv",
        "utterances.csv",
        "lags.csv",
        "clusters.csv",
        "findings.json",
    ):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for name in ("profiles.h5", "patterns.h5", "work/moments.h5", "clusters.h5", "relevance.h5"):
        ours, theirs = datasets(tmp_path / "stopped" / name), datasets(tmp_path / "whole" / name)
        assert ours.keys() == theirs.keys()
        for each in ours:
            assert ours[each].tobytes() == theirs[each].tobytes() or ours[each].dtype == object, (name, each)


def test_threads_change_no_more_than_rounding(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            introspect(speech, checkpoint, tmp_path / str(count))
    finally:
        torch.set_num_threads(threads)
    ours, theirs = (datasets(tmp_path / str(count) / "work" / "moments.h5") for count in (1, 2))
    for name, values in ours.items():
        if values.dtype != object:
            # M2 is a sum of squares: its root has the unit, and the rounding, of the activations.
            root = np.sqrt if name.rpartition("/")[2] == "m2" else np.asarray
            np.testing.assert_allclose(root(values), root(theirs[name]), rtol=1e-5, atol=1e-5)


def test_bad_items_are_skipped_counted_and_named(speech: Path, tmp_path: Path) -> None:
    (speech / "1" / "1" / "1-1-0000.wav").write_bytes(b"")
    damaged = speech / "2" / "1" / "2-1-0001.wav"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    soundfile.write(
        speech / "3" / "1" / "3-1-0002.wav", np.full(9000, np.nan, np.float32), 16_000, subtype="FLOAT"
    )
    soundfile.write(
        speech / "1" / "1" / "1-1-0003.wav", np.zeros(9000, np.float32), 16_000
    )  # silence is used
    found = introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "run")
    assert found.utterances == 3
    skipped = {row["item"]: row["reason"] for row in table(tmp_path / "run" / "skipped.csv")}
    assert len(skipped) == 3
    assert {name for item in skipped for name in TEXTS if name in item} == {
        "1-1-0000",
        "2-1-0001",
        "3-1-0002",
    }
    rows = table(tmp_path / "run" / "utterances.csv")
    assert [row["utterance"] for row in rows] == ["0", "1", "2"]
    used = {int(row["utterance"]) for row in table(tmp_path / "run" / "instances.csv")}
    assert used <= {0, 1, 2}


def test_nothing_usable_is_an_error(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    corpus = make_corpus({"1-1-0000": "HELLO"})
    soundfile.write(
        corpus / "1" / "1" / "1-1-0000.wav", np.full(9000, np.nan, np.float32), 16_000, subtype="FLOAT"
    )
    with pytest.raises(IntrospectError, match="nothing"):
        introspect(corpus, tiny_checkpoint(tmp_path), tmp_path / "run")


def test_a_folder_of_another_run_is_left_alone(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    introspect(speech, checkpoint, tmp_path / "run", max_utterances=2)
    with pytest.raises(IntrospectError, match="other corpus"):
        introspect(speech, checkpoint, tmp_path / "run")
    with pytest.raises(IntrospectError, match="seed"):
        introspect(speech, checkpoint, tmp_path / "run", max_utterances=2, seed=1)
    assert introspect(speech, checkpoint, tmp_path / "run", overwrite=True).utterances == 6


def test_one_utterance_and_no_alignments(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    found = introspect(make_corpus({"1-1-0000": "HELLO"}), tiny_checkpoint(tmp_path), tmp_path / "run")
    assert (found.utterances, found.phonemes) == (1, 0)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES


def test_a_net_that_says_nothing(speech: Path, tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    recogniser.network.layer12.convolution.bias.data[0] = 1e4
    found = introspect(speech, recogniser, tmp_path / "run")
    assert found.letters == 0
    assert found.phonemes > 0
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    assert not any(finding.difference for finding in found.findings if "letters" in finding.id)


def test_dead_and_constant_units(speech: Path, tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    for block in (recogniser.network.layer3, recogniser.network.layer10):
        block.normalisation.weight.data[:3] = 0
        block.normalisation.bias.data[:3] = torch.tensor([-1.0, 7.0, 0.0])
    introspect(speech, recogniser, tmp_path / "run")
    data = profiles.read_profiles(
        tmp_path / "run" / "profiles.h5", Key("phonemes", "none"), "layer10", average="none", minimum=1
    )
    assert (data["variance"].values[:, :3] == 0).all()
    np.testing.assert_allclose(data["mean"].values[:, 1], 7.0)


def test_alignments_that_are_not_there(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(IntrospectError, match="no such file or folder"):
        introspect(speech, checkpoint, tmp_path / "run", alignments=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntrospectError, match="holds no phone alignments"):
        introspect(speech, checkpoint, tmp_path / "run", alignments=tmp_path / "empty")


def test_damaged_work_says_the_remedy(speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    introspect(speech, checkpoint, tmp_path / "run")
    (tmp_path / "run" / "work" / "moments.h5").write_bytes(b"not HDF5")
    with pytest.raises(IntrospectError, match="remove"):
        introspect(speech, checkpoint, tmp_path / "run")


def test_splits_add_up_to_their_group(speech: Path, tmp_path: Path) -> None:
    checkpoint, run = tiny_checkpoint(tmp_path), tmp_path / "run"
    introspect(speech, checkpoint, run, splits=["right", "speaker"])
    introspect(speech, checkpoint, tmp_path / "plain")
    rows = [row for row in table(run / "instances.csv") if row["kind"] == "letter"]
    utterances = table(run / "utterances.csv")
    with (
        h5py.File(run / "work" / "moments.h5") as file,
        h5py.File(tmp_path / "plain/work/moments.h5") as plain,
    ):
        for key in (Key("letters", "gradient"), Key("phonemes", "none")):
            split, whole = (profiles.read_exact(each, key, "layer9") for each in (file, plain))
            count = dict(zip(split.groups, split.count, strict=True))
            total = dict(zip(split.groups, split.mean * split.count[:, None], strict=True))
            for group, counted in zip(whole.groups, whole.count, strict=True):
                assert np.array_equal(count[group], counted)
                parts = [name for name in split.groups if name.startswith(f"{group}|") and name[-1].isdigit()]
                assert len(parts) == 3
                assert np.array_equal(sum(count[name] for name in parts), counted)
                np.testing.assert_allclose(sum(total[name] for name in parts), total[group], atol=1e-9)
        anchored = cones(load_model(checkpoint).network)["layer12"]
        found = profiles.read_exact(file, Key("letters", "none"), anchored.layer)
        for group, counted in zip(found.groups, found.count[:, 0], strict=True):
            letter, _, value = group.partition("|")
            own = [row for row in rows if row["label"] == letter]
            if value in ("right", "wrong"):
                own = [row for row in own if row["right"] == str(int(value == "right"))]
            elif value:
                own = [row for row in own if utterances[int(row["utterance"])]["speaker"] == value]
            assert counted == len(own), group
    stored = profiles.read_profiles(run / "profiles.h5", Key("letters", "none"), "layer9", minimum=1)
    unsplit = profiles.read_profiles(
        tmp_path / "plain/profiles.h5", Key("letters", "none"), "layer9", minimum=1
    )
    np.testing.assert_allclose(  # the average is that of the whole groups
        stored["mean"].sel(group=unsplit["group"]).values, unsplit["mean"].values, atol=1e-6
    )
    assert (run / "clusters.csv").read_bytes() == (tmp_path / "plain" / "clusters.csv").read_bytes()
    with pytest.raises(UsageError, match="did you mean 'speaker'"):
        introspect(speech, checkpoint, tmp_path / "other", splits=["speakers"])


EVERY: dict[str, Any] = {
    "splits": ["right", "speaker", "sex", "next", "previous", "phone", "stress"],
    "labels": ["letters-aligned", "phonemes-stressed"],
    "weights": ["gradient", "gradient-activation", "relevance"],
}
"""All that can be asked for at once."""


def own_labels(folder: Path) -> Path:
    """A table of labels every 70 ms, one of which happens once, with lines that cannot be used."""
    lines = [f"{name},{0.07 * i:.3f},{'xyz'[i % 3]}" for name in TEXTS for i in range(7)]
    lines += ["1-1-0000,0.2,once", "1-1-0000,99,late", "nobody,0.1,x"]
    path = folder / "my labels.csv"
    path.write_text("utterance,time,label\n" + "\n".join(lines) + "\n")
    return path


def test_aligned_letters_and_a_users_labels(speech: Path, tmp_path: Path) -> None:
    checkpoint, run, path = tiny_checkpoint(tmp_path), tmp_path / "run", own_labels(tmp_path)
    found = introspect(speech, checkpoint, run, tables=[path], **EVERY)
    assert {each.item for each in found.skipped} >= {
        "line 45 of my labels.csv",
        "utterance nobody of my labels.csv",
    }
    recogniser = load_model(checkpoint)
    rows = table(run / "instances.csv")
    by_kind: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    assert list(by_kind) == ["letter", "phoneme", "letters-aligned", "phonemes-stressed", "my labels"]
    assert [int(row["instance"]) for row in rows] == list(range(len(rows)))
    for number, utterance in enumerate(read_corpus(speech).utterances):
        (forward,) = forward_pass(recogniser, [utterance])
        spans = align_text(
            recogniser,
            forward.logits[0],
            utterance.text,
            utterance=utterance.name,
            duration=utterance.duration,
        ).spans
        own = [row for row in by_kind["letters-aligned"] if int(row["utterance"]) == number]
        assert [int(row["step"]) for row in own] == [span.best for span in spans]
        assert "".join(row["label"] for row in own) == utterance.text
        times = {row["start"] for row in by_kind["my labels"] if int(row["utterance"]) == number}
        assert times >= {f"{0.07 * i:.6g}" for i in range(7)}
    for row in by_kind["my labels"]:
        first = recogniser.step_time(0)
        assert abs(recogniser.step_time(int(row["step"])) - max(float(row["start"]), first)) <= 0.0101
    assert [row["label"] for row in by_kind["phonemes-stressed"]].count("AA1") == [
        row["label"] for row in by_kind["phoneme"]
    ].count("AA")
    with h5py.File(run / "work" / "moments.h5") as file:
        counts = {
            name: profiles.read_exact(file, Key(name, "none"), "layer12")
            for name in ("my labels", "letters-aligned", "phonemes-stressed")
        }
    for name, moments in counts.items():
        whole = {group: int(count[0]) for group, count in zip(moments.groups, moments.count, strict=True)}
        for label in {row["label"] for row in by_kind[name]}:
            assert whole[label] == sum(row["label"] == label for row in by_kind[name])
    stored = profiles.read_profiles(run / "profiles.h5", Key("my labels", "none"), "layer9", minimum=1)
    assert "once" not in stored["group"].values
    assert {"x", "y", "z", "x|before y", "y|after x"} <= set(stored["group"].values)
    with h5py.File(run / "profiles.h5") as file:
        assert "once (1)" in list(file["my labels/none/activation/layer9"].attrs["left_out"])
    with h5py.File(run / "clusters.h5") as file:
        assert list(file["my labels/none/activation/layer9"].attrs["groups"]) == ["x", "y", "z"]


def test_parts_of_groups_are_those_of_the_instances(speech: Path, tmp_path: Path) -> None:
    """Counts of the pairs of parts against the instances themselves."""
    found = introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "run", splits=["speaker", "stress"])
    rows = table(tmp_path / "run" / "splits.csv")
    assert {(row["labels"], row["split"]) for row in rows} >= {
        ("letters", "speaker"),
        ("phonemes", "speaker"),
    }
    speakers = [row["speaker"] for row in table(tmp_path / "run" / "utterances.csv")]
    instances = table(tmp_path / "run" / "instances.csv")
    pairs = [row for row in table(tmp_path / "run" / "split_pairs.csv") if row["split"] == "speaker"]
    for labels, kind, fewest in (("letters", "letter", 13), ("phonemes", "phoneme", 39)):
        own = [row for row in pairs if row["labels"] == labels]
        assert len({row["layer"] for row in own}) == 13
        assert len(own) >= fewest
        for pair in own:
            said = [
                speakers[int(row["utterance"])]
                for row in instances
                if row["kind"] == kind and row["label"] == pair["group"]
            ]
            for side in ("first", "second"):
                assert int(pair[f"{side}_count"]) == said.count(pair[side]) >= 3
    assert any(finding.id == "split-letters-speaker" for finding in found.findings)
    introspect(speech, tiny_checkpoint(tmp_path), tmp_path / "none", sketches=False, splits=["right"])
    assert table(tmp_path / "none" / "splits.csv") == []


def test_labels_that_cannot_be_had(make_corpus: CorpusMaker, speech: Path, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'letters-aligned'"):
        introspect(speech, checkpoint, tmp_path / "run", labels=["letters-align"])
    silent = make_corpus({"1-1-0000": "HELLO"}, folder=tmp_path / "no phones")
    for asked in ({"splits": ["phone"]}, {"splits": ["stress"]}, {"labels": ["phonemes-stressed"]}):
        with pytest.raises(IntrospectError, match="without phone alignments"):
            introspect(silent, checkpoint, tmp_path / "run", **asked)
    assert introspect(silent, checkpoint, tmp_path / "run", labels=["letters-aligned"]).utterances == 1
    with pytest.raises(IntrospectError, match="labels"):
        introspect(silent, checkpoint, tmp_path / "run")
