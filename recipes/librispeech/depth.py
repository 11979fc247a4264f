"""How far the depth curve of phonemes moves with the phones: silhouettes by layer, two alignments or more.

    python recipes/librispeech/depth.py --corpus CORPUS --alignments ONE OTHER --out FOLDER [--every 4]

One pass over the corpus for each alignment, without gradients; the same halves, rotations and draws. Prints a
Markdown table: cross-validated silhouettes with 95 % intervals in brackets. FOLDER keeps the sketches; a
second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import PHONEMES_NONE, Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.experiments.run_sketches import Sampled, layer_evidence
from asr_introspect.introspection.clusters import METRICS
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.resources import bundled


def main() -> None:
    """Runs the passes and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--alignments", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=None, help="the bundled reference if not given")
    parser.add_argument("--every", type=int, default=1, help="only every n-th utterance")
    parser.add_argument("--metric", choices=METRICS, default="correlation")
    parser.add_argument("--rotations", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recogniser = load_model(given.checkpoint or bundled("reference"))
    utterances = read_corpus(given.corpus).utterances[:: given.every]
    curves: list[dict[tuple[str, str], Sampled]] = []
    layers: list[str] = []
    for number, place in enumerate(given.alignments):
        phones = read_alignments(place, utterances)
        plan = Pass(recogniser, utterances, phones, gradient=False, sketch_seed=given.seed)
        work = given.out / str(number)
        rows = all_rows(plan, [part for _, part in streamed(plan, work)])
        gathered = Gathered(plan, rows, work, given.out, given.seed)
        layers = list(plan.layout)
        found = [
            each
            for layer in layers
            for each in layer_evidence(gathered, PHONEMES_NONE, layer, given.rotations, given.resamples)
            if each.metric == given.metric
        ]
        curves.append({(each.classes, each.layer): each for each in found})
        minutes = sum(utterance.duration for utterance in utterances) / 60
        print(
            f"{place}: {len(rows.phonemes):,} phonemes, {len(utterances)} utterances, {minutes:.1f} minutes"
        )
    for classes in dict.fromkeys(name for name, _ in curves[0]):
        print(f"\n{classes}, {given.metric} distance\n")
        print("| layer | " + " | ".join(str(place) for place in given.alignments) + " | largest move |")
        print("|---|" + "---|" * (len(curves) + 1))
        for layer in layers:
            row = [curve[classes, layer] for curve in curves if (classes, layer) in curve]
            values = [each.silhouette.value for each in row]
            cells = [
                f"{each.silhouette.value:.3f} [{each.silhouette.low:.3f}, {each.silhouette.high:.3f}]"
                for each in row
            ]
            moved = max(values, key=lambda value: abs(value - values[0])) - values[0]
            print(f"| {layer} | " + " | ".join(cells) + f" | {moved:+.3f} |")


if __name__ == "__main__":
    main()
