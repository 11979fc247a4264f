"""Manifests: JSON lines with ``utterance``, ``audio_filepath``, ``duration``, ``text``, ``speaker``, ``sex``.

The field names are those of NeMo's manifests, which are read too (only ``audio_filepath`` and ``text`` are
needed).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from asr_introspect.corpus.entries import Entry
from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.files import reading, writing


def manifest_entries(manifest: Path) -> Iterator[Entry | Skipped]:
    """What a manifest lists; no sound file is opened where the duration is given.

    Raises
    ------
    IntrospectError
        The manifest cannot be read, or is not UTF-8 text.
    """
    with reading(manifest) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _entry(line, f"line {number} of {manifest.name}", manifest.parent)


def _entry(line: str, where: str, folder: Path) -> Entry | Skipped:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return Skipped(where, "not JSON")
    if not isinstance(fields, dict) or not isinstance(fields.get("audio_filepath"), str):
        return Skipped(where, "no audio_filepath")
    audio = folder / fields["audio_filepath"]
    name = str(fields.get("utterance") or audio.stem)
    text, duration = fields.get("text"), fields.get("duration")
    if not isinstance(text, str):
        return Skipped(name, "no transcript")
    if not isinstance(duration, int | float) or not math.isfinite(duration) or duration <= 0:
        duration = None
    sex = str(fields.get("sex") or "").upper()[:1]
    return Entry(
        name,
        audio,
        text,
        str(fields.get("speaker") or ""),
        sex if sex in ("F", "M") else "",
        duration,
    )


def write_manifest(corpus: Corpus, path: Path | str) -> None:
    """Writes a corpus's utterances as a manifest, atomically; sound is named relative to the manifest.

    Raises
    ------
    IntrospectError
        The file cannot be written.
    """
    path = Path(path)
    folder = path.parent.resolve()
    with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for utterance in corpus.utterances:
            fields = {
                "utterance": utterance.name,
                "audio_filepath": os.path.relpath(utterance.audio.resolve(), folder),
                "duration": round(utterance.duration, 6),
                "text": utterance.text,
                "speaker": utterance.speaker,
                "sex": utterance.sex,
            }
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def corpus_sha256(corpus: Corpus) -> str:
    """What a run folder knows its corpus by: a hash over names, texts, speakers and durations (to 10 ms).

    It is the same for a folder and the manifest made of it, wherever they lie.
    """
    digest = hashlib.sha256()
    for utterance in corpus.utterances:
        fields = [utterance.name, utterance.text, utterance.speaker, f"{utterance.duration:.2f}"]
        digest.update(json.dumps(fields).encode())
    return digest.hexdigest()
