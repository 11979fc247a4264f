"""From what a corpus lists to its usable utterances: checks on headers and transcripts, said once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from asr_introspect.corpus.audio import SAMPLE_RATE, AudioError, AudioHeader, probe
from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.corpus.transcripts import length_problem, normalise
from asr_introspect.progress import say


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a corpus as it is written there; ``duration`` is in seconds, ``None`` where not given."""

    name: str
    audio: Path
    text: str
    speaker: str = ""
    sex: str = ""
    duration: float | None = None


class Notes:
    """Counts what was used but changed, and says it once at the end."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.rates: set[int] = set()

    def header(self, header: AudioHeader) -> None:
        """Notes another sample rate, and more than one channel."""
        if header.sample_rate != SAMPLE_RATE:
            self.counts["rate"] += 1
            self.rates.add(header.sample_rate)
        self.counts["channels"] += header.channels > 1

    def say(self) -> None:
        """Says each kind of change in one line."""
        rates = ", ".join(f"{rate:,}" for rate in sorted(self.rates))
        lines = {
            "rate": f"at {rates} Hz, resampled to {SAMPLE_RATE:,} Hz",
            "channels": "with several channels, mixed down to one",
            "lower_case": "with lower case in the transcript, made upper case",
            "accents": "with accents or other signs in the transcript, folded to A to Z",
            "renamed": "with a name that was there before, numbered",
        }
        for kind, line in lines.items():
            if count := self.counts[kind]:
                say(f"{count:,} {'utterance' if count == 1 else 'utterances'} {line}")


def usable(
    entries: Iterable[Entry | Skipped],
    max_utterances: int | None = None,
    notes: Notes | None = None,
    header_of: Callable[[Path], AudioHeader] = probe,
) -> Corpus:
    """The usable utterances among the entries, in their order, and why the others are not.

    Files are opened only where an entry gives no duration. Reading stops after ``max_utterances`` usable
    ones. What was changed is counted in ``notes``; without them, it is said here.
    """
    counted = notes or Notes()
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    names: set[str] = set()
    for entry in entries:
        if max_utterances is not None and len(utterances) >= max_utterances:
            break
        if isinstance(entry, Skipped):
            skipped.append(entry)
            continue
        found = _checked(entry, names, counted, header_of)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            utterances.append(found)
            names.add(found.name)
    if notes is None:
        counted.say()
    return Corpus(tuple(utterances), tuple(skipped))


def _checked(
    entry: Entry, names: set[str], notes: Notes, header_of: Callable[[Path], AudioHeader]
) -> Utterance | Skipped:
    transcript = normalise(entry.text)
    if transcript.problem:
        return Skipped(entry.name, transcript.problem)
    header = None
    duration = entry.duration
    if duration is None:
        try:
            header = header_of(entry.audio)
        except AudioError as error:
            return Skipped(entry.name, error.reason)
        duration = header.duration
    elif not entry.audio.is_file():
        return Skipped(entry.name, f"no such file: {entry.audio}")
    if problem := length_problem(transcript.text, duration):
        return Skipped(entry.name, problem)
    name = _numbered(entry.name, names)
    if header is not None:
        notes.header(header)
    notes.counts["lower_case"] += transcript.lower_case
    notes.counts["accents"] += transcript.accents
    notes.counts["renamed"] += name != entry.name
    return Utterance(name, entry.audio, transcript.text, entry.speaker, entry.sex, duration)


def _numbered(name: str, names: set[str]) -> str:
    """The name, with " (2)", " (3)" ... behind it where it is taken."""
    free, number = name, 1
    while free in names:
        number += 1
        free = f"{name} ({number})"
    return free
