"""Time and space of sketches over speech, as ratios to the forward pass and to what they stand for.

``python tests/benchmarks/sketches.py --corpus CORPUS [--alignments DIR] [--minutes 10]``

One process, one thread; the main thread's own processor seconds, so that reading sound does not count and
what else the machine does hardly does. Letters by their gradients (here at offset 0: the same work) and at
offset 0, phonemes, all layers. Rows:

conv1d     the network's forward pass by torch's ``conv1d``
forward    the recogniser's own forward pass
sketches   what sketches add to a pass: folding, looking windows up, scaling to float16
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from asr_introspect.convolution import Convolution1d
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.experiments.pass_labels import Labelling
from asr_introspect.experiments.pass_plan import BATCH_SECONDS, LETTERS_GRADIENT, LETTERS_NONE, Pass
from asr_introspect.experiments.pass_sketches import SliceSketches
from asr_introspect.progress import quietly
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.resources import bundled


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--alignments")
    parser.add_argument("--checkpoint")
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = load_model(given.checkpoint or bundled("reference"))
    utterances, seconds = [], 0.0
    for utterance in read_corpus(given.corpus).utterances:
        if seconds < 60 * given.minutes:
            utterances.append(utterance)
            seconds += utterance.duration
    phones = read_alignments(given.alignments, utterances) if given.alignments else {}
    plan = Pass(recogniser, utterances, phones, gradient=False, sketch_seed=0)
    labelling, sketches = Labelling(plan, range(len(utterances))), SliceSketches(plan)
    warm = SliceSketches(plan)

    def passed(layers: tuple[str, ...]) -> tuple[float, float, float]:
        """Seconds of the forward pass, seconds of sketches, bytes of the activations."""
        forward_seconds = sketch_seconds = held = 0.0
        started = time.thread_time()
        for forward in forward_pass(recogniser, utterances, layers=layers, batch_seconds=BATCH_SECONDS):
            forward_seconds += time.thread_time() - started
            if layers:
                windows = labelling.add(forward)
                moved = [replace(some, key=LETTERS_GRADIENT) for some in windows if some.key == LETTERS_NONE]
                if not warm.kept:  # what is compiled once
                    warm.add(forward, forward.positions, windows)
                started = time.thread_time()
                sketches.add(forward, forward.positions, [*moved, *windows])
                sketch_seconds += time.thread_time() - started
                for values in forward.activations.values():
                    lengths = forward.frames if values.shape[2] > forward.lengths.max() else forward.lengths
                    held += 4 * values.shape[1] * int(lengths.sum())
            started = time.thread_time()
        return forward_seconds, sketch_seconds, held

    with quietly():
        passed(())  # what is planned once
        own, _, _ = passed(())
        _, added, activations = passed(tuple(plan.layout))
        plain = Convolution1d.forward
        Convolution1d.forward = torch.nn.Conv1d.forward  # type: ignore[method-assign]
        by_torch, _, _ = passed(())
        Convolution1d.forward = plain  # type: ignore[method-assign]
    print(f"{seconds / 60:.1f} minutes, one thread")
    print(f"{'part':10}{'processor s':>13}{'to conv1d':>11}{'to forward':>12}")
    for name, value in (("conv1d", by_torch), ("forward", own), ("sketches", added)):
        print(f"{name:10}{value:13.2f}{value / by_torch:11.2f}{value / own:12.2f}")
    windows = sum(
        4 * len(each) * sketches.folds[layer].cells for (_, key, layer), each in sketches.kept.items()
    )
    own_bytes = sum(each.values.nbytes + 6 * len(each) for each in sketches.kept.values())
    count = sum(len(each) for (_, _, layer), each in sketches.kept.items() if layer == "layer1")
    hour = 3600 / seconds / 1e9
    print(f"\n{count:,} windows of {len(plan.layout)} layers; GB for an hour of this speech:")
    for name, size in (
        ("sketches", own_bytes),
        ("activations of all positions", activations),
        ("windows", windows),
    ):
        print(f"{name:30}{size * hour:9.2f}{size / own_bytes:8.1f} times the sketches")


if __name__ == "__main__":
    main()
