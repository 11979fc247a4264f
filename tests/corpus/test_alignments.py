"""TextGrids of both formats, with silences dropped; writing gives what was read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from praatio import textgrid
from praatio.utilities.constants import Interval

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment, read_textgrid, without_stress, write_textgrid
from asr_introspect.corpus.reading import alignments_folder, read_corpus
from asr_introspect.corpus.records import Segment, Skipped
from asr_introspect.errors import IntrospectError
from tests.conftest import CorpusMaker

WRITTEN = Alignment(
    (Segment("HELLO", 0.1, 0.5), Segment("IT'S", 0.5, 0.9)),
    (Segment("HH", 0.1, 0.2), Segment("AH0", 0.2, 0.5), Segment("IH1", 0.6, 0.9)),
)


def plain(alignment: Alignment) -> list[list[tuple[str, float, float]]]:
    """An alignment without the scores, which a TextGrid does not have."""
    return [[(s.symbol, s.start, s.end) for s in part] for part in (alignment.words, alignment.phones)]


@pytest.mark.parametrize("form", ["short_textgrid", "long_textgrid"])
def test_both_formats_are_read_and_silences_dropped(tmp_path: Path, form: str) -> None:
    grid = textgrid.Textgrid()
    words = [(0.0, 0.2, ""), (0.2, 0.5, "hello"), (0.5, 1.0, "<eps>")]
    phones = [(0.0, 0.2, "sil"), (0.2, 0.3, "HH"), (0.3, 0.4, "AH0"), (0.4, 0.5, "spn"), (0.5, 1.0, "sp")]
    grid.addTier(textgrid.IntervalTier("words", words, 0, 1))
    grid.addTier(textgrid.IntervalTier("phones", phones, 0, 1))
    grid.save(str(tmp_path / "a.TextGrid"), format=form, includeBlankSpaces=True)
    found = read_textgrid(tmp_path / "a.TextGrid")
    assert plain(found) == [[("HELLO", 0.2, 0.5)], [("HH", 0.2, 0.3), ("AH0", 0.3, 0.4)]]


def test_written_ones_are_read_again_by_us_and_by_praatio(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.TextGrid"
    write_textgrid(path, WRITTEN, 1.25)
    assert plain(read_textgrid(path)) == plain(WRITTEN)
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("words", "phones")
    assert grid.maxTimestamp == 1.25
    assert grid.getTier("phones").entries[0] == Interval(0.0, 0.1, "")


def test_an_empty_alignment(tmp_path: Path) -> None:
    write_textgrid(tmp_path / "a.TextGrid", Alignment((), ()), 1.0)
    assert read_textgrid(tmp_path / "a.TextGrid") == Alignment((), ())


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    overlapping = Alignment((Segment("A", 0.0, 0.5), Segment("B", 0.4, 0.9)), ())
    with pytest.raises(IntrospectError, match="cannot write"):
        write_textgrid(tmp_path / "a.TextGrid", overlapping, 1.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["", "hello", 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n']
)
def test_what_is_no_textgrid(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.TextGrid").write_text(content)
    with pytest.raises(IntrospectError, match=r"a\.TextGrid"):
        read_textgrid(tmp_path / "a.TextGrid")


def test_a_missing_tier_is_named(tmp_path: Path) -> None:
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("words", [(0.0, 1.0, "A")], 0, 1))
    grid.save(str(tmp_path / "a.TextGrid"), format="short_textgrid", includeBlankSpaces=True)
    with pytest.raises(IntrospectError, match="no tier named phones"):
        read_textgrid(tmp_path / "a.TextGrid")


def test_missing_and_broken_ones_are_counted(
    make_corpus: CorpusMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_corpus({f"1-2-000{i}": "HELLO IT'S" for i in range(3)})
    assert alignments_folder(root) is None
    write_textgrid(root / "alignments/1/2/1-2-0000.TextGrid", WRITTEN, 1.0)
    (root / "alignments/1/2/1-2-0001.TextGrid").write_text("broken")
    folder = alignments_folder(root)
    assert folder == root / "alignments"
    skipped: list[Skipped] = []
    found = read_alignments(folder, read_corpus(root).utterances, skipped)
    assert list(found) == ["1-2-0000"]
    assert [item.item for item in skipped] == ["1-2-0001"]
    assert "no phone alignment for 2 of 3 utterances (1 unreadable)" in capsys.readouterr().err


def test_one_name_in_two_folders(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    root = tmp_path / "c"
    for place, word in (("a", "FIRST"), ("b", "SECOND")):
        make_corpus({"1-2-0000": word}, folder=root / place)
        alignment = Alignment((Segment(word, 0.1, 0.9),), ())
        write_textgrid(root / "alignments" / place / "1/2/1-2-0000.TextGrid", alignment, 1.0)
    utterances = read_corpus(root).utterances
    found = read_alignments(root / "alignments", utterances)
    assert [found[u.name].words[0].symbol for u in utterances] == [u.text for u in utterances]


def test_folders_without_alignments(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    utterances = read_corpus(make_corpus({"1-2-0000": "A"})).utterances
    with pytest.raises(IntrospectError, match="no such file or folder"):
        read_alignments(tmp_path / "missing", utterances)
    with pytest.raises(IntrospectError, match="no such folder"):
        alignments_folder(tmp_path, tmp_path / "missing")
    with pytest.raises(IntrospectError, match="holds no phone alignments"):
        read_alignments(tmp_path, utterances)


def test_stress_is_left_out() -> None:
    assert [without_stress(phone) for phone in ("AH0", "ER1", "B", "zh")] == ["AH", "ER", "B", "ZH"]


@pytest.mark.speech
def test_real_alignments_hold_the_transcripts(sample: Path) -> None:
    utterances = read_corpus(sample).utterances
    folder = alignments_folder(sample)
    assert folder is not None
    found = read_alignments(folder, utterances)
    assert len(found) == 78
    agreeing = 0
    for utterance in utterances:
        alignment = found[utterance.name]
        agreeing += [word.symbol for word in alignment.words] == utterance.text.split()
        for part in (alignment.words, alignment.phones):
            assert all(a.end <= b.start + 1e-9 for a, b in pairwise(part))
            assert all(s.start < s.end for s in part)
    # The aligner wrote noise for a few words that it did not know.
    assert agreeing >= 60
