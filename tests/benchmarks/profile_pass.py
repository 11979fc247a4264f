"""Time and memory of the profile pass over speech, as ratios to the forward pass alone.

``python tests/benchmarks/profile_pass.py --corpus CORPUS [--alignments DIR] [--minutes 10 60] [--threads 1]``

From cached features, one instance per emission, letters and phonemes, mean and M2 of all layers. Each
measurement is a process of its own. Processor seconds are compared, not wall seconds: they hardly depend on
what else the machine does. Memory is the largest resident size above that with model and cache open. Parts:

conv1d     the network's forward pass by torch's ``conv1d``
forward    the recogniser's own forward pass
moments    the pass at offset 0 (letters and phonemes), without gradients
pass       the whole pass: letters by their gradients at every layer, and at offset 0, phonemes
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from asr_introspect.convolution import Convolution1d
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.features import normalise
from asr_introspect.progress import quietly
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.resources import bundled
from asr_introspect.training.cache import cache_features

PARTS = ("conv1d", "forward", "moments", "pass")


def resident() -> float:
    """Megabytes resident now."""
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


def measured(part: str, given: argparse.Namespace, minutes: float, cache: Path, work: Path) -> dict[str, Any]:
    """One part over so many minutes of the corpus, in this process."""
    torch.set_num_threads(given.threads)
    recogniser = load_model(given.checkpoint or bundled("reference"))
    speech = read_corpus(given.corpus)
    features = cache_features(speech, recogniser.features, cache)
    kept, seconds = 0, 0.0
    while kept < len(features.utterances) and seconds < 60 * minutes:
        seconds += features.utterances[kept].duration
        kept += 1
    utterances = features.utterances[:kept]
    phones = read_alignments(given.alignments, utterances) if given.alignments and part in PARTS[2:] else {}
    how = recogniser.features.normalise

    def spectrogram(place: int) -> torch.Tensor:
        return normalise(torch.from_numpy(features.spectrogram(place).T.copy()), how)

    if part == "conv1d":
        Convolution1d.forward = torch.nn.Conv1d.forward  # type: ignore[method-assign]
    plan = Pass(recogniser, utterances, phones, spectrogram, gradient=part == "pass")
    for _ in forward_pass(recogniser, utterances[:2], spectrograms=spectrogram):
        pass  # what is compiled or planned once
    before, started, wall = resident(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if part in ("conv1d", "forward"):
        for _ in forward_pass(recogniser, utterances, spectrograms=spectrogram):
            pass
    else:
        for _ in streamed(plan, work):
            pass
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "part": part,
        "minutes": seconds / 60,
        "processor": ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime,
        "wall": time.perf_counter() - wall,
        "peak": ended.ru_maxrss / 1024 - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--alignments")
    parser.add_argument("--checkpoint")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("PART", "MINUTES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, quietly():
        cache = given.cache or Path(folder) / "cache"
        if given.one:
            part, minutes = given.one[0], float(given.one[1])
            print(json.dumps(measured(part, given, minutes, cache, Path(folder) / "work")))
            return
        recogniser = load_model(given.checkpoint or bundled("reference"))
        speech = read_corpus(given.corpus)
        cache_features(Corpus(speech.utterances), recogniser.features, cache)
        print(
            f"{'part':10}{'minutes':>9}{'processor s':>13}{'forward passes':>16}{'wall s':>9}{'peak MB':>9}"
        )
        for minutes in given.minutes:
            unit = None
            for part in given.parts:
                call = [sys.executable, __file__, *sys.argv[1:], "--cache", str(cache)]
                call += ["--one", part, str(minutes)]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                unit = unit or found["processor"]
                print(
                    f"{part:10}{found['minutes']:9.1f}{found['processor']:13.1f}"
                    f"{found['processor'] / unit:16.2f}{found['wall']:9.1f}{found['peak']:9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
