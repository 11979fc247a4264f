"""Where the phones of a run come from: files, PocketSphinx, or nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from asr_introspect.corpus.alignment_files import CorpusAlignments, find_alignments
from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.manifest import corpus_sha256
from asr_introspect.corpus.pronunciations import Lexicon, missing_extra, read_lexicon
from asr_introspect.corpus.reading import alignments_folder
from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.corpus.sphinx import EARLY_SECONDS, PhoneAlignments, align_corpus_phones
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.files import read_json, sha256, write_json
from asr_introspect.progress import say

AUTO: Literal["auto"] = "auto"
"""In place of a folder of alignments: align the phones of English speech by PocketSphinx."""

RECORD, FOLDER, PRONUNCIATIONS = "phones.json", "alignments", "pronunciations.csv"
"""What a run keeps of its phones: the record, PocketSphinx's TextGrids, guessed pronunciations."""


@dataclass(frozen=True)
class Phones:
    """The phone alignments of a run.

    Parameters
    ----------
    alignments
        By the name of the utterance; empty where there are none.
    record
        Where they come from, as ``phones.json`` and the page say it.
    skipped
        Files and utterances whose alignment could not be read or made, and why.
    """

    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=lambda: {"source": None})
    skipped: tuple[Skipped, ...] = ()

    def summary(self) -> dict[str, Any]:
        """The record with the number of utterances without phones in place of their names."""
        return {**self.record, "missing": len(self.record.get("missing", ()))}


@dataclass(frozen=True)
class PhoneSource:
    """Where a run's phones will come from.

    Parameters
    ----------
    place
        A file or folder of alignments, ``auto``, or None for letters only.
    lexicon
        The user's pronunciations for ``auto``.
    lexicon_sha256
        The hash of their file, "" where there is none.
    asked
        Whether the user named the place; what lies with a corpus unasked may fail.
    """

    place: Path | Literal["auto"] | None
    lexicon: Lexicon | None = None
    lexicon_sha256: str = ""
    asked: bool = False

    def settings(self, read: Phones) -> dict[str, str | None]:
        """What of it determines a run's numbers: the place only where phones were read from it."""
        own = {"alignments": AUTO if self.place == AUTO else read.record.get("place")}
        return own | ({"lexicon": self.lexicon_sha256} if self.lexicon is not None else {})


def phone_source(
    corpus: Path | str | Corpus,
    alignments: Path | str | None,
    lexicon: Path | str | None = None,
    *,
    of_shard: bool = False,
) -> PhoneSource:
    """Where phones come from: what is named, else what lies with the corpus, else nowhere.

    Parameters
    ----------
    alignments
        A file or folder, or ``auto``.
    lexicon
        The user's pronunciations; only for ``auto``.
    of_shard
        Whether the run is a shard, which cannot align phones itself.

    Raises
    ------
    UsageError
        A lexicon without ``auto``, ``auto`` for a shard.
    IntrospectError
        The lexicon cannot be read, the extra ``phones`` is needed and not installed, or ``auto`` is misspelt.
    """
    if str(alignments) != AUTO:
        if lexicon is not None:
            raise UsageError("a lexicon is of use only with --alignments auto (or to align --phones)")
        if alignments is not None:
            if get_close_matches(str(alignments).lower(), [AUTO]) and not Path(alignments).exists():
                raise IntrospectError(f"no such file or folder: {alignments}; did you mean {AUTO}?")
            return PhoneSource(Path(alignments), asked=True)
        return PhoneSource(None if isinstance(corpus, Corpus) else alignments_folder(corpus))
    if of_shard:
        raise UsageError(
            "--alignments auto cannot be used with --shard: run align --phones --textgrids FOLDER once, then "
            "give every shard --alignments FOLDER"
        )
    if not can_align():
        raise missing_extra()
    if lexicon is None:
        return PhoneSource(AUTO, asked=True)
    return PhoneSource(AUTO, read_lexicon(lexicon), sha256(lexicon), asked=True)


def can_align() -> bool:
    """Whether the extra ``phones`` is installed."""
    return find_spec("pocketsphinx") is not None


