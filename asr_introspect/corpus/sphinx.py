"""Phone alignments for English speech without one, by PocketSphinx (extra ``phones``).

The settings were tried on LibriSpeech: with the default beams a fifth of the utterances is lost, with these
none. Against the Montreal Forced Aligner the boundaries come 10 ms early in the median, a constant that is
corrected here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from asr_introspect.corpus.alignments import Alignment, write_textgrid
from asr_introspect.corpus.audio import SAMPLE_RATE, read_audio
from asr_introspect.corpus.pronunciations import Lexicon, Pronunciation, missing_extra, pronounce
from asr_introspect.corpus.records import Segment, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.progress import bar, say

STEP_SECONDS = 0.01
EARLY_SECONDS = 0.01
"""PocketSphinx sets boundaries this much too early (median over 4,885 phones of 78 utterances)."""

WIDEST_BEAM = 1e-80


@dataclass(frozen=True)
class PhoneAlignments:
    """The alignments of a corpus.

    Parameters
    ----------
    alignments
        By the name of the utterance.
    guessed
        The words that PocketSphinx's dictionary lacks, and the pronunciation that each was given.
    skipped
        Utterances that could not be aligned, and why.
    """

    alignments: Mapping[str, Alignment]
    guessed: Mapping[str, Pronunciation]
    skipped: tuple[Skipped, ...]


class PhoneAligner:
    """One PocketSphinx decoder; its dictionary grows by the words that it meets, marked in ``guessed``.

    Parameters
    ----------
    lexicon
        The user's pronunciations of words that PocketSphinx's own dictionary lacks.

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
        self.guessed: dict[str, Pronunciation] = {}

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
        if [word.symbol for word in spoken] != words:
            raise IntrospectError(f"{utterance.name}: its words cannot be found in its sound")
        return Alignment(tuple(spoken), tuple(phones))

    def _learn(self, words: Sequence[str], utterance: str) -> None:
        """Adds the words that the decoder's dictionary lacks."""
        new = sorted({word for word in words if self._decoder.lookup_word(word.lower()) is None})
        for word in new:
            pronunciation = pronounce(word, self._lexicon)
            if pronunciation is None:
                raise IntrospectError(f"{utterance}: no pronunciation of {word}; give it in a lexicon")
            self._decoder.add_word(word.lower(), " ".join(pronunciation.phones), True)
            self.guessed[word] = pronunciation

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
) -> PhoneAlignments:
    """Aligns a corpus, in several processes; writes TextGrids where ``out`` is given.

    A TextGrid is named by its sound file and the two folders above it, so that
    :func:`~asr_introspect.corpus.alignment_files.read_alignments` finds it. What cannot be aligned is
    skipped.

    Parameters
    ----------
    workers
        Number of processes; one for each processor if not given.

    Raises
    ------
    IntrospectError
        The extra ``phones`` is not installed, no utterance can be aligned, or ``out`` cannot be written to.
    """
    aligned: dict[str, Alignment] = {}
    guessed: dict[str, Pronunciation] = {}
    skipped: list[Skipped] = []
    with bar("phones", sum(utterance.duration for utterance in utterances)) as moving:
        results = _results(utterances, lexicon, workers or os.cpu_count() or 1)
        for utterance, result in zip(utterances, results, strict=True):
            moving.update(utterance.duration)
            if isinstance(result, str):
                skipped.append(Skipped(utterance.name, result))
                continue
            aligned[utterance.name], words = result
            guessed.update(words)
            if out is not None:
                place = Path(out).joinpath(*utterance.audio.resolve().parts[-3:-1])
                path = place / f"{utterance.audio.stem}.TextGrid"
                write_textgrid(path, aligned[utterance.name], utterance.duration)
    if not aligned:
        reasons = "; ".join(item.reason for item in skipped[:3])
        raise IntrospectError(f"none of {len(utterances):,} utterances could be aligned: {reasons}")
    if guessed:
        by_source = [f"{_count(guessed, source)} by {source}" for source in ("lexicon", "cmudict", "gruut")]
        say(f"{len(guessed):,} words not in PocketSphinx's dictionary: {', '.join(by_source)}")
    return PhoneAlignments(aligned, guessed, tuple(skipped))


def _count(guessed: Mapping[str, Pronunciation], source: str) -> int:
    return sum(pronunciation.source == source for pronunciation in guessed.values())


Result = tuple[Alignment, dict[str, Pronunciation]] | str
"""An alignment and the pronunciations that the utterance's words were given, or why there is none."""


def _results(utterances: Sequence[Utterance], lexicon: Lexicon | None, workers: int) -> Iterator[Result]:
    """The result of each utterance, in order."""
    _start(lexicon)  # here too, so that a missing extra is said at once
    if workers == 1 or len(utterances) < 2:
        yield from map(_align, utterances)
        return
    # Fresh processes, not forks: threads of a parent may hold locks.
    processes = min(workers, len(utterances))
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (lexicon,)) as pool:
        try:
            yield from pool.map(_align, utterances, chunksize=4)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_aligner: PhoneAligner | None = None


def _start(lexicon: Lexicon | None) -> None:
    """Gives a process its aligner."""
    global _aligner
    _aligner = PhoneAligner(lexicon)


def _align(utterance: Utterance) -> Result:
    assert _aligner is not None
    try:
        alignment = _aligner.align(utterance, read_audio(utterance.audio))
    except IntrospectError as error:
        return str(error)
    words = set(utterance.text.split())
    return alignment, {word: how for word, how in _aligner.guessed.items() if word in words}
