"""Alignments in all forms: real TextGrids turned into each of them by other means are read as the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from praatio import textgrid

from asr_introspect.corpus.alignment_files import CorpusAlignments, find_alignments, read_alignments
from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Segment, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from tests.conftest import CorpusMaker

Plain = tuple[list[tuple[str, float, float]], list[tuple[str, float, float]]]
Tiers = Mapping[str, Sequence[tuple[float, float, str]]]

HELLO: dict[str, list[tuple[float, float, str]]] = {
    "words": [(0.0, 0.1, ""), (0.1, 0.5, "HELLO"), (0.5, 0.9, "IT'S")],
    "phones": [(0.1, 0.2, "HH"), (0.2, 0.5, "AH0")],
}
AS_READ = (
    [("HELLO", 0.1, 0.5), ("IT'S", 0.5, 0.9)],
    [("HH", 0.1, 0.2), ("AH0", 0.2, 0.5)],
)


def plain(alignment: Alignment) -> Plain:
    words, phones = (
        [(s.symbol, s.start, s.end) for s in part] for part in (alignment.words, alignment.phones)
    )
    return words, phones


def assert_same(found: Alignment, wanted: Alignment, tolerance: float, phones: bool = True) -> None:
    for ours, theirs in zip(plain(found), plain(wanted), strict=True):
        if not phones and ours == []:
            continue
        assert [each[0] for each in ours] == [each[0] for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one[1:] == pytest.approx(other[1:], abs=tolerance)


def tiers_of(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """Everything in a TextGrid, silences too, by praatio."""
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    return {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames}


def as_ctm(grids: Mapping[str, Tiers], folder: Path) -> Path:
    """Kaldi's two files, with marks of place, silences and confidences."""
    folder.mkdir()
    for kind in ("words", "phones"):
        with (folder / f"ali.{kind}.ctm").open("w") as file:
            file.write(";; made for a test\n")
            for name, tiers in grids.items():
                for start, end, label in tiers[kind]:
                    symbol = label or ("<eps>" if kind == "words" else "SIL")
                    mark = "_I" if kind == "phones" else ""
                    file.write(f"{name} 1 {start:.3f} {end - start:.3f} {symbol}{mark} 1.00\n")
    return folder


def as_condensed(grids: Mapping[str, Tiers], folder: Path) -> Path:
    """A text for each chapter, as LibriSpeech-Alignments describes it."""
    for name, tiers in grids.items():
        speaker, chapter, _ = name.split("-")
        place = folder / speaker / chapter
        place.mkdir(parents=True, exist_ok=True)
        entries = list(tiers["words"])
        if entries[0][2]:
            entries.insert(0, (0.0, 0.0, ""))
        if entries[-1][2]:
            entries.append((entries[-1][1], entries[-1][1], ""))
        words = ",".join(label.upper() for _, _, label in entries)
        ends = ",".join(f"{end:.3f}" for _, end, _ in entries)
        with (place / f"{speaker}-{chapter}.alignment.txt").open("a") as file:
            file.write(f'{name} "{words}" "{ends}" \n')
    return folder


def as_our_json(grids: Mapping[str, Tiers], folder: Path) -> Path:
    folder.mkdir()
    with (folder / "times.jsonl").open("w") as file:
        for name, tiers in grids.items():
            words, phones = (
                [{key: label, "start": start, "end": end} for start, end, label in tiers[kind] if label]
                for kind, key in (("words", "word"), ("phones", "symbol"))
            )
            line = {"utterance": name, "duration": 12.0, "words": words, "phones": phones}
            file.write(json.dumps(line) + "\n")
    return folder / "times.jsonl"


def as_montreal_json(grids: Mapping[str, Tiers], folder: Path) -> Path:
    folder.mkdir()
    for name, tiers in grids.items():
        made = {
            kind: {"type": "interval", "entries": [entry for entry in entries if entry[2]]}
            for kind, entries in tiers.items()
        }
        (folder / f"{name}.json").write_text(json.dumps({"start": 0, "end": 12.0, "tiers": made}, indent=4))
    return folder


FORMS: dict[str, tuple[Callable[[Mapping[str, Tiers], Path], Path], str, bool]] = {
    "CTM": (as_ctm, "CTM", True),
    "condensed": (as_condensed, "condensed text", False),
    "our JSON": (as_our_json, "JSON", True),
    "Montreal JSON": (as_montreal_json, "JSON", True),
}


@pytest.mark.speech
@pytest.mark.parametrize("form", FORMS)
def test_real_textgrids_in_every_form_are_the_same(form: str, sample: Path, tmp_path: Path) -> None:
    make, kind, phones = FORMS[form]
    utterances = read_corpus(sample).utterances
    wanted = read_alignments(sample / "alignments", utterances)
    paths = sorted((sample / "alignments").rglob("*.TextGrid"))
    place = make({path.stem: tiers_of(path) for path in paths}, tmp_path / "made")
    found = find_alignments(place, utterances)
    assert (found.kind, found.has_phones, found.missing, found.unreadable) == (kind, phones, (), ())
    assert len(found.alignments) == 78
    for name, alignment in found.alignments.items():
        # The files above have three decimals, like the TextGrids.
        assert_same(alignment, wanted[name], 0.00051, phones)


