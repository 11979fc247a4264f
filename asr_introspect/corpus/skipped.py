"""What was left out of a corpus, said and written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from asr_introspect.corpus.records import Skipped
from asr_introspect.files import writing
from asr_introspect.progress import printable, say


def say_skipped(skipped: Sequence[Skipped], limit: int = 20) -> None:
    """Says how many items were skipped, and names the first ``limit`` with their reasons."""
    if not skipped:
        return
    say(f"skipped {len(skipped):,}:")
    for item in skipped[:limit]:
        say("  " + printable(f"{item.item}: {item.reason}"))
    if len(skipped) > limit:
        say(f"  ... and {len(skipped) - limit:,} more")


def write_skipped(path: Path | str, skipped: Sequence[Skipped]) -> None:
    """Writes a CSV with the columns ``item`` and ``reason``, atomically."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", "reason"])
        writer.writerows([item.item, item.reason] for item in skipped)
