"""What is known of an utterance before the net has heard it: its letters, its phones, a user's labels.

Groups are decided from these alone (:mod:`~asr_introspect.experiments.pass_groups`), and the pass looks its
instances up in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Segment
from asr_introspect.experiments.pass_groups import neighbours
from asr_introspect.introspection.sounds import SILENT, UNKNOWN, letter_sounds

TOUCHING_SECONDS = 0.001


@dataclass(frozen=True)
class Timeline:
    """Labels of an utterance in time.

    Parameters
    ----------
    label, start, end
        Per label its number and its seconds, ``(N,)``; a point of time starts and ends at once.
    parts
        By split the number of each label's value, -1 for none, ``(N,)``.
    """

    label: np.ndarray
    start: np.ndarray
    end: np.ndarray
    parts: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Transcript:
    """The letters of a transcript.

    Parameters
    ----------
    label
        Per letter its class, ``(L,)``.
    middle, phone
        Per letter the middle of the phone that it spells in seconds, NaN where not known; its index among
        the phonemes, or why there is none (see :mod:`introspection.sounds`), ``(L,)``.
    parts
        By split the number of each letter's value, -1 for none, ``(L,)``.
    """

    label: np.ndarray
    middle: np.ndarray
    phone: np.ndarray
    parts: Mapping[str, np.ndarray]


def transcript(
    text: str, classes: Sequence[int], spoken: Alignment | None, phonemes: Sequence[str], space: int
) -> Transcript:
    """The letters of a transcript, their neighbours, and the phones that they spell.

    Parameters
    ----------
    text, classes
        The transcript and the class of each of its characters.
    spoken
        Its phone alignment, where there is one.
    phonemes
        Names of phones; the value after the last one is a silent letter's.
    space
        The class of the space, which also stands before the first and after the last letter; -1 for none.
    """
    label = np.array(classes, np.int64)
    before, after = neighbours(label, beyond=space)
    middle, phone = np.full(len(label), np.nan), np.full(len(label), UNKNOWN, np.int64)
    if spoken is not None:
        sounds = letter_sounds(text, spoken, phonemes)
        middle, phone = sounds.middle, sounds.phone
    spelled = np.where(phone == SILENT, len(phonemes), np.maximum(phone, -1))
    return Transcript(label, middle, phone, {"previous": before, "next": after, "phone": spelled})


def spoken_timeline(phones: Sequence[Segment], labels: Sequence[str], stressed: bool = False) -> Timeline:
    """The phones of an alignment that are among the labels, their neighbours and their stress.

    Between phones that do not touch there is a pause: the value after the last label.

    Parameters
    ----------
    stressed
        Labels keep the digit of their stress.
    """
    index = {name: i for i, name in enumerate(labels)}
    names = [phone.symbol.upper() if stressed else without_stress(phone.symbol) for phone in phones]
    used = [(index[name], phone) for name, phone in zip(names, phones, strict=True) if name in index]
    label = np.array([number for number, _ in used], np.int64)
    start, end = (np.array([getattr(p, side) for _, p in used], np.float64) for side in ("start", "end"))
    before, after = neighbours(label, start[1:] - end[:-1] <= TOUCHING_SECONDS, beyond=len(labels))
    digits = [phone.symbol[-1:] for _, phone in used]
    stress = np.array([int(digit) if digit in ("0", "1", "2") else -1 for digit in digits], np.int64)
    return Timeline(label, start, end, {"previous": before, "next": after, "stress": stress})


def listed_timeline(rows: Sequence[tuple[float, str]], labels: Sequence[str]) -> Timeline:
    """The labels that a user's table lists for an utterance, and their neighbours."""
    index = {name: i for i, name in enumerate(labels)}
    label = np.array([index[name] for _, name in rows], np.int64)
    time = np.array([seconds for seconds, _ in rows], np.float64)
    before, after = neighbours(label)
    return Timeline(label, time, time, {"previous": before, "next": after})
