"""The records of a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance: where its sound is, what is said, by whom.

    ``text`` is upper case, words separated by single spaces; ``sex`` is "F", "M" or ""; ``speaker`` may be
    ""; ``duration`` is in seconds.
    """

    name: str
    audio: Path
    text: str
    speaker: str
    sex: str
    duration: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out, and why, in words for the user."""

    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """The usable utterances of a corpus and what was skipped."""

    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def seconds(self) -> float:
        """Seconds of speech in all utterances."""
        return sum(utterance.duration for utterance in self.utterances)


@dataclass(frozen=True, slots=True)
class Segment:
    """A word, letter or phone in time: ``start`` and ``end`` in seconds, ``score`` a posterior in [0, 1].

    ``score`` is NaN where the source of the segment gives none.
    """

    symbol: str
    start: float
    end: float
    score: float = float("nan")
