"""Alignment of a corpus: order, files, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from praatio import textgrid

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.align import align
from asr_introspect.features import extract
from asr_introspect.recogniser.alignment import align_text
from tests.experiments.recognisers import tiny_recogniser

TEXTS = {"1-1-0000": "DON'T STOP", "1-1-0001": "A BEE", "2-1-0000": "HELLO WORLD AGAIN"}


def test_lines_have_the_decided_form_and_order(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS))
    found = align(corpus, recogniser, out=tmp_path / "a.jsonl", textgrids=tmp_path / "grids")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["utterance"] for line in lines] == list(TEXTS)
    assert [each.utterance for each in found.utterances] == list(TEXTS)
    for line, text in zip(lines, TEXTS.values(), strict=True):
        assert set(line) == {"utterance", "duration", "words", "letters"}
        assert line["duration"] == 1.0
        assert [word["word"] for word in line["words"]] == text.split()
        assert "".join(letter["symbol"] for letter in line["letters"]) == text.replace(" ", "")
        assert all(set(letter) == {"symbol", "start", "end", "score"} for letter in line["letters"])
        times = [time for letter in line["letters"] for time in (letter["start"], letter["end"])]
        assert times == sorted(times)
        assert all(letter["end"] - letter["start"] > 0.014 for letter in line["letters"])
        assert 0 <= times[0] < times[-1] <= 1
        assert all(0 <= letter["score"] <= 1 for letter in line["letters"])


def test_it_is_the_alignment_of_each_utterance_alone(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS))
    for found, utterance in zip(align(corpus, recogniser).utterances, corpus.utterances, strict=True):
        waveform = soundfile.read(utterance.audio, dtype="float32")[0]
        with torch.no_grad():
            logits = recogniser.network(extract(waveform, recogniser.features)[None])[0]
        alone = align_text(recogniser, logits, utterance.text, utterance=utterance.name, duration=1.0)
        assert [(s.first, s.last) for s in found.spans] == [(s.first, s.last) for s in alone.spans]
        assert found.letters[0].score == pytest.approx(alone.letters[0].score, abs=1e-5)


def test_textgrids_say_the_same(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    found = align(make_corpus(TEXTS), tiny_recogniser(tmp_path), textgrids=tmp_path / "grids")
    for each in found.utterances:
        grid = textgrid.openTextgrid(str(tmp_path / "grids" / f"{each.utterance}.TextGrid"), False)
        assert grid.tierNames == ("words", "letters")
        for tier, segments in (("words", each.words), ("letters", each.letters)):
            entries = grid.getTier(tier).entries
            assert [entry.label for entry in entries] == [segment.symbol for segment in segments]
            for entry, segment in zip(entries, segments, strict=True):
                assert (entry.start, entry.end) == pytest.approx((segment.start, segment.end), abs=1e-6)


def renamed(corpus: Corpus, names: list[str]) -> Corpus:
    pairs = zip(corpus.utterances, names, strict=True)
    return dataclasses.replace(
        corpus, utterances=tuple(dataclasses.replace(each, name=name) for each, name in pairs)
    )


def test_names_never_leave_the_folder(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    names = ["../../escape", "a b'\"c\nd", "A/.."]
    corpus = renamed(read_corpus(make_corpus(TEXTS)), names)
    before = set(tmp_path.rglob("*"))
    align(corpus, tiny_recogniser(tmp_path), out=tmp_path / "g" / "a.jsonl", textgrids=tmp_path / "g" / "x")
    new = set(tmp_path.rglob("*")) - before
    assert sum(path.suffix == ".TextGrid" and path.parent == tmp_path / "g" / "x" for path in new) == 3
    assert not list(tmp_path.parent.glob("escape*"))
    lines = (tmp_path / "g" / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["utterance"] for line in lines] == names


def test_names_that_fold_to_one_file_are_numbered(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    corpus = renamed(read_corpus(make_corpus(TEXTS)), ["a/b", "a_b", "A_B"])
    align(corpus, tiny_recogniser(tmp_path), textgrids=tmp_path / "grids")
    assert len(list((tmp_path / "grids").iterdir())) == 3


def test_what_cannot_be_aligned_is_skipped_and_named(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    corpus = read_corpus(make_corpus(TEXTS))
    long, too_much, fine = corpus.utterances
    corpus = Corpus(
        (
            dataclasses.replace(long, duration=61.0),
            dataclasses.replace(too_much, text="AB" * 30),
            fine,
        )
    )
    recogniser = tiny_recogniser(tmp_path)
    found = align(corpus, recogniser)
    assert [each.utterance for each in found.utterances] == ["2-1-0000"]
    reasons = {item.item: item.reason for item in found.skipped}
    assert reasons["1-1-0000"] == "longer than 60 s: not aligned"
    assert reasons["1-1-0001"] == (
        "the transcript is too long for its audio: 60 symbols need 60 steps, there are 50"
    )
    with pytest.raises(IntrospectError, match="no utterance could be aligned"):
        align(Corpus(corpus.utterances[:2]), recogniser)


def test_an_unwritable_output_is_an_error(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IntrospectError, match="cannot write"):
        align(make_corpus(TEXTS), tiny_recogniser(tmp_path), out=tmp_path / "file" / "a.jsonl")


def test_a_manifest_that_claims_too_little_still_gives_whole_intervals(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    corpus = read_corpus(make_corpus({"1-1-0000": "ABCDEFGHIJ"}))
    short = dataclasses.replace(corpus.utterances[0], duration=0.1)
    (found,) = align(Corpus((short,)), tiny_recogniser(tmp_path), textgrids=tmp_path / "g").utterances
    assert found.duration == pytest.approx(1.0)
    assert all(letter.end > letter.start for letter in found.letters)
