"""Where a run's phones come from: files, PocketSphinx in the run's folder, or nowhere."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from asr_introspect.commands import main
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment, write_textgrid
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus, Segment
from asr_introspect.corpus.sphinx import PhoneAligner
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments import demo, phones
from asr_introspect.experiments.phones import (
    AUTO,
    align_in_run,
    phone_source,
    phones_in_run,
    read_phones,
)
from asr_introspect.reporting.summary import _phones_fact as phones_fact
from tests.experiments.recognisers import tiny_checkpoint

CorpusMaker = Callable[..., Path]


@pytest.fixture
def spoken(make_corpus: CorpusMaker) -> Path:
    """Two utterances, one with a TextGrid."""
    place = make_corpus({"1-2-0000": "A", "1-2-0001": "A"})
    alignment = Alignment((Segment("A", 0.1, 0.3),), (Segment("EY1", 0.1, 0.3),))
    write_textgrid(place / "alignments" / "1-2-0000.TextGrid", alignment, 1.0)
    return place


def test_what_lies_with_the_corpus_is_read_unasked(spoken: Path, tmp_path: Path) -> None:
    speech = read_corpus(spoken)
    source = phone_source(spoken, None)
    found = phones_in_run(source, read_phones(source, speech), speech, tmp_path)
    assert [phone.symbol for phone in found.alignments["1-2-0000"].phones] == ["EY1"]
    record = json.loads((tmp_path / "phones.json").read_text())
    assert record == {
        "source": "TextGrid",
        "place": str(spoken / "alignments"),
        "utterances": 1,
        "words": 1,
        "phones": 1,
        "missing": ["1-2-0001"],
    }
    assert source.settings(found) == {"alignments": str(spoken / "alignments")}
    assert found.summary()["missing"] == 1
    assert phones_fact(found.summary()).replace("\N{NO-BREAK SPACE}", " ") == (
        f"TextGrid, {spoken}/alignments; 1 phone in 1 utterance, none for 1 utterance"
    )


def test_what_lies_there_unasked_may_fail(
    spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (spoken / "alignments" / "1-2-0000.TextGrid").write_text("broken")
    speech = read_corpus(spoken)
    source = phone_source(spoken, None)
    found = phones_in_run(source, read_phones(source, speech), speech, tmp_path)
    assert "letters only: " in capsys.readouterr().err
    assert not found.alignments
    assert source.settings(found) == {"alignments": None}
    assert phones_fact(found.summary()) == "no phone alignments: letters only"
    with pytest.raises(IntrospectError, match="is not a TextGrid"):
        read_phones(phone_source(spoken, spoken / "alignments"), speech)


def test_words_without_phones_are_refused(spoken: Path, tmp_path: Path) -> None:
    place = tmp_path / "1-2.alignment.txt"
    place.write_text('1-2-0000 ",A," "0.1,0.3,1.0"\n')
    with pytest.raises(IntrospectError, match=r"condensed text\) holds words but no phones; .*auto"):
        read_phones(phone_source(spoken, place), read_corpus(spoken))


def test_a_corpus_in_memory_has_no_folder(spoken: Path) -> None:
    assert phone_source(Corpus(()), None).place is None
    assert phone_source(Corpus(()), "somewhere").place == Path("somewhere")


def test_wrong_calls(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="only with --alignments auto"):
        phone_source(spoken, None, tmp_path / "lexicon.txt")
    with pytest.raises(IntrospectError, match=r"no such file or folder: Auto; did you mean auto\?"):
        phone_source(spoken, "Auto")
    with pytest.raises(UsageError, match="cannot be used with --shard"):
        phone_source(spoken, AUTO, of_shard=True)
    with pytest.raises(IntrospectError, match="cannot read"):
        phone_source(spoken, AUTO, tmp_path / "lexicon.txt")
    monkeypatch.setattr(phones, "find_spec", lambda name: None)
    with pytest.raises(IntrospectError, match=r"pip install 'asr-introspect\[phones\]'"):
        phone_source(spoken, AUTO)


def test_without_the_extra_the_command_says_how_to_get_it(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    monkeypatch.setattr(phones, "find_spec", lambda name: None)
    call = ["introspect", "--corpus", str(spoken), "--out", str(tmp_path / "run"), "--alignments", "auto"]
    assert main(call) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "pip install 'asr-introspect[phones]'" in line
    assert not (tmp_path / "run" / "alignments").exists()


@pytest.mark.parametrize(("installed", "named", "wanted"), [(True, None, AUTO), (False, None, None)])
def test_demo_aligns_foreign_speech_where_it_can(
    installed: bool,
    named: str | None,
    wanted: str | None,
    make_corpus: CorpusMaker,
    spoken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[object] = []
    monkeypatch.setattr(demo, "introspect", lambda *_, alignments, **__: given.append(alignments))
    monkeypatch.setattr(demo, "can_align", lambda: installed)
    demo.demo(None, make_corpus({"3-4-0000": "A"}, folder=tmp_path / "bare"), alignments=named)
    demo.demo(None, spoken)
    demo.demo(None, spoken, alignments="here")
    demo.demo(None, None)
    assert given == [wanted, None, "here", None]


@pytest.fixture(scope="module")
def few(sample: Path) -> Corpus:
    utterances = sorted(read_corpus(sample).utterances, key=lambda utterance: utterance.duration)
    return Corpus(tuple(utterances[:3]))


def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the utterances that PocketSphinx is given from now on."""
    pytest.importorskip("pocketsphinx")
    names: list[str] = []
    align = PhoneAligner.align

    def listening(self: PhoneAligner, utterance: object, audio: object) -> Alignment:
        names.append(utterance.name)  # type: ignore[attr-defined]
        return align(self, utterance, audio)  # type: ignore[arg-type]

    monkeypatch.setattr(PhoneAligner, "align", listening)
    return names


