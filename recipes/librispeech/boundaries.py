"""Boundaries of words or phones against TextGrids, as a table.

Words, by a recogniser's forced alignment:

    python recipes/librispeech/boundaries.py --corpus ../shared/data/LibriSpeech/study \
        --alignments ../shared/data/alignments/study [--checkpoint C]

Phones, by PocketSphinx (aligned now, or as it wrote them before) and by a recogniser of phonemes:

    python recipes/librispeech/boundaries.py --corpus ../shared/data/LibriSpeech/study \
        --alignments ../shared/data/alignments/study --pocketsphinx [TEXTGRIDS] --phonemes CHECKPOINT
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.experiments.align_phones import align_phones, align_pronounced
from asr_introspect.experiments.boundaries import (
    LIMITS,
    BoundaryRow,
    Figure,
    phone_boundaries,
    word_boundaries,
)

NOW = Path("now")


def main() -> None:
    """Prints a Markdown table; times in milliseconds, 95 % intervals in brackets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--alignments", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=None, help="words: the bundled one if not given")
    parser.add_argument("--pocketsphinx", type=Path, nargs="?", const=NOW, metavar="TEXTGRIDS")
    parser.add_argument("--phonemes", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--lexicon", type=Path, default=None, help="for the recogniser of phonemes")
    parser.add_argument("--spans", nargs="+", default=["midpoints"], help="midpoints, likelihood, spikes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-utterances", type=int, default=None)
    given = parser.parse_args()
    if given.pocketsphinx is None and given.phonemes is None:
        rows = word_boundaries(
            given.corpus,
            given.alignments,
            given.checkpoint,
            device=given.device,
            seed=given.seed,
            max_utterances=given.max_utterances,
        )
        print_rows("words", rows)
        return
    speech = read_corpus(given.corpus, given.max_utterances)
    for name, found in alignments_of_phones(given, speech):
        compared = phone_boundaries(speech, given.alignments, found, seed=given.seed)
        print(
            f"\n**{name}**: {compared.utterances:,} utterances, {compared.words:,} words "
            f"({compared.left_out:,} left out: the reference has them not), {compared.phones:,} phones, "
            f"{percent(compared.differing)} % of them differ\n"
        )
        print_rows("phones", compared.rows)


def alignments_of_phones(
    given: argparse.Namespace, speech: Corpus
) -> Iterator[tuple[str, Mapping[str, Alignment]]]:
    """The alignments that were asked for, and what they are called."""
    if given.pocketsphinx == NOW:
        yield "PocketSphinx", align_phones(speech).alignments
    elif given.pocketsphinx is not None:
        yield "PocketSphinx", read_alignments(given.pocketsphinx, speech.utterances)
    for spans in given.spans if given.phonemes is not None else ():
        found = align_pronounced(speech, given.phonemes, given.lexicon, fill=spans, device=given.device)
        yield f"{given.phonemes.name}, {spans}", found.alignments


def print_rows(what: str, rows: Sequence[BoundaryRow]) -> None:
    """A Markdown table."""
    within = [f"within {1000 * limit:.0f} ms, %" for limit in LIMITS]
    heads = ["comparison", "edge", what, "median, ms", "90th percentile, ms", *within]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for row in rows:
        cells = [
            row.comparison,
            row.edge,
            f"{row.count:,}",
            shown(row.median, 1000),
            shown(row.ninetieth, 1000),
            *(percent(share) for share in row.within),
        ]
        print("| " + " | ".join(cells) + " |")


def shown(figure: Figure, scale: float) -> str:
    """A figure and its interval."""
    return f"{scale * figure.value:.0f} ({scale * figure.low:.0f} to {scale * figure.high:.0f})"


def percent(figure: Figure) -> str:
    """A share and its interval in per cent."""
    return f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


if __name__ == "__main__":
    main()
