"""The letter error on the same utterances from two kinds of files, for example FLAC and Opus.

    D=../shared/data; python recipes/librispeech/codecs.py $D/sample/LibriSpeech/study $D/LibriSpeech/study

Utterances are matched by name; those of the first corpus are scored in both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_introspect import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import evaluate
from asr_introspect.experiments.inputs import as_recogniser
from asr_introspect.recogniser.scoring import error_rate


def main() -> None:
    """Prints both letter errors, and the second's minus the first's with its bootstrap interval."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=None, help="the bundled reference if not given")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recogniser = as_recogniser(given.checkpoint)
    first = read_corpus(given.first)
    others = {utterance.name: utterance for utterance in read_corpus(given.second).utterances}
    shared = [utterance for utterance in first.utterances if utterance.name in others]
    if not shared:
        raise IntrospectError(f"no utterance of {given.first} is in {given.second}")
    one = evaluate(Corpus(tuple(shared)), recogniser, seed=given.seed)
    two = evaluate(Corpus(tuple(others[each.name] for each in shared)), recogniser, seed=given.seed)
    scores = list(zip(one.utterances, two.utterances, strict=True))
    difference = error_rate(
        [b.letter_edits - a.letter_edits for a, b in scores],
        [a.letters for a, _ in scores],
        [a.speaker for a, _ in scores],
        seed=given.seed,
    )
    print(f"{len(scores)} utterances, letter error")
    named = (("first", one.letter_error), ("second", two.letter_error), ("second minus first", difference))
    for name, rate in named:
        print(f"{name}: {100 * rate.rate:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f})")


if __name__ == "__main__":
    main()
