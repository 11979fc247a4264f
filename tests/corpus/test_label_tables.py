"""A user's own labels: read as they are written, and what cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_introspect.corpus.label_tables import read_label_table, read_label_tables
from asr_introspect.corpus.records import Utterance
from asr_introspect.errors import IntrospectError, UsageError

CORPUS = [Utterance(name, Path(f"{name}.wav"), "", "", "", 2.0) for name in ("one", "two words", "drei")]


def written(folder: Path, text: str | bytes, name: str = "breath.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("tab", [False, True])
def test_labels_by_utterance_in_order_of_time(tmp_path: Path, tab: bool) -> None:
    text = (
        'label,note,time,utterance\nin,x,1.5,one\nout,"a, b",0.25,one\n"in",y,0,two words\n<b>,,1.99,drei\n\n'
    )
    if tab:
        text = text.replace('"a, b"', "a b").replace(",", "\t")
    table = read_label_table(written(tmp_path, text), CORPUS)
    assert table.name == "breath"
    assert table.rows == {
        "one": ((0.25, "out"), (1.5, "in")),
        "two words": ((0.0, "in"),),
        "drei": ((1.99, "<b>"),),
    }
    assert table.labels == ("<b>", "in", "out")
    assert table.skipped == ()


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    lines = [
        *(
            "one,0.5,in",
            "one,2,in",
            "one,-0.1,in",
            "one,soon,in",
            "one,nan,in",
            "one,1",
            "one,1,",
            "one,1,a|b",
        ),
        *("elsewhere,0.1,in", "elsewhere,0.2,in", "../one,0.1,in", ",0.1,in"),
    ]
    table = read_label_table(written(tmp_path, "utterance,time,label\n" + "\n".join(lines)), CORPUS)
    assert table.rows == {"one": ((0.5, "in"),)}
    reasons = {each.item: each.reason for each in table.skipped}
    assert len(reasons) == 10
    assert reasons["line 3 of breath.csv"] == "the time 2 s lies outside the utterance (2.00 s)"
    assert "outside" in reasons["line 4 of breath.csv"]
    assert reasons["line 5 of breath.csv"] == "the time 'soon' is not a number of seconds"
    assert "outside" in reasons["line 6 of breath.csv"]
    assert reasons["line 7 of breath.csv"] == reasons["line 8 of breath.csv"] == "no label"
    assert "|" in reasons["line 9 of breath.csv"]
    assert reasons["utterance elsewhere of breath.csv"] == "not in the corpus (2 lines)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column utterance or time or label"),
        ("utterance,label\none,in\n", "no column time: its first line must name"),
        ("one,0.5,in\n", "no column"),
        ("utterance,time,label\n", "it has no lines"),
        ("utterance,time,label\nother,0.1,in\n", "says nothing of this corpus .*not in the corpus"),
        (b"utterance,time,label\none,0.1,\xff\xfe\n", "not a table of UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no column|not a table"),
        (b"utterance,time,label\none,0.1,a\x00b\n", None),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, text: str | bytes, says: str | None) -> None:
    path = written(tmp_path, text)
    if says is None:
        assert read_label_table(path, CORPUS).labels == ("a\x00b",)
        return
    with pytest.raises(IntrospectError, match=says) as raised:
        read_label_table(path, CORPUS)
    assert "\n" not in str(raised.value)
    assert "breath.csv" in str(raised.value)


def test_names_that_are_taken(tmp_path: Path) -> None:
    good = "utterance,time,label\none,0.1,in\n"
    for name in ("letters.csv", "joint.tsv", "phonemes.csv"):
        with pytest.raises(UsageError, match="cannot be called"):
            read_label_table(written(tmp_path, good, name), CORPUS)
    (tmp_path / "more").mkdir()
    both = [written(tmp_path, good), written(tmp_path / "more", good, "breath.tsv")]
    with pytest.raises(UsageError, match="two tables are called breath"):
        read_label_tables(both, CORPUS)
    assert len(read_label_tables([both[0], both[0]], CORPUS)) == 1
    with pytest.raises(IntrospectError, match=r"cannot read .*missing\.csv"):
        read_label_table(tmp_path / "missing.csv", CORPUS)
    with pytest.raises(IntrospectError, match="cannot read"):
        read_label_table(tmp_path, CORPUS)
