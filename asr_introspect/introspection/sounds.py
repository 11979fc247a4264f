"""The sound of each letter of a transcript: the phone it spells, and when that is spoken."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Segment
from asr_introspect.corpus.spelling import spelled
from asr_introspect.recogniser.scoring import edit_alignment

UNKNOWN, SILENT = -1, -2
"""In place of a phone: nothing known (no alignment, another word, a space); a letter that spells no phone."""


@dataclass(frozen=True)
class Sounds:
    """Per character of a transcript, ``(L,)``.

    Parameters
    ----------
    middle
        Seconds of the middle of what it spells, NaN where it spells nothing or that is not known.
    phone
        Index into the given labels of the (first) phone it spells; :data:`UNKNOWN`, :data:`SILENT`.
    """

    middle: np.ndarray
    phone: np.ndarray


def letter_sounds(text: str, spoken: Alignment, labels: Sequence[str]) -> Sounds:
    """The sounds of the characters of a transcript.

    The transcript's words are matched with the alignment's in order; of a word whose spelling differs, or
    whose phones cannot be aligned with its letters, nothing is known.

    Parameters
    ----------
    text
        The transcript, upper case, single spaces.
    spoken
        Words and phones in time; a phone belongs to the word in whose span its middle lies.
    labels
        Names of phones without stress.
    """
    middle, phone = np.full(len(text), np.nan), np.full(len(text), UNKNOWN, np.int64)
    index = {name: i for i, name in enumerate(labels)}
    words = text.split(" ")
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    in_time = [word.symbol for word in spoken.words]
    for i, j in edit_alignment(words, in_time):
        if i is None or j is None or words[i] != in_time[j]:
            continue
        own = _phones_of(spoken.words[j], spoken.phones)
        taken = _spelled(words[i], tuple(without_stress(each.symbol) for each in own))
        for letter, places in enumerate(taken or ()):
            at = int(starts[i]) + letter
            if places:
                middle[at] = (own[places[0]].start + own[places[-1]].end) / 2
                phone[at] = index.get(without_stress(own[places[0]].symbol), UNKNOWN)
            elif words[i][letter].isalpha():
                phone[at] = SILENT
    return Sounds(middle, phone)


_spelled = functools.lru_cache(maxsize=1 << 16)(spelled)
"""Words come again, mostly with the same phones."""


def _phones_of(word: Segment, phones: Sequence[Segment]) -> list[Segment]:
    return [phone for phone in phones if word.start <= (phone.start + phone.end) / 2 < word.end]