@pytest.fixture
def two(make_corpus: CorpusMaker) -> Sequence[Utterance]:
    return read_corpus(make_corpus({"1-2-0000": "HELLO IT'S", "1-2-0001": "HELLO IT'S"})).utterances


def found_in(place: Path, utterances: Sequence[Utterance]) -> CorpusAlignments:
    return find_alignments(place, utterances)


def test_a_file_without_a_telling_name_is_known_by_its_content(
    tmp_path: Path, two: Sequence[Utterance]
) -> None:
    made = {"1-2-0000": HELLO}
    contents = {
        "TextGrid": None,
        "JSON": as_our_json(made, tmp_path / "j").read_text(),
        "CTM": (as_ctm(made, tmp_path / "c") / "ali.phones.ctm").read_text(),
        "condensed text": (as_condensed(made, tmp_path / "t") / "1/2/1-2.alignment.txt").read_text(),
    }
    for kind, content in contents.items():
        place = tmp_path / "1-2-0000"
        if content is None:
            grid = textgrid.Textgrid()
            for name, entries in HELLO.items():
                grid.addTier(textgrid.IntervalTier(name, entries, 0, 1))
            grid.save(str(place), format="long_textgrid", includeBlankSpaces=True)
        else:
            place.write_text(content)
        found = found_in(place, two)
        assert (found.kind, found.missing) == (kind, ("1-2-0001",))
        words, phones = plain(found.alignments["1-2-0000"])
        assert (words, phones) == (
            [] if kind == "CTM" else AS_READ[0],
            [] if kind == "condensed text" else AS_READ[1],
        )


def test_words_and_phones_of_a_ctm_are_told_apart(tmp_path: Path, two: Sequence[Utterance]) -> None:
    folder = as_ctm({"1-2-0000": HELLO}, tmp_path / "c")
    (folder / "ali.words.ctm").rename(folder / "a.ctm")
    (folder / "ali.phones.ctm").rename(folder / "b.ctm")
    assert plain(found_in(folder, two).alignments["1-2-0000"]) == AS_READ
    foreign = "1-2-0000 1 0.1 0.2 ʃ\n1-2-0000 1 0.3 0.2 ø\n"
    (tmp_path / "x.ctm").write_text(foreign)
    with pytest.raises(IntrospectError, match=r"cannot tell .*NAME\.phones\.ctm"):
        found_in(tmp_path / "x.ctm", two)
    (tmp_path / "x.phones.ctm").write_text(foreign)
    assert plain(found_in(tmp_path / "x.phones.ctm", two).alignments["1-2-0000"])[1] == [
        ("ʃ", 0.1, 0.3),
        ("ø", 0.3, 0.5),
    ]


def test_tiers_of_a_speaker(tmp_path: Path, two: Sequence[Utterance]) -> None:
    """The Montreal Forced Aligner names tiers by speaker where it was told of one."""
    grid = textgrid.Textgrid()
    for name, entries in HELLO.items():
        grid.addTier(textgrid.IntervalTier(f"84 - {name}", entries, 0, 1))
    grid.save(str(tmp_path / "1-2-0000.textgrid"), format="short_textgrid", includeBlankSpaces=True)
    assert plain(found_in(tmp_path, two).alignments["1-2-0000"]) == AS_READ
    grid.addTier(textgrid.IntervalTier("85 - phones", HELLO["phones"], 0, 1))
    grid.save(str(tmp_path / "1-2-0000.textgrid"), format="short_textgrid", includeBlankSpaces=True)
    with pytest.raises(IntrospectError, match=r"several tiers named phones .*85 - phones"):
        found_in(tmp_path, two)


