"""When the phone that a letter spells is spoken."""

from __future__ import annotations

import numpy as np

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.records import Segment
from asr_introspect.introspection.sounds import SILENT, UNKNOWN, letter_sounds

LABELS = ("AA", "AY", "B", "F", "K", "N", "S")


def spoken() -> Alignment:
    words = (Segment("KNIFE", 0.0, 0.3), Segment("BOX", 0.5, 0.9))
    phones = [("N", 0.0, 0.1), ("AY1", 0.1, 0.2), ("F", 0.2, 0.3), ("B", 0.5, 0.6)]
    phones += [("AA1", 0.6, 0.7), ("K", 0.7, 0.8), ("S", 0.8, 0.9)]
    return Alignment(words, tuple(Segment(*phone) for phone in phones))


def test_letters_have_the_middle_of_their_phones() -> None:
    found = letter_sounds("KNIFE BOX", spoken(), LABELS)
    named = [LABELS[i] if i >= 0 else i for i in found.phone]
    assert named == ["N", "N", "AY", "F", SILENT, UNKNOWN, "B", "AA", "K"]
    np.testing.assert_allclose(
        found.middle,
        [0.05, 0.05, 0.15, 0.25, np.nan, np.nan, 0.55, 0.65, 0.8],  # X is K and S
    )


def test_other_words_are_unknown_and_the_rest_still_matches() -> None:
    found = letter_sounds("KNIVES A BOX", spoken(), LABELS)
    assert (found.phone[:9] == UNKNOWN).all()
    assert [LABELS[i] for i in found.phone[9:]] == ["B", "AA", "K"]


def test_no_words_in_time() -> None:
    found = letter_sounds("BOX", Alignment((), ()), LABELS)
    assert np.isnan(found.middle).all()
    assert (found.phone == UNKNOWN).all()
