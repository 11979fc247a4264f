"""Letter error of several checkpoints on the same utterances, and by how much they differ from the first.

    python recipes/librispeech/compare.py --corpus development.jsonl runs/{base,wide,seed1}/best.safetensors

Differences are paired by utterance, with 95 % bootstrap intervals over utterances within speakers: they say
what chance in the choice of utterances does, not what another seed of the training would do. Put a second
seed of the first among the others to see that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_introspect import read_corpus
from asr_introspect.experiments.evaluate import Evaluation, evaluate, rates
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.scoring import ErrorRate


def told(rate: ErrorRate) -> str:
    """In percent, with its interval."""
    return f"{100 * rate.rate:.2f} ({100 * rate.low:.2f} to {100 * rate.high:.2f})"


def main() -> None:
    """Prints a line for each checkpoint: letter error %, and points above the first checkpoint's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help="the others are held against the first")
    parser.add_argument("--corpus", type=Path, required=True)
    given = parser.parse_args()
    corpus = read_corpus(given.corpus)
    first: Evaluation | None = None
    for checkpoint in given.checkpoints:
        found = evaluate(corpus, load_model(checkpoint))
        more = "" if first is None else told(rates(found.utterances, first.utterances)[0])
        print(f"{told(found.letter_error)}  {more}  {checkpoint}", flush=True)
        first = first or found


if __name__ == "__main__":
    main()