def read_phones(source: PhoneSource, speech: Corpus) -> Phones:
    """The phones in files; none for ``auto``, whose phones are aligned in the run's folder.

    Raises
    ------
    IntrospectError
        The place was named, and holds no phones of the corpus.
    """
    if source.place == AUTO:
        return Phones()
    if source.place is None:
        say("no phone alignments: letters only (--alignments names them, --alignments auto makes them)")
        return Phones()
    try:
        found = find_alignments(source.place, speech.utterances)
        if not found.has_phones:
            raise IntrospectError(
                f"{source.place} ({found.kind}) holds words but no phones; name alignments with phones, or "
                "--alignments auto"
            )
    except IntrospectError as error:
        if source.asked:
            raise
        say(f"letters only: {error}")
        return Phones()
    return Phones(found.alignments, _file_record(source.place, found), found.unreadable)


def _file_record(place: Path | str, found: CorpusAlignments) -> dict[str, Any]:
    return {
        "source": found.kind,
        "place": str(place),
        **_counts(found.alignments),
        "missing": list(found.missing),
    }


def _counts(alignments: Mapping[str, Alignment]) -> dict[str, int]:
    return {
        "utterances": len(alignments),
        "words": sum(len(alignment.words) for alignment in alignments.values()),
        "phones": sum(len(alignment.phones) for alignment in alignments.values()),
    }


def phones_in_run(source: PhoneSource, read: Phones, speech: Corpus, folder: Path) -> Phones:
    """The phones that were read, or those of :func:`align_in_run`; ``folder/phones.json`` says which."""
    if source.place == AUTO:
        return align_in_run(source, speech, folder)
    write_json(folder / RECORD, read.record)
    (folder / PRONUNCIATIONS).unlink(missing_ok=True)
    return read


def align_in_run(source: PhoneSource, speech: Corpus, folder: Path, workers: int | None = None) -> Phones:
    """Phones by PocketSphinx, kept as TextGrids in ``folder/alignments``; what is there already is read.

    Writes ``phones.json`` and ``pronunciations.csv`` too. What lies there of another corpus, lexicon or
    version of PocketSphinx is replaced.

    Raises
    ------
    IntrospectError
        Nothing of the corpus can be aligned, the folder holds alignments that were not made here, or it
        cannot be written to.
    """
    made_of = {
        "source": "PocketSphinx",
        "version": metadata.version("pocketsphinx"),
        "corpus": corpus_sha256(speech),
        "lexicon": source.lexicon_sha256 or None,
        "shifted_seconds": EARLY_SECONDS,
    }
    record, place = folder / RECORD, folder / FOLDER
    before = read_json(record) if record.exists() else None
    if not (isinstance(before, dict) and {name: before.get(name) for name in made_of} == made_of):
        if place.exists() and not (isinstance(before, dict) and before.get("source") == made_of["source"]):
            raise IntrospectError(
                f"{place} was not made by --alignments auto; remove it or name another --out"
            )
        shutil.rmtree(place, ignore_errors=True)
        write_json(record, made_of)
    say(f"phones: PocketSphinx aligns {len(speech.utterances):,} utterances, {speech.seconds / 60:.1f} min")
    found = align_corpus_phones(
        speech.utterances, place, lexicon=source.lexicon, workers=workers, resume=True
    )
    write_csv(folder / PRONUNCIATIONS, ("word", "phones", "source", "spoken"), _guesses(found))
    spoken = sum(found.spoken.values())
    by_source = found.by_source()
    made = {
        **made_of,
        "place": FOLDER,
        **_counts(found.alignments),
        "missing": [item.item for item in found.skipped],
        "pronunciations": by_source,
        "guessed_share": (spoken - by_source["dictionary"]) / spoken,
    }
    write_json(record, made)
    return Phones(found.alignments, made, found.skipped)


def _guesses(found: PhoneAlignments) -> Sequence[tuple[str, str, str, int]]:
    return [
        (word, " ".join(each.phones), each.source, found.spoken[word])
        for word, each in sorted(found.guessed.items())
    ]
