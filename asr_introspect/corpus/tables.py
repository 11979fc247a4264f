"""Corpora as a table: tab-separated, header line ``path``, ``text``, optionally ``speaker``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from asr_introspect.corpus.entries import Entry
from asr_introspect.corpus.records import Skipped
from asr_introspect.errors import IntrospectError

REQUIRED = ("path", "text")


def is_header(line: str) -> bool:
    """Whether a line is the header of such a table."""
    return set(REQUIRED) <= set(line.strip().split("\t"))


def table_entries(table: Path) -> Iterator[Entry | Skipped]:
    """What a table lists; an utterance is named by the stem of its file.

    Paths are absolute or relative to the table.

    Raises
    ------
    IntrospectError
        The table cannot be read, or is not UTF-8 text.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            for number, row in enumerate(rows, 2):
                yield _entry(row, number, table)
    except OSError as error:
        raise IntrospectError(f"cannot read {table}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntrospectError(f"{table} is not tab-separated UTF-8 text") from error


def _entry(row: dict[str, str | None], number: int, table: Path) -> Entry | Skipped:
    path, text = (row.get("path") or "").strip(), row.get("text") or ""
    if not path:
        return Skipped(f"line {number} of {table.name}", "no path")
    audio = table.parent / path
    return Entry(audio.stem, audio, text, (row.get("speaker") or "").strip())
