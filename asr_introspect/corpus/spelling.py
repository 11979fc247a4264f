"""Which phone each letter of an English word spells: from the text alone, never from a recogniser's timing.

A word's letters and phones are aligned in order by units of 1 letter with 0, 1 or 2 phones or of 2 letters
with 1 phone *(choice: units of 2 letters with 0 or 2 phones are two units of 1 letter)*. Their probabilities
were learnt by EM over the CMU dictionary (Jiampojamarn et al. 2007; ``recipes/spelling/learn.py``); the best
alignment is Viterbi's. EM alone prefers few large units, so that the silent E of SLIDE spelled the D with
the letter before it: only units that English spelling has are learnt (:func:`possible`). Against alignments
by hand: ``tests/corpus/spelling_by_hand.tsv``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from asr_introspect.corpus.pronunciations import PHONES

Unit = tuple[str, tuple[str, ...]]
"""Letters and the phones (without stress) that they spell together."""

SHAPES = ((1, 1), (2, 1), (1, 0), (1, 2))
"""Letters and phones of a unit; of alignments of equal probability the one with earlier shapes is taken."""

UNSEEN = 1e-7
"""The probability of a unit that never occurred, so that every word of enough letters aligns."""

VOWELS = frozenset("AEIOUY")
VOWEL_PHONES = frozenset(phone for phone in PHONES if phone[0] in "AEIOU")
HUSHES = frozenset({"SH", "CH", "ZH", "JH"})

TABLE = Path(__file__).with_name("letter_phones.tsv")


@lru_cache(maxsize=1)
def english() -> Mapping[Unit, float]:
    """The probabilities of units in English, as learnt from the CMU dictionary."""
    table: dict[Unit, float] = {}
    for line in TABLE.read_text(encoding="ascii").splitlines():
        letters, phones, probability = line.split("\t")
        table[letters, tuple(phones.split())] = float(probability)
    return table


def spelled(
    word: str, phones: Sequence[str], table: Mapping[Unit, float] | None = None
) -> list[tuple[int, ...]] | None:
    """For each letter of a word the positions of the phones that it spells; () for a silent letter.

    Both letters of a unit of two have the same phone; X mostly has two phones. An apostrophe spells nothing.

    Parameters
    ----------
    word
        Upper case.
    phones
        Without stress.
    table
        Probabilities of units; :func:`english` if not given.

    Returns
    -------
    list or None
        None where no alignment exists: more than two phones a letter.
    """
    table = english() if table is None else table
    spoken = [i for i, letter in enumerate(word) if letter.isalpha()]
    letters = "".join(word[i] for i in spoken)
    best = [[-math.inf] * (len(phones) + 1) for _ in range(len(letters) + 1)]
    came: dict[tuple[int, int], tuple[int, int]] = {}
    best[0][0] = 0.0
    for i in range(len(letters) + 1):
        for j in range(len(phones) + 1):
            for m, n in SHAPES:
                if i < m or j < n or best[i - m][j - n] == -math.inf:
                    continue
                unit = (letters[i - m : i], tuple(phones[j - n : j]))
                found = best[i - m][j - n] + math.log(table.get(unit, UNSEEN ** (m + n)))
                if found > best[i][j]:
                    best[i][j] = found
                    came[i, j] = (m, n)
    i, j = len(letters), len(phones)
    if best[i][j] == -math.inf:
        return None
    taken: list[tuple[int, ...]] = [()] * len(word)
    while i or j:
        m, n = came[i, j]
        for letter in range(i - m, i):
            taken[spoken[letter]] = tuple(range(j - n, j))
        i, j = i - m, j - n
    return taken


def possible(letters: str, phones: Sequence[str]) -> bool:
    """Whether English spelling has such a unit *(choice)*; units of 1 letter with 0 or 1 phone always.

    Two letters spell one phone together where both are vowels (W and H may be the second: AW, AH) and so is
    the phone, where a vowel and R spell ER, where both are consonants and so is the phone (not after
    a silent H or L, and GH spells F or G: NIGHT, COULD), or where C, S, T or X spell SH, CH, ZH with a
    following I or E (NATION). One letter spells two phones where it is X, where
    a vowel has Y or W before it (USE, ONE), or where L, M, N or R is a syllable with AH (TABLE).
    """
    if len(letters) == 2:
        first, second = letters[0], letters[1]
        vowel = phones[0] in VOWEL_PHONES
        if first in VOWELS:
            return vowel and (second in VOWELS or second in "WH" or (second == "R" and phones[0] == "ER"))
        if second in VOWELS:
            return first in "CSTX" and second in "EI" and phones[0] in HUSHES
        silent = first == "H" or (first == "L" and second != "L")
        return not vowel and not silent and (letters != "GH" or phones[0] in ("F", "G"))
    if len(phones) == 2:
        before, after = phones
        if letters in VOWELS:
            return before in ("Y", "W") and after in VOWEL_PHONES
        return letters == "X" or (letters in "LMNR" and before == "AH" and after == letters)
    return True


def learn(
    pairs: Iterable[tuple[str, Sequence[str]]], rounds: int = 8, smallest: float = 1e-5
) -> dict[Unit, float]:
    """The probabilities of :func:`possible` units by EM over words and phones, starting from all alike.

    Parameters
    ----------
    pairs
        Words (letters only, upper case) and phones without stress.
    smallest
        Units below this probability are dropped at the end.
    """
    words = [(word, tuple(phones)) for word, phones in pairs if word]
    table: Mapping[Unit, float] | None = None
    for _ in range(rounds):
        counts: dict[Unit, float] = defaultdict(float)
        for word, phones in words:
            _expected(word, phones, table, counts)
        total = sum(counts.values())
        table = {unit: count / total for unit, count in counts.items()}
    return {unit: each for unit, each in (table or {}).items() if each >= smallest}


def _expected(
    word: str, phones: tuple[str, ...], table: Mapping[Unit, float] | None, counts: dict[Unit, float]
) -> None:
    """Adds the expected counts of one word's units (forward and backward sums)."""
    rows, columns = len(word) + 1, len(phones) + 1
    arcs = [
        (i, j, m, n, unit, 1.0 if table is None else table[unit])
        for i in range(rows)
        for j in range(columns)
        for m, n in SHAPES
        if i + m < rows and j + n < columns
        for unit in [(word[i : i + m], phones[j : j + n])]
        if (table is None and possible(*unit)) or (table is not None and unit in table)
    ]
    forward = [[0.0] * columns for _ in range(rows)]
    backward = [[0.0] * columns for _ in range(rows)]
    forward[0][0] = backward[-1][-1] = 1.0
    for i, j, m, n, _, weight in arcs:
        forward[i + m][j + n] += forward[i][j] * weight
    for i, j, m, n, _, weight in reversed(arcs):
        backward[i][j] += backward[i + m][j + n] * weight
    total = forward[-1][-1]
    if total > 0:
        for i, j, m, n, unit, weight in arcs:
            share = forward[i][j] * weight * backward[i + m][j + n]
            if share > 0:
                counts[unit] += share / total
