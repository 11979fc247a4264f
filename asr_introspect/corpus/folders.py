"""Corpora in LibriSpeech's layout: ``SUBSET/SPEAKER/CHAPTER/*.flac`` and ``*.trans.txt``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from asr_introspect.corpus.audio import EXTENSIONS
from asr_introspect.corpus.entries import Entry
from asr_introspect.corpus.records import Skipped
from asr_introspect.errors import IntrospectError

SPEAKERS_FILE = "SPEAKERS.TXT"
TRANSCRIPTS_SUFFIX = ".trans.txt"


def folder_entries(folder: Path) -> Iterator[Entry | Skipped]:
    """What a folder lists: the folder of subsets, one subset, or anything between it and one chapter.

    Sound without a transcript and transcripts without sound come as :class:`Skipped`. The sex of speakers
    is read from ``SPEAKERS.TXT`` in the folder, in a folder below it that holds subsets, or above it.

    Raises
    ------
    IntrospectError
        The folder cannot be read, or holds no transcripts.
    """
    chapters = _chapters(folder)
    if not any(transcripts for _, transcripts, _ in chapters):
        sounds = sum(len(audio) for _, _, audio in chapters)
        raise IntrospectError(
            f"{folder}: no transcripts (*{TRANSCRIPTS_SUFFIX}) beside its {sounds:,} sound files"
            if sounds
            else f"{folder}: no corpus in LibriSpeech's layout (no sound, no *{TRANSCRIPTS_SUFFIX})"
        )
    return _entries(folder, chapters)


def _entries(
    folder: Path, chapters: list[tuple[Path, list[Path], dict[str, Path]]]
) -> Iterator[Entry | Skipped]:
    sexes = _sexes(folder, [place for place, _, _ in chapters])
    for place, transcripts, audio in chapters:
        heard = set()
        for path in transcripts:
            for number, line in enumerate(_lines(path), 1):
                if isinstance(line, Skipped):
                    yield line
                    continue
                name, _, text = line.strip().partition(" ")
                if not name:
                    continue
                if name not in audio:
                    yield Skipped(name, f"no sound for line {number} of {path}")
                    continue
                heard.add(name)
                speaker = _speaker(name, place, folder)
                yield Entry(name, audio[name], text, speaker, sexes.get(speaker, ""))
        for name in sorted(set(audio) - heard):
            yield Skipped(name, f"no transcript for {audio[name]}")


def _chapters(folder: Path) -> list[tuple[Path, list[Path], dict[str, Path]]]:
    """Each folder with sound or transcripts: its path, its transcript files, its sound files by stem."""
    found = []
    errors: list[OSError] = []
    seen: set[str] = set()
    # Subsets are often links to where the data lie; a link that leads back is not followed again.
    for place, below, files in os.walk(folder, onerror=errors.append, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            below[:] = []
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        transcripts: list[Path] = []
        audio: dict[str, Path] = {}
        for name in sorted(files):
            path = Path(place, name)
            if name.endswith(TRANSCRIPTS_SUFFIX):
                transcripts.append(path)
            elif path.suffix.lower() in EXTENSIONS:
                audio.setdefault(path.stem, path)
        if transcripts or audio or SPEAKERS_FILE in files:
            found.append((Path(place), transcripts, audio))
    if errors and not found:
        raise IntrospectError(f"cannot read {folder}: {errors[0].strerror}")
    return found


def _lines(path: Path) -> list[str | Skipped]:
    try:
        return list(path.read_text(encoding="utf-8-sig").splitlines())
    except OSError as error:
        return [Skipped(str(path), f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return [Skipped(str(path), "is not UTF-8 text")]


def _speaker(name: str, chapter: Path, corpus: Path) -> str:
    """The speaker in a name of LibriSpeech's form, else the folder above the chapter's if in the corpus."""
    parts = name.split("-")
    if len(parts) == 3 and all(parts):
        return parts[0]
    above = chapter.parent
    return above.name if corpus in above.parents else ""


def _sexes(folder: Path, places: list[Path]) -> dict[str, str]:
    """The sex, "F" or "M", of each speaker in the nearest ``SPEAKERS.TXT``."""
    resolved = folder.resolve()
    for place in [folder, *places, *resolved.parents[:3]]:
        path = place / SPEAKERS_FILE
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        rows = [
            [cell.strip() for cell in row.split("|")] for row in text.splitlines() if not row.startswith(";")
        ]
        return {row[0]: row[1].upper() for row in rows if len(row) > 1 and row[1].upper() in ("F", "M")}
    return {}
