"""What the weight snapshots of a training run were like, as numbers that stay when the weights are gone.

For each snapshot: letter error on a corpus with phone alignments, and the profiles of letters and phonemes at
every layer, averaged over positions. Run it again after more training: snapshots that are in the file stay.

    python recipes/librispeech/snapshots.py runs/reference ../shared/data/sample/LibriSpeech \\
        --alignments ../shared/data/sample/alignments --out recipes/librispeech/snapshots.h5

The file holds /UPDATE with the attribute letter_error, and /UPDATE/LABELS/OFFSET/LAYER, float16
(groups, channels), with the attributes groups and count (instances per group).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np

from asr_introspect import evaluate, load_model, read_corpus
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_sums import merged_moments
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.introspection.moments import Moments


def time_independent(moments: Moments) -> np.ndarray:
    """The mean over instances and positions, ``(groups, channels)``; NaN for a group without instances."""
    count = moments.count[:, None].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray((moments.mean * count).sum(-1) / count.sum(-1))


def add_snapshot(file: h5py.File, snapshot: Path, corpus: Path, alignments: Path) -> float:
    """Adds one snapshot's numbers to the file; returns its letter error."""
    recogniser, speech = load_model(snapshot), read_corpus(corpus)
    error = evaluate(speech, recogniser).letter_error.rate
    plan = Pass(recogniser, speech.utterances, read_alignments(alignments, speech.utterances, []))
    group = file.create_group(snapshot.stem)
    with tempfile.TemporaryDirectory() as work:
        for _ in streamed(plan, Path(work)):
            pass
        for key, layer, moments in merged_moments(plan, Path(work)):
            profile = time_independent(moments).astype(np.float16)
            data = group.create_dataset(
                f"{key.labels}/{key.offset}/{layer}", data=profile, compression="gzip"
            )
            data.attrs["groups"] = list(moments.groups)
            data.attrs["count"] = moments.count.max(axis=1)
    group.attrs["letter_error"] = error
    return error


def main() -> None:
    """Goes through the snapshots of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--alignments", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with h5py.File(arguments.out, "a") as file:
        for snapshot in sorted((arguments.run / "snapshots").glob("*.safetensors")):
            if snapshot.stem in file and "letter_error" in file[snapshot.stem].attrs:
                continue
            if snapshot.stem in file:
                del file[snapshot.stem]
            error = add_snapshot(file, snapshot, arguments.corpus, arguments.alignments)
            print(f"{snapshot.stem}\t{error:.4f}", flush=True)


if __name__ == "__main__":
    main()
