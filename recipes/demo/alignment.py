"""Times of words and phones by PocketSphinx, from the sound and its text, as for anybody's own speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder
from praatio.textgrid import IntervalTier, Textgrid

STEP = 0.01
"""Seconds a PocketSphinx frame."""

EARLY = 0.01
"""PocketSphinx sets a boundary this many seconds early in the median (against the Montreal Forced Aligner,
4,885 phones of LibriSpeech)."""


@dataclass(frozen=True)
class Interval:
    """A word or a phone, in seconds."""

    start: float
    end: float
    label: str


class Aligner:
    """PocketSphinx for one process; the wide beams are what keeps it from losing utterances."""

    def __init__(self) -> None:
        self._decoder = Decoder(
            lm=None, beam=1e-80, pbeam=1e-80, wbeam=1e-80, bestpath=False, loglevel="FATAL"
        )

    def align(self, samples: NDArray[np.int16], transcript: str) -> tuple[list[Interval], list[Interval]]:
        """Words and phones that together fill the utterance, pauses included.

        Words are in lower case, pauses among them empty; phones are ARPAbet without stress, pauses ``sil``.

        Raises
        ------
        ValueError
            The words found are not those of the transcript.
        """
        self._decoder.set_align_text(transcript.lower())
        for align_phones in (False, True):
            if align_phones:
                self._decoder.set_alignment()
            self._decoder.start_utt()
            self._decoder.process_raw(samples.tobytes(), full_utt=True)
            self._decoder.end_utt()
        words: list[Interval] = []
        phones: list[Interval] = []
        for word in self._decoder.get_alignment():
            name = word.name.split("(")[0]
            if name.startswith(("<", "[", "+")):
                continue
            words.append(_interval(word.start, word.duration, name))
            phones.extend(_interval(phone.start, phone.duration, phone.name) for phone in word)
        if [word.label for word in words] != transcript.lower().split():
            raise ValueError(f"cannot align: {transcript}")
        seconds = len(samples) / 16000
        return _filled(words, seconds, ""), _filled(phones, seconds, "sil")


def _interval(start: int, frames: int, label: str) -> Interval:
    first = start * STEP + EARLY if start else 0.0
    return Interval(first, (start + frames) * STEP + EARLY, label)


def _filled(found: list[Interval], seconds: float, pause: str) -> list[Interval]:
    """The same with pauses between, before and after, up to the end; gaps under 5 ms are closed."""
    filled: list[Interval] = []
    now = 0.0
    for interval in found:
        start = interval.start if interval.start - now > STEP / 2 else now
        if start > now:
            filled.append(Interval(now, start, pause))
        now = min(interval.end, seconds) if seconds - interval.end > STEP / 2 else seconds
        filled.append(Interval(start, now, interval.label))
    if now < seconds:
        filled.append(Interval(now, seconds, pause))
    return filled


def write_textgrid(path: Path, words: list[Interval], phones: list[Interval], seconds: float) -> None:
    """Writes a Praat TextGrid in the short format, tiers ``words`` and ``phones``, times to 10 ms."""
    grid = Textgrid(0, round(seconds, 4))
    for name, intervals in (("words", words), ("phones", phones)):
        entries = [(round(i.start, 4), round(i.end, 4), i.label) for i in intervals]
        grid.addTier(IntervalTier(name, entries, 0, round(seconds, 4)))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(str(path), format="short_textgrid", includeBlankSpaces=True)
