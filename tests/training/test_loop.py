"""The loop on a tiny recogniser: it learns, resumes exactly, and several processes equal one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile as sf
import torch

from asr_introspect.corpus.records import Corpus, Segment, Utterance
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments.train import drawn, train
from asr_introspect.features import FeatureConfig
from asr_introspect.files import locked
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import load_model, read_header
from asr_introspect.recogniser.network import NetworkConfig
from asr_introspect.recogniser.symbols import letters
from asr_introspect.training.augmentation import AugmentationConfig
from asr_introspect.training.cache import cache_features
from asr_introspect.training.ctc import Curriculum, framewise_classes
from asr_introspect.training.loop import ScheduleConfig

FEATURES = FeatureConfig(mels=16)
NETWORK = NetworkConfig(mels=16, narrow=8, wide=8)
SCHEDULE = ScheduleConfig(
    updates=12, warmup=2, evaluate_every=6, precision="float32", first_snapshot=3, learning_rate=3e-3
)
CURRICULUM = Curriculum(batch_seconds=5.0, framewise_updates=0, short_updates=0, augmented_after=2)


def tones(folder: Path, speaker: str, count: int) -> Corpus:
    """Utterances in which A and B are tones of 400 and 1200 Hz."""
    draw = generator(7, "tones", int(speaker))
    utterances = []
    for number in range(count):
        text = "".join(draw.choice(["A", "B"], size=4))
        pieces = [np.zeros(1600)]
        for letter in text:
            seconds = np.arange(4000) / 16_000
            pieces += [0.3 * np.sin(2 * np.pi * (400 if letter == "A" else 1200) * seconds), np.zeros(1600)]
        waveform = np.concatenate(pieces) + 1e-3 * draw.normal(size=sum(map(len, pieces)))
        path = folder / f"{speaker}-{number}.wav"
        sf.write(path, waveform, 16_000)
        utterances.append(Utterance(path.stem, path, text, speaker, "", len(waveform) / 16_000))
    return Corpus(tuple(utterances))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    folder = tmp_path_factory.mktemp("tones")
    return tones(folder, "1", 16), tones(folder, "2", 4)


def run(speech: tuple[Corpus, Corpus], out: Path, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {
        "network": NETWORK,
        "features": FEATURES,
        "schedule": SCHEDULE,
        "curriculum": CURRICULUM,
        "augmentation": AugmentationConfig(frequency_width=3),
        "device": "cpu",
    }
    return train(*speech, out, **(settings | changes))  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "state" / "state.safetensors")


def test_learns_two_tones(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    times = tmp_path / "times.jsonl"
    lines = [
        {"utterance": u.name, "words": [{"word": u.text, "start": 0.1, "end": 1.5}]}
        for u in speech[0].utterances
    ]
    times.write_text("".join(json.dumps(line) + "\n" for line in lines))
    schedule = ScheduleConfig(
        updates=200, warmup=20, evaluate_every=100, precision="float32", average=0.9, learning_rate=5e-3
    )
    figures = run(
        speech,
        tmp_path,
        schedule=schedule,
        curriculum=Curriculum(
            batch_seconds=5.0, framewise_updates=60, short_updates=0, augmented_after=10_000
        ),
        network=NetworkConfig(mels=16, narrow=16, wide=16),
        times=times,
    )
    assert figures["error"] < 0.2
    header = read_header(tmp_path / "best.safetensors")
    assert header["training"]["error"] <= figures["error"] + 1e-9
    assert load_model(tmp_path / "best.safetensors").symbols == letters()


def test_files_of_a_run(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    run(speech, tmp_path)
    assert {path.name for path in (tmp_path / "snapshots").iterdir()} == {
        "000003.safetensors",
        "000006.safetensors",
        "000012.safetensors",
    }
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines if "development_error" in line] == [6, 12]


def test_a_run_from_before_a_setting_was_there_goes_on_as_it_was_started(
    speech: tuple[Corpus, Corpus], tmp_path: Path
) -> None:
    before = dataclasses.replace(SCHEDULE, optimiser="adamw")
    run(speech, tmp_path, schedule=before)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["settings"]["schedule"]["optimiser"], record["settings"]["augmentation"]["coding"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    run(speech, tmp_path, schedule=before)
    with pytest.raises(IntrospectError, match=r"other settings \(schedule\)"):
        run(speech, tmp_path, schedule=dataclasses.replace(SCHEDULE, optimiser="muon"))


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_then_the_same_call_ends_at_the_same_weights(
    speech: tuple[Corpus, Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """With workers too, which change nothing."""
    from asr_introspect.training import loop

    run(speech, tmp_path / "undisturbed")
    step = loop.Trainer.step

    def interrupted(self: loop.Trainer, task: object, batch: object) -> tuple[float, float, float]:
        if self.update == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, task, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(speech, tmp_path / "disturbed", workers=workers)
    monkeypatch.undo()
    run(speech, tmp_path / "disturbed", workers=workers)
    wanted, found = weights(tmp_path / "undisturbed"), weights(tmp_path / "disturbed")
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


def test_a_kill_loses_only_what_came_after_the_last_saved_state(
    speech: tuple[Corpus, Corpus], tmp_path: Path
) -> None:
    run(speech, tmp_path / "undisturbed")
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests/training'); import test_loop as t;"
        "from asr_introspect.training.loop import ScheduleConfig; import dataclasses;"
        "from asr_introspect.corpus.records import Corpus, Utterance;"
        f"folder = Path({str(speech[0].utterances[0].audio.parent)!r});"
        "speech = (t.tones(folder, '1', 16), t.tones(folder, '2', 4));"
        "schedule = dataclasses.replace(t.SCHEDULE, save_minutes=0.0);"
        f"t.run(speech, Path({str(tmp_path / 'killed')!r}), schedule=schedule)"
    )
    killed = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    state = tmp_path / "killed" / "state" / "state.safetensors"
    while not state.exists() and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    run(speech, tmp_path / "killed", schedule=dataclasses.replace(SCHEDULE, save_minutes=0.0))
    for name, tensor in weights(tmp_path / "undisturbed").items():
        assert torch.equal(tensor, weights(tmp_path / "killed")[name]), name


def test_trainings_side_by_side_share_a_full_cache(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    first = cache_features(speech[1], FEATURES, tmp_path)
    (place,) = tmp_path.iterdir()
    with locked(place):
        again = cache_features(speech[1], FEATURES, tmp_path)
        with pytest.raises(IntrospectError, match="in use"):
            cache_features(speech[0], FEATURES, tmp_path)
    assert np.array_equal(first.offsets, again.offsets)


def test_other_settings_are_refused(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    run(speech, tmp_path)
    with pytest.raises(IntrospectError, match=r"other settings \(seed\)"):
        run(speech, tmp_path, seed=1)


def test_speakers_in_both_corpora_are_refused(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    with pytest.raises(IntrospectError, match="held apart"):
        run((speech[0], speech[0]), tmp_path)


def test_two_processes_equal_one(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    still = NetworkConfig(16, 8, 8, "relu", 0.0, 0.0)
    # In float64: Adam divides by the gradient's size, which blows float32's rounding up to a whole step.
    exact = dataclasses.replace(SCHEDULE, precision="float64")
    run(speech, tmp_path / "one", network=still, schedule=exact)
    program = tmp_path / "two.py"
    program.write_text(f"""
