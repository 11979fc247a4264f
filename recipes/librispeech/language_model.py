"""A letter n-gram language model from a corpus's transcripts, for ``--decoder beam``.

    python recipes/librispeech/language_model.py --corpus LibriSpeech/train-clean-100 --out letters.arpa

Interpolated modified Kneser-Ney, written as an ARPA file. ``--held-out`` says how well it foretells other
transcripts. The file is made of the transcripts: whoever may not pass these on keeps it, too.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from asr_introspect import read_corpus
from asr_introspect.recogniser.ngrams import NgramModel, estimate
from asr_introspect.recogniser.symbols import letters


def bits(model: NgramModel, texts: list[str]) -> float:
    """Bits a letter (spaces count, and each utterance's end) that the model needs for some texts."""
    total = sum(model.log_probability(text) for text in texts)
    return -total / math.log(2) / sum(len(text) + 1 for text in texts)


def texts_of(path: Path) -> list[str]:
    """The transcripts of a corpus."""
    return [utterance.text for utterance in read_corpus(path).utterances]


def main() -> None:
    """Estimates, writes, and says how good the model is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="a folder, table or manifest")
    parser.add_argument("--out", type=Path, required=True, help="the ARPA file to write")
    parser.add_argument("--order", type=int, default=7, help="length of the longest n-gram (7)")
    parser.add_argument("--held-out", type=Path, help="a corpus whose transcripts the model is tried on")
    given = parser.parse_args()
    _, *symbols = letters().symbols
    texts = texts_of(given.corpus)
    model = estimate(texts, symbols, given.order)
    model.write(given.out)
    sizes = f"{len(texts):,} transcripts, {sum(map(len, texts)):,} letters"
    print(f"{sizes}; order {model.order}, {sum(map(len, model.grams)):,} n-grams")
    if given.held_out is not None:
        print(f"{bits(model, texts_of(given.held_out)):.3f} bits a letter on {given.held_out}")
    print(given.out)


if __name__ == "__main__":
    main()
