"""Boundaries against a reference whose distance is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment, write_textgrid
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus, Segment, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.align import align
from asr_introspect.experiments.boundaries import compare, evenly, phone_boundaries, word_boundaries
from asr_introspect.random import generator
from tests.experiments.recognisers import tiny_recogniser

TEXTS = {f"{speaker}-1-{n:04}": "ONE TWO THREE FOUR" for speaker in (1, 2) for n in range(4)}


def moved(words: tuple[Segment, ...], start: float, end: float) -> tuple[Segment, ...]:
    return tuple(Segment(word.symbol, word.start + start, word.end + end) for word in words)


def test_a_known_lag_is_found(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS, seconds=2.0))
    for each in align(corpus, recogniser).utterances:
        reference = Alignment(moved(each.words, -0.004, 0.003), ())
        write_textgrid(tmp_path / "grids" / f"{each.utterance}.TextGrid", reference, 2.1)
    rows = {
        (row.comparison, row.edge): row
        for row in word_boundaries(corpus, tmp_path / "grids", recogniser, seed=1)
    }
    start, end = rows["paired", "start"], rows["paired", "end"]
    assert start.count == end.count == 32
    assert (start.median.value, start.median.low, start.median.high) == pytest.approx([0.004] * 3, abs=1e-5)
    assert end.median.value == pytest.approx(-0.003, abs=1e-5)
    assert start.ninetieth.value == pytest.approx(0.004, abs=1e-5)
    assert [share.value for share in start.within] == [1, 1, 1]
    assert rows["nearest", "start"].ninetieth.value <= start.ninetieth.value + 1e-9
    for control in ("even", "shifted, nearest"):
        assert rows[control, "start"].within[0].value < 0.7
        assert rows[control, "start"].ninetieth.value > 0.02


def test_words_are_paired_by_what_they_say() -> None:
    words = [Segment("A", 0.1, 0.2), Segment("CAT", 0.3, 0.5), Segment("SAT", 0.6, 0.8)]
    reference = Alignment((Segment("A", 0.1, 0.2), Segment("<UNK>", 0.3, 0.5), Segment("SAT", 0.5, 0.9)), ())
    utterance = Utterance("u", Path("u"), "A CAT SAT", "s", "", 1.0)
    found = compare(utterance, words, reference, generator(0, "boundaries"))
    assert found is not None
    assert found["paired"]["start"] == pytest.approx([0, 0.1])
    assert found["paired"]["end"] == pytest.approx([0, -0.1])
    nothing = Alignment((Segment("DOG", 0.1, 0.2),), ())
    assert compare(utterance, words, nothing, generator(0, "boundaries")) is None


def test_evenly_spread_letters() -> None:
    words = evenly("AB CD", 1.0)
    assert [(w.symbol, round(w.start, 3), round(w.end, 3)) for w in words] == [("AB", 0, 0.4), ("CD", 0.6, 1)]


def test_nothing_to_compare_is_an_error(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    corpus = read_corpus(make_corpus({"1-1-0000": "ONE"}))
    reference = Alignment((Segment("OTHER", 0.1, 0.2),), ())
    write_textgrid(tmp_path / "grids" / "1-1-0000.TextGrid", reference, 1.0)
    with pytest.raises(IntrospectError, match="no word"):
        word_boundaries(corpus, tmp_path / "grids", tiny_recogniser(tmp_path))


def test_same_seed_same_rows(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS))
    for each in align(corpus, recogniser).utterances:
        jitter = generator(0, "jitter").normal(0, 0.001, len(each.words))
        words = tuple(
            Segment(w.symbol, w.start + abs(j), w.end) for w, j in zip(each.words, jitter, strict=True)
        )
        write_textgrid(tmp_path / "grids" / f"{each.utterance}.TextGrid", Alignment(words, ()), 1.1)
    one, two = (word_boundaries(corpus, tmp_path / "grids", recogniser, seed=5) for _ in range(2))
    assert one == two
    assert np.isfinite(one[0].median.low)


def phones_from(start: float, *symbols: str, each: float = 0.1) -> tuple[Segment, ...]:
    return tuple(Segment(s, start + k * each, start + (k + 1) * each) for k, s in enumerate(symbols))


def test_phones_are_compared_within_common_words(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    """By hand: one word unknown to the reference, one phone replaced, one left out, stress ignored."""
    corpus = read_corpus(make_corpus({"1-1-0000": "A CAT SAT DOWN"}, seconds=2.0))
    words = (
        Segment("A", 0.0, 0.1),
        Segment("CAT", 0.2, 0.5),
        Segment("<UNK>", 0.6, 0.9),
        Segment("DOWN", 1.0, 1.3),
    )
    phones = (
        *phones_from(0.0, "AH0"),
        *phones_from(0.2, "K", "AE1", "T"),
        *phones_from(1.0, "D", "AW1", "N"),
    )
    write_textgrid(tmp_path / "grids" / "1-1-0000.TextGrid", Alignment(words, phones), 2.0)
    ours = Alignment(
        (
            Segment("A", 0.02, 0.12),
            Segment("CAT", 0.22, 0.52),
            Segment("SAT", 0.6, 0.9),
            Segment("DOWN", 1.0, 1.3),
        ),
        (
            *phones_from(0.02, "EY"),
            *phones_from(0.22, "K", "AE", "T"),
            *phones_from(0.6, "S", "AE", "T"),
            Segment("D", 1.0, 1.1),
            Segment("N", 1.2, 1.3),
        ),
    )
    found = phone_boundaries(corpus, tmp_path / "grids", {"1-1-0000": ours})
    assert (found.utterances, found.words, found.phones, found.left_out) == (1, 3, 7, 1)
    assert found.differing.value == pytest.approx(2 / 7)
    rows = {(row.comparison, row.edge): row for row in found.rows}
    start = rows["paired", "start"]
    assert start.count == 5
    assert start.median.value == pytest.approx(0.02)
    # 20 ms counts as within 20 ms, though 0.22 - 0.2 is more than 0.02 in binary.
    assert [share.value for share in start.within] == [1, 1, 1]
    assert rows["paired", "end"].ninetieth.value == pytest.approx(0.02)
    # D and N of three phones: spread evenly over the word each lasts half of it.
    assert rows["even", "start"].within[0].value == pytest.approx(4 / 5)
    assert rows["even", "start"].within[1].value == 1
    with pytest.raises(IntrospectError, match="no phone"):
        phone_boundaries(corpus, tmp_path / "grids", {"1-1-0000": Alignment((), ())})


@pytest.mark.speech
def test_a_known_shift_of_real_phones_is_found(sample: Path) -> None:
    speech = Corpus(read_corpus(sample).utterances[:12])
    theirs = read_alignments(sample / "alignments", speech.utterances)
    later = {
        name: Alignment(moved(each.words, 0.03, 0.03), moved(each.phones, 0.03, 0.03))
        for name, each in theirs.items()
    }
    same, late = (phone_boundaries(speech, sample / "alignments", each) for each in (theirs, later))
    assert same.differing.value == late.differing.value == 0
    for found, shift in ((same, 0.0), (late, 0.03)):
        rows = {(row.comparison, row.edge): row for row in found.rows}
        for edge in ("start", "end"):
            assert rows["paired", edge].median.value == pytest.approx(shift, abs=1e-6)
            assert rows["paired", edge].within[0].value == (shift == 0)
            # The controls are worse than what they control for.
            assert rows["even", edge].within[0].value < 0.75
            assert rows["shifted, nearest", edge].within[0].value < 0.6