import dataclasses
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
import test_loop
from asr_introspect.experiments.train import joined_processes
from asr_introspect.recogniser.network import NetworkConfig
torch.set_num_threads(1)
place = Path({str(tmp_path)!r})
with joined_processes():
    own = place / f"rank{{torch.distributed.get_rank()}}"
    own.mkdir()
    speech = test_loop.tones(own, "1", 16), test_loop.tones(own, "2", 4)
    test_loop.run(speech, place / "two", network=NetworkConfig(16, 8, 8, "relu", 0.0, 0.0),
        schedule=dataclasses.replace(test_loop.SCHEDULE, precision="float64"))
""")
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    done = subprocess.run(two, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    one, both = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in one.items():
        if name.startswith(("network/", "averaged/")) and tensor.is_floating_point():
            torch.testing.assert_close(both[name], tensor, atol=1e-5, rtol=1e-5, msg=name)


def test_cache_goes_on_after_an_interruption_and_names_what_it_skips(
    speech: tuple[Corpus, Corpus], tmp_path: Path
) -> None:
    whole = cache_features(speech[0], FEATURES, tmp_path / "whole")
    part = Corpus(speech[0].utterances[:5])
    cache_features(part, FEATURES, tmp_path / "part")
    index = next((tmp_path / "part").rglob("index.jsonl"))
    index.write_text(index.read_text() + '["/half/a/li')
    frames = next((tmp_path / "part").rglob("frames.f16"))
    frames.write_bytes(frames.read_bytes() + b"\x01" * 77)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"not sound")
    bad = Utterance("bad", broken, "A", "1", "", 1.0)
    resumed = cache_features(Corpus((*speech[0].utterances, bad)), FEATURES, tmp_path / "part")
    np.testing.assert_array_equal(resumed.frames, whole.frames)
    assert [skipped.item for skipped in resumed.skipped] == ["bad"]
    with pytest.raises(IntrospectError, match="nothing in the corpus"):
        cache_features(Corpus((bad,)), FEATURES, tmp_path / "nothing")


def test_dropout_ends_and_augmentation_fades_where_the_curriculum_says() -> None:
    never = Curriculum(augmented_after=2)
    assert [never.drops(update) for update in (1, 2, 10**6)] == [False, True, True]
    assert never.strength(10**6) == 1
    fading = Curriculum(augmented_after=2, relaxed_after=10, plain_after=20)
    assert [fading.drops(update) for update in (1, 2, 9, 10)] == [False, True, True, False]
    assert [fading.strength(update) for update in (0, 9, 10, 15, 20, 30)] == [1, 1, 1, 0.5, 0, 0]


def test_a_relaxed_run_learns_what_it_hears_unmasked(speech: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    """Weights are the same up to the update at which dropout and masks begin to fade, and differ after it."""
    relaxed = dataclasses.replace(CURRICULUM, relaxed_after=7, plain_after=8)
    schedule = dataclasses.replace(SCHEDULE, average=0.0)
    found = {}
    for name, curriculum in (("varied", CURRICULUM), ("relaxed", relaxed)):
        for updates in (7, 12):
            out = tmp_path / f"{name}-{updates}"
            run(
                speech,
                out,
                schedule=dataclasses.replace(schedule, updates=updates, evaluate_every=updates),
                curriculum=curriculum,
            )
            found[name, updates] = weights(out)["network/layer2.convolution.weight"]
    assert torch.equal(found["varied", 7], found["relaxed", 7])
    assert not torch.equal(found["varied", 12], found["relaxed", 12])


def test_letters_are_spread_evenly_within_words() -> None:
    words = (Segment("AB", 0.10, 0.30), Segment("C", 0.50, 0.60))
    table = letters()
    classes = framewise_classes(words, 40, table, 0.01)
    times = (2 * np.arange(40) + 1.5) / 100
    names = np.array(table.names(classes.tolist()))
    assert set(names[(times >= 0.10) & (times < 0.20)]) == {"A"}
    assert set(names[(times >= 0.20) & (times < 0.30)]) == {"B"}
    assert set(names[(times >= 0.50) & (times < 0.60)]) == {"C"}
    assert names[np.argmin(np.abs(times - 0.40))] == " "
    assert set(names[times > 0.6]) == {"<blank>"}
    faster = framewise_classes(words, 40, table, 0.01, tempo=2.0)
    assert table.names(faster.tolist())[np.argmin(np.abs(times - 0.275))] == "C"


def test_shares_of_a_corpus_are_nested_and_of_the_length_asked_for(speech: tuple[Corpus, Corpus]) -> None:
    corpus = speech[0]
    half, most = (set(drawn(corpus, share, 5).utterances) for share in (0.5, 0.9))
    assert half < most < set(corpus.utterances)
    total, longest = (f(u.duration for u in corpus.utterances) for f in (sum, max))
    assert 0 <= sum(u.duration for u in half) - 0.5 * total < longest
    assert drawn(corpus, 1.0, 5) == corpus
    assert set(drawn(corpus, 0.5, 6).utterances) != half
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            drawn(corpus, share, 5)