BAD: dict[str, list[tuple[str | bytes, str]]] = {
    "a.ctm": [
        ("1-2-0000 1 0.1 0.2\n", "line 1: not utterance, channel, start, duration, symbol"),
        ("1-2-0000 1 0.1 AH 0.2\n", "line 1: not utterance"),
        ("1-2-0000 1 nan 0.1 AH\n", "line 1: not utterance"),
        ("1-2-0000 1 0.1 -0.2 AH\n", "AH from 0.1 to -0.1 s"),
        ("1-2-0000 1 -0.1 0.2 AH\n", "AH from -0.1"),
        ("1-2-0000 1 0.1 0.5 AH\n1-2-0000 1 0.3 0.5 B\n", "AH and B overlap at 0.3 s"),
        ("", "holds no readable CTM of any of the 2"),
        ("1-2-0007 1 0.1 0.2 AH\n", "holds no readable CTM of any of the 2"),
        (b"\xff\xfe", "not UTF-8"),
    ],
    "a.jsonl": [
        ("{", "line 1: not JSON"),
        ('{"utterance": "1-2-0000"}\n', r"a\.jsonl: not an alignment"),
        (
            '{"utterance": "x", "words": []}\n{"utterance": "1-2-0000", "words": [{"word": "A"}]}\n',
            "line 2: not an",
        ),
        ("[1, 2]\n[3]\n", "line 1: not an alignment"),
        (
            '{"utterance": "1-2-0000", "words": [], "phones": [{"symbol": "B", "start": NaN, "end": 1}]}',
            "cannot be used",
        ),
    ],
    "1-2-0000.json": [
        ('{"start": 0, "tiers": {"phone": {"entries": []}}}', "no tier named words .*'phone'"),
        ('{"start": 0, "tiers": []}', "not an alignment"),
    ],
    "a.alignment.txt": [
        ("1-2-0000 HELLO 0.1\n", 'line 1: not NAME ",WORD'),
        ('1-2-0000 ",HELLO," "0.1,0.5"\n', 'line 1: not NAME ",WORD'),
        ('1-2-0000 ",HELLO," "0.1,0.5,x"\n', 'line 1: not NAME ",WORD'),
        ('1-2-0000 ",HELLO," "0.5,0.1,0.6"\n', "HELLO from 0.5 to 0.1 s"),
    ],
    "a.txt": [("hello there\n", "a.txt is no phone alignment"), ("", "a.txt is no phone alignment")],
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [(name, content, message) for name, cases in BAD.items() for content, message in cases],
)
def test_bad_files_are_named(
    name: str, content: str | bytes, message: str, tmp_path: Path, two: Sequence[Utterance]
) -> None:
    place = tmp_path / "made" / name
    place.parent.mkdir()
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(IntrospectError, match=message) as caught:
        found_in(place, two)
    assert "\n" not in str(caught.value)


def test_a_bad_utterance_does_not_take_others_with_it(
    tmp_path: Path, two: Sequence[Utterance], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.phones.ctm").write_text("1-2-0000 1 0.1 0.0 AH\n1-2-0001 1 0.1 0.2 AH\n")
    (tmp_path / "b.phones.ctm").write_text("broken\n")
    skipped: list[Skipped] = []
    assert list(read_alignments(tmp_path, two, skipped)) == ["1-2-0001"]
    assert [item.item for item in skipped] == ["1-2-0000", "b.phones.ctm"]
    said = capsys.readouterr().err
    assert "no phone alignment for 1 of 2 utterances (2 unreadable): 1-2-0000" in said


def test_steps_of_ten_milliseconds_may_overlap_by_one(tmp_path: Path, two: Sequence[Utterance]) -> None:
    (tmp_path / "a.phones.ctm").write_text("1-2-0000 1 0.10 0.21 AH\n1-2-0000 1 0.30 0.20 B\n")
    phones = found_in(tmp_path, two).alignments["1-2-0000"].phones
    assert [(each.start, each.end) for each in phones] == [(0.1, 0.31), (0.31, 0.5)]


def test_near_misses_are_named(tmp_path: Path, two: Sequence[Utterance]) -> None:
    (tmp_path / "alignments").mkdir()
    with pytest.raises(
        IntrospectError, match=r"no such file or folder: .*alignment; did you mean .*alignments"
    ):
        found_in(tmp_path / "alignment", two)
    with pytest.raises(IntrospectError, match="it is empty"):
        found_in(tmp_path / "alignments", two)
    for name in ("a.lab", "b.lab", "grids.zip"):
        (tmp_path / "alignments" / name).write_text("")
    with pytest.raises(IntrospectError, match=r"there are only 2 \.lab, 1 \.zip files"):
        found_in(tmp_path / "alignments", two)
    other = as_our_json({"other-1": HELLO, "other-2": HELLO}, tmp_path / "other")
    with pytest.raises(IntrospectError, match=r"holds no readable JSON of any of the 2 utterances"):
        found_in(other, two)
    grid = textgrid.Textgrid()
    for name, entries in HELLO.items():
        grid.addTier(textgrid.IntervalTier(name, entries, 0, 1))
    grid.save(str(tmp_path / "alignments" / "x.TextGrid"), format="short_textgrid", includeBlankSpaces=True)
    with pytest.raises(IntrospectError, match=r"\(x is there, 1-2-0000 is wanted\)"):
        found_in(tmp_path / "alignments", two)


def test_one_name_in_two_chapters_of_condensed_text(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    """The same names in two corpora side by side: the folders decide."""
    root = tmp_path / "c"
    for place, word in (("a", "FIRST"), ("b", "SECOND")):
        make_corpus({"1-2-0000": word}, folder=root / place)
        as_condensed({"1-2-0000": {"words": [(0.1, 0.9, word)]}}, root / "alignments" / place)
    utterances = read_corpus(root).utterances
    found = read_alignments(root / "alignments", utterances)
    assert [found[u.name].words for u in utterances] == [
        (Segment(u.text, 0.0, 0.9, found[u.name].words[0].score),) for u in utterances
    ]
