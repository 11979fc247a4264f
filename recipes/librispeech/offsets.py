"""Which alignment of letters is right, and by how much letters lead or lag their sound: runs side by side.

    python recipes/librispeech/offsets.py RUN [RUN ...]

prints the offset tables and lags of run folders next to each other. A folder with these tables alone, without
the rest of `introspect`, is made by

    python recipes/librispeech/offsets.py --corpus CORPUS --alignments TEXTGRIDS --out RUN [--checkpoint C]

With several alignments, each with its RUN, the same letters are measured against all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import xarray

from asr_introspect.experiments.offsets import offsets
from asr_introspect.experiments.run_offsets import MOST_LETTERS
from asr_introspect.introspection.runs import read_lags, read_offset_table


def main() -> None:
    """Makes a run's tables, or prints those of several as Markdown; 95 % intervals in brackets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--alignments", type=Path, nargs="+", default=[])
    parser.add_argument("--checkpoint", type=Path, default=None, help="the bundled reference if not given")
    parser.add_argument("--out", type=Path, nargs="+", default=[], metavar="RUN")
    parser.add_argument("--letters", type=int, default=MOST_LETTERS, help="about so many are compared")
    parser.add_argument("--max-utterances", type=int, default=None, help="drawn, one of each speaker in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    runs = list(given.runs)
    if given.corpus is not None:
        if not given.alignments or len(given.alignments) != len(given.out):
            parser.error("--corpus needs --alignments and for each of them a run to write: --out")
        torch.set_num_threads(given.threads)
        offsets(
            *(given.corpus, given.alignments, given.checkpoint, given.out),
            most=given.letters,
            max_utterances=given.max_utterances,
            seed=given.seed,
        )
        runs += given.out
    if not runs:
        parser.error("name a run, or --corpus, --alignments and --out")
    print(compared([str(run) for run in runs], [read_offset_table(run) for run in runs]))
    print(lags([str(run) for run in runs], [read_lags(run) for run in runs]))


def compared(names: list[str], tables: list[xarray.Dataset]) -> str:
    """A Markdown table for each layer; ``*``: most is explained there, ``=``: no worse by the interval."""
    lines = []
    for name, table in zip(names, tables, strict=True):
        first = table.isel(placed=0, layer=0)
        lines.append(
            f"{name}: {int(first['count']):,} of {int(first['of']):,} letters, "
            f"{int(first['utterances'])} utterances"
        )
    heads = [
        "variance explained, %",
        "less noise, %",
        "by any letter, %",
        "correlation",
        "median lag, ms",
        "spread, ms",
    ]
    heads.append("never seen, %")
    for layer in tables[0]["layer"].values:
        lines += ["", f"### {layer}", ""]
        lines.append("| placed by | run | " + " | ".join(heads) + " |")
        lines.append("|---" * (len(heads) + 2) + "|")
        for method in tables[0]["placed"].values:
            for number, table in enumerate(tables, 1):
                if method in table["placed"] and layer in table["layer"]:
                    row = table.sel(placed=method, layer=layer)
                    mark = {"best": " *", "no worse": " ="}.get(str(row["verdict"].values), "")
                    control = " (control)" if int(row["control"]) == 1 else ""
                    cells = [
                        ranged(row, "explained", "explained_low", "explained_high", 100, 2) + mark,
                        ranged(row, "signal", "signal_low", "signal_high", 100, 2),
                        f"{100 * float(row['average']):.2f}",
                        ranged(row, "correlation", "correlation_low", "correlation_high", 1, 4),
                        ranged(row, "median_ms", "low_ms", "high_ms", 1, 0),
                        ranged(row, "spread_ms", "spread_low_ms", "spread_high_ms", 1, 0),
                        f"{100 * float(row['unseen']):.1f}",
                    ]
                    lines.append(f"| {method}{control} | {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def lags(names: list[str], tables: list[xarray.Dataset]) -> str:
    """By how much letters are written after their sound: all, and each letter."""
    lines = ["", "### Letters are written after the middle of their sound, ms", ""]
    lines.append("| letter | " + " | ".join(names) + " |")
    lines.append("|---" * (len(names) + 1) + "|")
    for group in tables[0]["group"].values:
        cells = []
        for table in tables:
            known = group in table["group"]
            row = table.sel(placed="emission", group=group) if known else None
            cells.append("" if row is None else ranged(row, "median_ms", "low_ms", "high_ms", 1, 0))
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ranged(row: xarray.Dataset, value: str, low: str, high: str, scale: float, digits: int) -> str:
    """A figure and its interval."""
    said = [f"{scale * float(row[name]):.{digits}f}" for name in (value, low, high)]
    return f"{said[0]} ({said[1]} to {said[2]})"


if __name__ == "__main__":
    main()
