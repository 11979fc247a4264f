"""Tables of a user's own labels: what happens at which time of which utterance."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.files import sha256

COLUMNS = ("utterance", "time", "label")
RESERVED = ("letters", "letters-aligned", "phonemes", "phonemes-stressed", "joint")


@dataclass(frozen=True)
class LabelTable:
    """The labels of a table that belong to a corpus.

    Parameters
    ----------
    name
        The file's stem: what the labels are called in profiles.
    rows
        By utterance name its times in seconds and its labels, in order of time.
    labels
        All labels, in alphabetical order.
    skipped
        What could not be used: utterances that the corpus lacks, lines without a time inside the audio.
    """

    name: str
    path: Path
    sha256: str
    rows: Mapping[str, tuple[tuple[float, str], ...]]
    labels: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def read_label_tables(paths: Sequence[Path | str], utterances: Sequence[Utterance]) -> tuple[LabelTable, ...]:
    """The tables of a corpus, each once.

    Raises
    ------
    UsageError
        Two tables have one name, or a name that other labels have.
    IntrospectError
        See :func:`read_label_table`.
    """
    tables = [read_label_table(path, utterances) for path in dict.fromkeys(Path(path) for path in paths)]
    names = [table.name for table in tables]
    for table in tables:
        if names.count(table.name) > 1:
            raise UsageError(f"two tables are called {table.name}: rename one of the files")
    return tuple(tables)


def read_label_table(path: Path | str, utterances: Sequence[Utterance]) -> LabelTable:
    """Reads a table with the columns ``utterance``, ``time`` (seconds) and ``label`` in its header line.

    Comma- or tab-separated, seen from the header; other columns are passed over. An utterance is named as in
    the corpus.

    Raises
    ------
    UsageError
        The file's name is one of other labels, or cannot name profiles.
    IntrospectError
        The file cannot be read, is not such a table, or says nothing of this corpus.
    """
    path = Path(path)
    name = path.stem
    if name in RESERVED or name.strip(". ") == "":
        raise UsageError(f"a table cannot be called {name!r}: its labels would be taken for others")
    durations = {utterance.name: utterance.duration for utterance in utterances}
    skipped: list[Skipped] = []
    missing: dict[str, int] = {}
    rows: dict[str, list[tuple[float, str]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(_records(file, path), 2):
                utterance = (row["utterance"] or "").strip()
                if utterance not in durations:
                    missing[utterance] = missing.get(utterance, 0) + 1
                    continue
                found = _entry(row, durations[utterance])
                if isinstance(found, str):
                    skipped.append(Skipped(f"line {number} of {path.name}", found))
                else:
                    rows.setdefault(utterance, []).append(found)
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntrospectError(f"{path} is not a table of UTF-8 text") from error
    skipped += [
        Skipped(f"utterance {utterance} of {path.name}", f"not in the corpus ({count:,} lines)")
        for utterance, count in missing.items()
    ]
    if not rows:
        why = "it has no lines" if not skipped else f"{skipped[0].item}: {skipped[0].reason}"
        raise IntrospectError(f"{path} says nothing of this corpus ({why})")
    labels = sorted({label for own in rows.values() for _, label in own})
    return LabelTable(
        name,
        path,
        sha256(path),
        {utterance: tuple(sorted(own)) for utterance, own in rows.items()},
        tuple(labels),
        tuple(skipped),
    )


def _records(lines: Iterable[str], path: Path) -> csv.DictReader[str]:
    """The lines of a table, once its header has been seen to name all columns."""
    rest = iter(lines)
    header = next(rest, "")
    delimiter = "\t" if "\t" in header else ","
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        raise IntrospectError(
            f"{path} has no column {' or '.join(lacking)}: its first line must name "
            f"{', '.join(COLUMNS)}, it is {header.strip()[:60]!r}"
        )
    return csv.DictReader(rest, names, delimiter=delimiter)


def _entry(row: Mapping[str, str | None], duration: float) -> tuple[float, str] | str:
    """The time and the label of a line, or why it cannot be used."""
    label, written = (row["label"] or "").strip(), (row["time"] or "").strip()
    if not label:
        return "no label"
    if "|" in label:
        return f"the label {label!r} holds a |, which parts of groups are named with"
    try:
        seconds = float(written)
    except ValueError:
        return f"the time {written!r} is not a number of seconds"
    if not math.isfinite(seconds) or not 0 <= seconds < duration:
        return f"the time {written} s lies outside the utterance ({duration:.2f} s)"
    return seconds, label
