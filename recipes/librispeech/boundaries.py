"""Word boundaries of a recogniser's forced alignment against TextGrids, as a table.

    python recipes/librispeech/boundaries.py --corpus ../shared/data/LibriSpeech/study \
        --alignments ../shared/data/alignments/study [--checkpoint C]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_introspect.experiments.boundaries import LIMITS, Figure, word_boundaries


def main() -> None:
    """Prints a Markdown table; times in milliseconds, 95 % intervals in brackets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--alignments", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=None, help="the bundled reference if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-utterances", type=int, default=None)
    given = parser.parse_args()
    rows = word_boundaries(
        given.corpus,
        given.alignments,
        given.checkpoint,
        device=given.device,
        seed=given.seed,
        max_utterances=given.max_utterances,
    )
    within = [f"within {1000 * limit:.0f} ms, %" for limit in LIMITS]
    heads = ["comparison", "edge", "words", "median, ms", "90th percentile, ms", *within]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for row in rows:
        cells = [
            row.comparison,
            row.edge,
            f"{row.count:,}",
            shown(row.median, 1000),
            shown(row.ninetieth, 1000),
            *(shown(share, 100) for share in row.within),
        ]
        print("| " + " | ".join(cells) + " |")


def shown(figure: Figure, scale: float) -> str:
    """A figure and its interval."""
    return f"{scale * figure.value:.0f} ({scale * figure.low:.0f} to {scale * figure.high:.0f})"


if __name__ == "__main__":
    main()
