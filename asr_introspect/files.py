"""Files that are whole or absent: atomic writing, locks, hashes and run folders."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from asr_introspect.errors import IntrospectError

FORMAT = 1
"""The number of the run folder's format; folders with a larger one are refused."""


@contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its name when the block ends without an error.

    After a kill, a full disk or Ctrl-C there is the old file or the new one, never half of one.

    Raises
    ------
    IntrospectError
        The folder cannot be written to or the disk is full; the message names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise IntrospectError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def reading(path: Path | str) -> Iterator[TextIO]:
    """Yields a file of UTF-8 text, with or without a byte order mark, open for reading.

    Raises
    ------
    IntrospectError
        The file cannot be read, or is not UTF-8; the message names it.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntrospectError(f"{path} is not UTF-8 text") from error


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text atomically (see :func:`writing`)."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_records(path: Path | str, records: Sequence[Any]) -> None:
    """Writes data classes of one kind as CSV, a column for each field."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(records[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


def read_json(path: Path | str) -> Any:
    """The JSON value in a file; an :class:`IntrospectError` names the file if there is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise IntrospectError(f"{path} is not JSON: {error}") from error


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Holds ``folder/lock`` for the length of the block; the lock dies with its owner (flock).

    Raises
    ------
    IntrospectError
        Another process holds it, or the folder cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise IntrospectError(f"cannot write to {folder}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IntrospectError(
                f"{folder} is in use by another run; wait for it, or name another folder with --out"
            ) from error
        yield


def revision() -> str:
    """The git revision of the code that runs, with ``+`` when files differ from it; "" outside a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on."""
    named = ("asr-introspect", "torch", "numpy", "scipy", "scikit-learn", "librosa", "soundfile", "soxr")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in named:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@contextmanager
def run_folder(
    out: Path | str,
    part: str,
    settings: Mapping[str, Any],
    identity: Mapping[str, str],
    *,
    seed: int = 0,
    argv: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Opens (or makes) a run folder for one part of an analysis and holds its lock.

    ``run.json`` keeps ``format``, ``identity`` (for example the SHA-256 of checkpoint and corpus) and, for
    each part, its ``argv``, ``settings``, ``seed``, ``versions``, ``revision`` and ``complete``. A folder
    takes further parts of the same identity; the same part goes on with the same settings.

    Parameters
    ----------
    part
        The analysis, e.g. ``"introspect"``.
    settings
        What determines its numbers; JSON values.
    identity
        Hashes of what the folder is about.

    Raises
    ------
    IntrospectError
        The folder is of another identity, or of a newer format; the part was run with other settings and
        ``overwrite`` is false; another process holds the folder; it cannot be written to.
    """
    folder = Path(out)
    with locked(folder):
        record_path = folder / "run.json"
        record: dict[str, Any] = {"format": FORMAT, "identity": dict(identity), "parts": {}}
        if record_path.exists() and not overwrite:
            record = _checked(folder, record, read_json(record_path), part, settings)
            # It is a run, and nobody else writes to it now: what is half written was left by a kill.
            for left in folder.rglob(".*.partial"):
                left.unlink(missing_ok=True)
        record["parts"][part] = {
            "argv": list(sys.argv if argv is None else argv),
            "settings": dict(settings),
            "seed": seed,
            "versions": versions(),
            "revision": revision(),
            "complete": False,
        }
        write_json(record_path, record)
        yield folder
        record["parts"][part]["complete"] = True
        write_json(record_path, record)


def _checked(
    folder: Path, fresh: dict[str, Any], found: Any, part: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The record found in a folder, after checking that this part may go on in it."""
    if not isinstance(found, dict) or not isinstance(found.get("parts"), dict) or "identity" not in found:
        raise IntrospectError(f"{folder}/run.json is not of a run; name another folder with --out")
    if not isinstance(found.get("format"), int) or found["format"] > FORMAT:
        raise IntrospectError(
            f"{folder} was written by a newer asr-introspect; update it, or name another --out"
        )
    differing = [name for name, value in fresh["identity"].items() if found["identity"].get(name) != value]
    if differing:
        raise IntrospectError(
            f"{folder} belongs to another run (other {' and '.join(differing)}); "
            "name another --out, or add --overwrite"
        )
    before = found["parts"].get(part)
    if before is not None and before["settings"] != json.loads(json.dumps(dict(settings))):
        names = sorted(
            name
            for name in {*before["settings"], *settings}
            if before["settings"].get(name) != json.loads(json.dumps(settings.get(name)))
        )
        raise IntrospectError(
            f"{folder} holds {part} with other settings ({', '.join(names)}); "
            "name another --out, or add --overwrite"
        )
    return found
