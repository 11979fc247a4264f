"""Time and memory of the profile pass over speech, as ratios to the forward pass alone.

``python tests/benchmarks/profile_pass.py --corpus CORPUS [--alignments DIR] [--minutes 10 60] [--threads 1]
[--preset wav2letter] [--parts ...]``

From cached features, one instance per emission, letters and phonemes, mean and M2 of all layers. Each
measurement is a process of its own. Processor seconds are compared, not wall seconds: they hardly depend on
what else the machine does. Memory is the largest resident size above that with model and cache open. Parts:

conv1d     the network's forward pass by torch's ``conv1d``
forward    the recogniser's own forward pass
moments    the pass at offset 0 (letters and phonemes), without gradients
sketches   the same, and a sketch of each instance
splits     the moments once more for right and wrong letters, women and men, and each speaker
pass       letters by their gradients at every layer, and at offset 0, phonemes
all        the same with sketches: what ``introspect`` does
gradients  as ``pass``, with saliency-adjusted profiles by gradient and gradient times activation
weights    the same and LRP relevance

The reference net is of the small preset. ``--preset wav2letter`` measures the full one with the reference's
weights, layers 10 and 11 made four times as wide by copies of their channels: it computes the same function,
so that letters, offsets and their number are those of speech.

``--exact`` prints the largest deviations of the streamed moments of the corpus's first minutes from those of
stored windows in two passes, in one process and merged from 2 and 7 shards, and between shards and whole.

``--storage RUN`` prints the bytes of a run's profiles and sketches beside those of its activations.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from asr_introspect.convolution import Convolution1d
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.pass_sums import layer_rows, merged_moments
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.features import normalise
from asr_introspect.files import read_json
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.moments import Moments, merge
from asr_introspect.introspection.profiles import Key
from asr_introspect.introspection.saliency import WEIGHTS
from asr_introspect.progress import quietly
from asr_introspect.recogniser.checkpoint import Recogniser, load_model
from asr_introspect.recogniser.network import PRESETS, Wav2Letter
from asr_introspect.recogniser.passes import INPUT, forward_pass
from asr_introspect.resources import bundled
from asr_introspect.training.cache import cache_features

PASSES: dict[str, dict[str, Any]] = {
    "moments": {"gradient": False},
    "sketches": {"gradient": False, "sketch_seed": 0},
    "splits": {"gradient": False, "splits": ("right", "sex", "speaker")},
    "pass": {},
    "all": {"sketch_seed": 0},
    "gradients": {"weights": WEIGHTS[:2]},
    "weights": {"weights": WEIGHTS},
}
PARTS = ("conv1d", "forward", *PASSES)
DEFAULT = ("conv1d", "forward", "moments", "sketches", "pass", "all")


def resident() -> float:
    """Megabytes resident now."""
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


def widened(recogniser: Recogniser) -> Recogniser:
    """The same function by the full preset: each channel of layers 10 and 11 as several equal ones."""
    small = recogniser.network
    config = replace(PRESETS["wav2letter"], mels=small.config.mels, narrow=small.config.narrow)
    copies = config.wide // small.config.wide
    weights = {}
    for name, values in small.state_dict().items():
        layer = name.partition(".")[0]
        if layer in ("layer10", "layer11") and values.dim():
            values = values.repeat_interleave(copies, 0)
        if layer in ("layer11", "layer12") and name.endswith("convolution.weight"):
            values = values.repeat_interleave(copies, 1) / copies
        weights[name] = values
    network = Wav2Letter(config, len(recogniser.symbols.symbols))
    network.load_state_dict(weights)
    return replace(recogniser, network=network.eval())


def measured(part: str, given: argparse.Namespace, minutes: float, cache: Path, work: Path) -> dict[str, Any]:
    """One part over so many minutes of the corpus, in this process."""
    torch.set_num_threads(given.threads)
    recogniser = load_model(given.checkpoint or bundled("reference"))
    if given.preset == "wav2letter":
        recogniser = widened(recogniser)
    speech = read_corpus(given.corpus)
    features = cache_features(speech, recogniser.features, cache)
    kept, seconds = 0, 0.0
    while kept < len(features.utterances) and seconds < 60 * minutes:
        seconds += features.utterances[kept].duration
        kept += 1
    utterances = features.utterances[:kept]
    phones = read_alignments(given.alignments, utterances) if given.alignments and part in PASSES else {}
    how = recogniser.features.normalise

    def spectrogram(place: int) -> torch.Tensor:
        return normalise(torch.from_numpy(features.spectrogram(place).T.copy()), how)

    if part == "conv1d":
        Convolution1d.forward = torch.nn.Conv1d.forward  # type: ignore[method-assign]
    plan = Pass(recogniser, utterances, phones, spectrogram, **PASSES.get(part, {}))
    # What is compiled, loaded or planned once does not count.
    for _ in forward_pass(recogniser, utterances[:2], spectrograms=spectrogram):
        pass
    if part in PASSES:
        for _ in streamed(replace(plan, utterances=utterances[:2]), work / "before"):
            pass
    before, started, wall = resident(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    instances = 0
    if part in PASSES:
        for _, rows in streamed(plan, work / "measured"):
            instances += len(rows.letters) + len(rows.phonemes)
    else:
        for _ in forward_pass(recogniser, utterances, spectrograms=spectrogram):
            pass
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "part": part,
        "minutes": seconds / 60,
        "instances": instances,
        "processor": ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime,
        "wall": time.perf_counter() - wall,
        "peak": ended.ru_maxrss / 1024 - before,
    }


def exactness(given: argparse.Namespace, minutes: float, work: Path) -> None:
    """Prints how far streamed and merged moments are from those of stored windows, at every layer.

    Deviations are relative to the largest value of the same group and layer; groups of one have no M2.
    """
    torch.set_num_threads(given.threads)
    recogniser = load_model(given.checkpoint or bundled("reference"))
    durations = np.cumsum([each.duration for each in read_corpus(given.corpus).utterances])
    utterances = read_corpus(given.corpus).utterances[: int((durations < 60 * minutes).sum()) + 1]
    phones = read_alignments(given.alignments, utterances)
    plan = Pass(recogniser, utterances, phones, slice_seconds=10.0, gradient=False)
    merged: dict[int, dict[tuple[Key, str], Moments]] = {}
    for of in (1, 2, 7):
        parts = []
        for number in range(1, of + 1):
            place = work / f"{number} of {of}"
            parts.append((replace(plan, shard=(number, of)), place))
            for _ in streamed(*parts[-1]):
                pass
        found = [{(key, layer): each for key, layer, each in merged_moments(*part)} for part in parts]
        merged[of] = {at: functools.reduce(merge, [part[at] for part in found]) for at in found[0]}
    rows = all_rows(plan, [part for _, part in streamed(plan, work / "1 of 1")])
    layers = tuple(plan.layout)
    worst = {of: [0.0, 0.0] for of in merged}
    apart = {of: [0.0, 0.0] for of in merged}
    values = {}
    for forward in forward_pass(recogniser, utterances, layers=layers, batch_seconds=plan.batch_seconds):
        for item, place in enumerate(forward.positions):
            for layer in layers:
                length = int((forward.frames if layer == INPUT else forward.lengths)[item])
                values[place, layer] = layer_rows(forward, layer)[item, :length]
    for (key, layer), whole in merged[1].items():
        cone, instances = plan.layout[layer], rows.instances[key.labels]
        for group in np.unique(instances.label):
            own = np.flatnonzero(instances.label == group)
            windows = np.full((len(own), cone.positions, whole.mean.shape[1]), np.nan)
            for n, instance in enumerate(own):
                signal = values[int(instances.utterance[instance]), layer]
                index = cone.stride * instances.step[instance] + cone.first + np.arange(cone.positions)
                inside = (index >= 0) & (index < len(signal))
                windows[n, inside] = signal[index[inside]]
            count = np.maximum(np.isfinite(windows[:, :, 0]).sum(0), 1)[:, None]
            mean = np.nansum(windows, 0) / count
            m2 = np.nansum(np.square(windows - mean), 0)
            for of, each in merged.items():
                for which, wanted in enumerate((mean.T, m2.T) if len(own) > 1 else (mean.T,)):
                    ours = (each[key, layer].mean, each[key, layer].m2)[which][group]
                    scale = np.abs(wanted).max() + 1e-300
                    worst[of][which] = max(worst[of][which], float(np.abs(ours - wanted).max() / scale))
                    one = (whole.mean, whole.m2)[which][group]
                    apart[of][which] = max(apart[of][which], float(np.abs(ours - one).max() / scale))
    print(
        f"{durations[len(utterances) - 1] / 60:.1f} minutes, {len(rows.letters):,} letters, "
        f"{len(rows.phonemes):,} phonemes, {len(plan.slices)} slices, 13 layers"
    )
    print(f"{'shards':>8}{'mean':>10}{'M2':>10}{'mean to 1 shard':>18}{'M2 to 1 shard':>16}")
    for of, (mean_off, m2_off) in worst.items():
        print(f"{of:8}{mean_off:10.1e}{m2_off:10.1e}{apart[of][0]:18.1e}{apart[of][1]:16.1e}")


def storage(run: Path) -> None:
    """Prints what a run stores per layer's activations, and what storing the activations would take."""
    recogniser = load_model(bundled("reference"))
    steps = frames = 0
    for record in (run / "work" / "slices").glob("*.json"):
        for utterance in read_json(record)["utterances"]:
            steps, frames = steps + utterance["steps"], frames + utterance["frames"]
    layout = cones(recogniser.network)
    channels = {name: block.convolution.out_channels for name, block in recogniser.network.blocks()}
    whole = 4 * (frames * recogniser.features.mels + steps * sum(channels.values()))
    windows = 0
    with h5py.File(run / "profiles.h5") as file:
        for labels in file:
            for offset in file[labels]:
                for layer, cone in layout.items():
                    group = file[labels][offset]["activation"][layer]
                    count = int(group["count"][:].max(1).sum())
                    windows += 4 * count * cone.positions * group["mean"].shape[1]
    sizes = {
        "profiles.h5": (run / "profiles.h5").stat().st_size,
        "work/moments.h5": (run / "work" / "moments.h5").stat().st_size,
        "work/sketches": sum(path.stat().st_size for path in (run / "work" / "sketches").rglob("*.h5")),
        "activations, float32": whole,
        "windows of all instances, float32": windows,
    }
    for name, size in sizes.items():
        times = f"{whole / size:10.2f}" if size else ""
        print(f"{name:36}{size / 2**20:12,.1f} MiB{times}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus")
    parser.add_argument("--alignments")
    parser.add_argument("--checkpoint")
    parser.add_argument("--preset", choices=("wav2letter", "wav2letter-small"), default="wav2letter-small")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(DEFAULT))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--storage", type=Path)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("PART", "MINUTES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.storage:
        storage(given.storage)
        return
    if not given.corpus:
        parser.error("--corpus is missing")
    with tempfile.TemporaryDirectory() as folder, quietly():
        cache = given.cache or Path(folder) / "cache"
        if given.exact:
            exactness(given, given.minutes[0], Path(folder))
            return
        if given.one:
            part, minutes = given.one[0], float(given.one[1])
            print(json.dumps(measured(part, given, minutes, cache, Path(folder) / "work")))
            return
        recogniser = load_model(given.checkpoint or bundled("reference"))
        speech = read_corpus(given.corpus)
        cache_features(Corpus(speech.utterances), recogniser.features, cache)
        print(
            f"{'part':10}{'minutes':>9}{'instances':>11}{'processor s':>13}{'forward passes':>16}"
            f"{'wall s':>9}{'peak MiB':>10}",
            flush=True,
        )
        for minutes in given.minutes:
            unit = None
            for part in given.parts:
                call = [sys.executable, __file__, *sys.argv[1:], "--cache", str(cache)]
                call += ["--one", part, str(minutes)]
                done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout)
                unit = unit or found["processor"]
                print(
                    f"{part:10}{found['minutes']:9.1f}{found['instances']:11,}{found['processor']:13.1f}"
                    f"{found['processor'] / unit:16.2f}{found['wall']:9.1f}{found['peak']:10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
