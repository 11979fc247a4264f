"""Reading a corpus of any of the three kinds, and preparing it once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile

from asr_introspect.corpus.audio import SAMPLE_RATE, AudioError, AudioHeader, probe, read_audio
from asr_introspect.corpus.entries import Entry, Notes, usable
from asr_introspect.corpus.folders import folder_entries
from asr_introspect.corpus.manifest import manifest_entries, write_manifest
from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.corpus.skipped import write_skipped
from asr_introspect.corpus.tables import REQUIRED, is_header, table_entries
from asr_introspect.corpus.transcripts import length_problem
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.progress import bar

ALIGNMENTS_FOLDER = "alignments"


def read_corpus(path: Path | str, max_utterances: int | None = None) -> Corpus:
    """The corpus at a path: a folder in LibriSpeech's layout, a TSV, or a manifest.

    Looks at transcripts and at the headers of sound files; a manifest is read without opening any. What
    cannot be used is in ``skipped`` with the reason; what is used but changed is said once.

    Parameters
    ----------
    max_utterances
        Reading stops after so many usable utterances.

    Raises
    ------
    IntrospectError
        There is nothing at the path, it is of none of the three kinds, or nothing in it is usable.
    """
    return _read(Path(path), max_utterances)


def prepare(
    corpus: Path | str | Corpus, out: Path | str | None = None, max_utterances: int | None = None
) -> Corpus:
    """Reads a corpus and decodes all of its sound; writes a manifest of what is usable.

    Beside the manifest ``OUT`` lies ``OUT.skipped.csv`` with what was left out and why, if anything was.

    Parameters
    ----------
    corpus
        A path as :func:`read_corpus` takes it, or a corpus already read.
    out
        The manifest to write; none is written if not given.

    Returns
    -------
    Corpus
        The usable utterances with their exact durations.

    Raises
    ------
    IntrospectError
        Nothing is usable, or the manifest cannot be written.
    """
    if out is not None:
        _check_writable(Path(out))  # before hours of speech are decoded
    notes = Notes()
    if isinstance(corpus, Corpus):
        found, path = corpus, Path("corpus")
    else:
        path = Path(corpus)
        found = _read(path, max_utterances, notes)
    from_manifest = not isinstance(corpus, Corpus) and path.is_file()
    checked = _not_empty(_decoded(found, notes if from_manifest else None), path)
    notes.say()
    if out is not None:
        write_manifest(checked, out)
        if checked.skipped:
            write_skipped(Path(f"{out}.skipped.csv"), checked.skipped)
    return checked


def alignments_folder(corpus: Path | str, alignments: Path | str | None = None) -> Path | None:
    """Where a corpus's TextGrids lie: the folder named, else ``alignments`` in the corpus or beside its file.

    ``None`` where nothing is named and nothing found.

    Raises
    ------
    IntrospectError
        The folder that is named does not exist.
    """
    if alignments is not None:
        if not Path(alignments).is_dir():
            raise IntrospectError(f"no such folder: {alignments}")
        return Path(alignments)
    place = Path(corpus)
    unasked = (place if place.is_dir() else place.parent) / ALIGNMENTS_FOLDER
    return unasked if unasked.is_dir() else None


def _read(path: Path, max_utterances: int | None, notes: Notes | None = None) -> Corpus:
    if max_utterances is not None and max_utterances < 1:
        raise UsageError(f"max-utterances must be at least 1, not {max_utterances}")
    return _not_empty(usable(_entries(path), max_utterances, notes), path)


def _entries(path: Path) -> Iterator[Entry | Skipped]:
    if path.is_dir():
        return folder_entries(path)
    if not path.exists():
        raise IntrospectError(f"no such file or folder: {path}")
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = next((line for line in file if line.strip()), "")
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    if first.lstrip().startswith("{"):
        return manifest_entries(path)
    if is_header(first):
        return table_entries(path)
    if not first:
        raise IntrospectError(f"{path} is empty")
    raise IntrospectError(
        f"{path} is no corpus: neither a folder in LibriSpeech's layout, nor a table whose header line has "
        f"{' and '.join(REQUIRED)} (tab-separated), nor a manifest (JSON lines)"
    )


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise IntrospectError(f"cannot write {path}: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".partial"):
            pass
    except OSError as error:
        raise IntrospectError(f"cannot write {path}: {error.strerror or error}") from error


def _not_empty(corpus: Corpus, path: Path | str) -> Corpus:
    if corpus.utterances:
        return corpus
    reasons = "; ".join(f"{item.item}: {item.reason}" for item in corpus.skipped[:3])
    more = f"; and {len(corpus.skipped) - 3:,} more" if len(corpus.skipped) > 3 else ""
    raise IntrospectError(f"nothing in {path} is usable" + (f" ({reasons}{more})" if reasons else ""))


def _decoded(corpus: Corpus, notes: Notes | None) -> Corpus:
    """The utterances whose sound can be decoded, with their exact durations; headers noted where asked."""
    kept: list[Utterance] = []
    skipped = list(corpus.skipped)
    with bar("prepare", corpus.seconds) as moving, ThreadPoolExecutor(max_workers=2) as readers:
        for some in _chunks(corpus.utterances, 64):
            for utterance, result in zip(some, readers.map(_decode, some), strict=True):
                moving.update(utterance.duration)
                if isinstance(result, str):
                    skipped.append(Skipped(utterance.name, result))
                    continue
                header, duration = result
                if problem := length_problem(utterance.text, duration):
                    skipped.append(Skipped(utterance.name, problem))
                    continue
                if notes is not None:
                    notes.header(header)
                kept.append(dataclasses.replace(utterance, duration=duration))
    return Corpus(tuple(kept), tuple(skipped))


def _decode(utterance: Utterance) -> tuple[AudioHeader, float] | str:
    """The header and the duration in seconds of an utterance's sound, or why it is unusable."""
    try:
        header = probe(utterance.audio)
        return header, len(read_audio(utterance.audio)) / SAMPLE_RATE
    except AudioError as error:
        return error.reason


def _chunks(items: Sequence[Utterance], size: int) -> Iterator[tuple[Utterance, ...]]:
    remaining = iter(items)
    while some := tuple(itertools.islice(remaining, size)):
        yield some
