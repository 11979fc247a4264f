"""Letters with the phones they spell: words checked by hand, EM against all alignments of a word."""

from __future__ import annotations

import itertools

import pytest

from asr_introspect.corpus.spelling import SHAPES, learn, spelled

# Each letter with what it spells; "-" is silent, a word's letters and phones are separated by spaces.
BY_HAND = """
T:DH H:DH E:AH
P:F H:F R:R A:EY S:Z E:-|Z
C:S I:IH T:T Y:IY
C:K A:AE T:T
K:N|- N:N I:AY F:F E:-
B:B O:AA X:K+S
T:TH H:TH O:AO|- U:AO G:-|AO H:-|T T:T
N:N I:AY G:-|AY H:-|T T:T
T:T A:EY B:B L:L|AH+L E:-
P:P E:IY O:IY P:P L:L|AH+L E:-
S:S C:K H:K O:UW O:UW L:L
N:N A:EY T:SH I:SH O:AH N:N
W:W H:W I:IH C:CH H:CH
B:B A:AE C:K K:K
H:HH A:AE P:P P:P Y:IY
L:L A:AE U:- G:F H:F
I:AY S:- L:L A:AH N:N D:D
T:T W:- O:UW
K:N|- N:N O:OW W:OW
W:R|- R:R I:AY T:T E:-|T
B:B R:R I:IH D:JH|- G:JH E:-
M:M A:AH C:SH H:SH I:IY N:N E:-|N
S:S U:AH C:K C:S E:EH S:S S:S
C:K O:-|K U:UH L:-|UH D:D
F:F R:R U:UW I:UW T:T
U:Y+UW S:S E:-
S:S H:SH|S
S:SH H:SH I:IH P:P
T:TH H:TH I:IH N:NG|N K:K
S:S I:IH N:NG G:NG
L:L O:AO|AA N:NG G:NG
D:D O:AO|AA G:G
Q:K U:W|K I:IH|W+IH T:T
J:JH U:AH M:M P:P
Z:Z E:IH|IY R:R O:OW
S:S N:N O:OW W:OW
D:D A:AW|AY Y:AY|EY
S:S E:IY E:IY
M:M Y:AY
W:W E:IY
"""


def cases() -> list[tuple[str, list[str], list[set[tuple[str, ...]]]]]:
    found = []
    for line in BY_HAND.strip().splitlines():
        parts = [part.split(":") for part in line.split()]
        wanted = [
            {() if option == "-" else tuple(option.split("+")) for option in options.split("|")}
            for _, options in parts
        ]
        found.append(("".join(letter for letter, _ in parts), line, wanted))
    return found


PHONES = {
    "THE": "DH AH",
    "PHRASE": "F R EY Z",
    "CITY": "S IH T IY",
    "CAT": "K AE T",
    "KNIFE": "N AY F",
    "BOX": "B AA K S",
    "THOUGHT": "TH AO T",
    "NIGHT": "N AY T",
    "TABLE": "T EY B AH L",
    "PEOPLE": "P IY P AH L",
    "SCHOOL": "S K UW L",
    "NATION": "N EY SH AH N",
    "WHICH": "W IH CH",
    "BACK": "B AE K",
    "HAPPY": "HH AE P IY",
    "LAUGH": "L AE F",
    "ISLAND": "AY L AH N D",
    "TWO": "T UW",
    "KNOW": "N OW",
    "WRITE": "R AY T",
    "BRIDGE": "B R IH JH",
    "MACHINE": "M AH SH IY N",
    "SUCCESS": "S AH K S EH S",
    "COULD": "K UH D",
    "FRUIT": "F R UW T",
    "USE": "Y UW S",
    "SHIP": "SH IH P",
    "THINK": "TH IH NG K",
    "SING": "S IH NG",
    "LONG": "L AO NG",
    "DOG": "D AO G",
    "QUIT": "K W IH T",
    "JUMP": "JH AH M P",
    "ZERO": "Z IH R OW",
    "SNOW": "S N OW",
    "SEE": "S IY",
    "MY": "M AY",
    "WE": "W IY",
}


@pytest.mark.parametrize("case", [case for case in cases() if case[0] in PHONES], ids=lambda case: case[0])
def test_words_checked_by_hand(case: tuple[str, str, list[set[tuple[str, ...]]]]) -> None:
    word, _, wanted = case
    phones = PHONES[word].split()
    found = spelled(word, phones)
    assert found is not None
    for letter, places, options in zip(word, found, wanted, strict=True):
        assert tuple(phones[i] for i in places) in options, (letter, found)


def test_every_phone_is_spelled_in_order() -> None:
    for word, phones in PHONES.items():
        found = spelled(word, phones.split())
        assert found is not None
        places = [place for each in found for place in each]
        assert places == sorted(places)
        assert set(places) == set(range(len(phones.split())))


def test_apostrophes_and_what_cannot_be() -> None:
    assert spelled("DON'T", ["D", "OW", "N", "T"]) == [(0,), (1,), (2,), (), (3,)]
    assert spelled("A", ["EY", "T", "S"]) is None
    assert spelled("", []) == []
    assert spelled("ZZXQ", ["AA"]) is not None  # never seen, still aligned


def test_expected_counts_are_those_of_all_alignments() -> None:
    """One round of EM from all alike: each alignment of a word counts by the product of its units."""
    pairs = [("ABC", ("x", "y")), ("AB", ("x",)), ("CA", ("y", "x", "z"))]
    counts: dict[tuple[str, tuple[str, ...]], float] = {}
    for word, phones in pairs:
        ways = []
        for size in range(1, len(word) + 1):
            for shapes in itertools.product(SHAPES, repeat=size):
                if sum(m for m, _ in shapes) == len(word) and sum(n for _, n in shapes) == len(phones):
                    i = j = 0
                    units = []
                    for m, n in shapes:
                        units.append((word[i : i + m], phones[j : j + n]))
                        i, j = i + m, j + n
                    ways.append(units)
        for units in ways:
            for unit in units:
                counts[unit] = counts.get(unit, 0) + 1 / len(ways)
    total = sum(counts.values())
    found = learn(pairs, rounds=1, smallest=0)
    assert found == pytest.approx({unit: count / total for unit, count in counts.items()})