def names_of(speech: Corpus) -> Sequence[str]:
    return [utterance.name for utterance in speech.utterances]


@pytest.mark.speech
def test_aligned_in_the_run_once(few: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = heard(monkeypatch)
    source = phone_source(few, AUTO)
    first = align_in_run(source, few, tmp_path, workers=1)
    assert names == names_of(few)
    again = align_in_run(source, few, tmp_path, workers=1)
    assert names == names_of(few)
    assert str(again) == str(first)
    kept = read_alignments(tmp_path / "alignments", few.utterances)
    assert str(kept) == str(dict(first.alignments))

    # Stopped before the end: what is missing is aligned, the counts are those of all.
    record = json.loads((tmp_path / "phones.json").read_text())
    (tmp_path / "phones.json").write_text(json.dumps({**record, "words": None}))
    sorted((tmp_path / "alignments").rglob("*.TextGrid"))[0].unlink()
    third = align_in_run(source, few, tmp_path, workers=1)
    assert len(names) == 4
    assert str(third) == str(first)
    assert json.loads((tmp_path / "phones.json").read_text()) == record

    words = sum(len(utterance.text.split()) for utterance in few.utterances)
    assert record["words"] == words == sum(record["pronunciations"].values())
    assert record["phones"] == sum(len(alignment.phones) for alignment in first.alignments.values())
    assert record["missing"] == []


@pytest.mark.speech
def test_another_corpus_or_lexicon_is_aligned_anew(
    few: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = heard(monkeypatch)
    one = Corpus(few.utterances[:1])
    align_in_run(phone_source(one, AUTO), one, tmp_path, workers=1)
    two = Corpus(few.utterances[1:2])
    align_in_run(phone_source(two, AUTO), two, tmp_path, workers=1)
    assert len(list((tmp_path / "alignments").rglob("*.TextGrid"))) == 1
    lexicon = tmp_path / "lexicon.txt"
    word = two.utterances[0].text.split()[0]
    lexicon.write_text(f"{word} Z UH ZH\n")
    source = phone_source(two, AUTO, lexicon)
    found = align_in_run(source, two, tmp_path, workers=1)
    assert names == [one.utterances[0].name, two.utterances[0].name, two.utterances[0].name]
    assert source.settings(found) == {"alignments": "auto", "lexicon": source.lexicon_sha256}
    # The dictionary knows the word and the sound fits its own pronunciation better.
    assert [phone.symbol for phone in found.alignments[two.utterances[0].name].phones][:3] != [
        "Z",
        "UH",
        "ZH",
    ]


@pytest.mark.parametrize("record", [None, {"source": "TextGrid"}, ["PocketSphinx"]])
def test_alignments_of_others_are_left_alone(record: object, spoken: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    theirs = tmp_path / "alignments" / "mine.TextGrid"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    if record is not None:
        (tmp_path / "phones.json").write_text(json.dumps(record))
    with pytest.raises(IntrospectError, match="was not made by --alignments auto; remove it"):
        align_in_run(phone_source(spoken, AUTO), read_corpus(spoken), tmp_path)
    assert theirs.read_text() == "precious"


@pytest.mark.speech
def test_guesses_are_counted_and_said(few: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(monkeypatch)
    utterance = few.utterances[0]
    _, *rest = utterance.text.split()
    renamed = Corpus((dataclasses.replace(utterance, text=" ".join(["ZORBLEQ", *rest])),))
    found = align_in_run(phone_source(renamed, AUTO), renamed, tmp_path, workers=1)
    with (tmp_path / "pronunciations.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["word"], row["source"], row["spoken"]) == ("ZORBLEQ", "model", "1")
    assert found.record["guessed_share"] == 1 / (1 + len(rest))
    assert found.record["pronunciations"]["model"] == 1
    fact = phones_fact(found.summary())
    assert "aligned by PocketSphinx" in fact
    assert "boundaries moved 10 ms later" in fact
    assert "of the spoken words are not in its dictionary: pronounced 1 by a letter-to-phone model" in fact


@pytest.mark.speech
def test_the_command_and_its_page(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From speech without alignments to phonemes on the page."""
    names = heard(monkeypatch)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr("asr_introspect.experiments.report.write_heat_maps", lambda maps, folder: [])
    out = tmp_path / "run"
    call = ["introspect", "--corpus", str(sample / "LibriSpeech"), "--out", str(out), "--alignments", "auto"]
    call += ["--checkpoint", str(tiny_checkpoint(tmp_path)), "--max-utterances", "2"]
    assert main([*call, "--no-sketches"]) == 0
    assert len(names) == 2
    settings = json.loads((out / "run.json").read_text())["parts"]["introspect"]["settings"]
    assert settings["alignments"] == "auto"
    with (out / "instances.csv").open(encoding="utf-8") as file:
        phonemes = [row["label"] for row in csv.DictReader(file) if row["kind"] == "phoneme"]
    kept = read_alignments(out / "alignments", read_corpus(sample, 2).utterances)
    assert sorted(phonemes) == sorted(p.symbol for each in kept.values() for p in each.phones)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "aligned by PocketSphinx" in page
