"""Scores of a corpus against jiwer, and what is left out of them."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jiwer
import pytest

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import evaluate
from asr_introspect.experiments.transcribe import transcribe
from asr_introspect.recogniser.ngrams import estimate
from asr_introspect.recogniser.symbols import letters, phonemes
from tests.experiments.recognisers import tiny_recogniser

TEXTS = {
    "1-1-0000": "DON'T STOP",
    "1-1-0001": "A B C",
    "1-2-0002": "HELLO WORLD AGAIN",
    "2-1-0000": "YES",
    "2-1-0001": "NO NO NO",
}


def test_rates_are_those_of_the_transcriptions(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS))
    found = evaluate(corpus, recogniser, out=tmp_path / "scores.csv")
    heard = transcribe([utterance.audio for utterance in corpus.utterances], recogniser)
    references = [utterance.text for utterance in corpus.utterances]
    hypotheses = [each.text for each in heard]
    assert [score.hypothesis for score in found.utterances] == hypotheses
    characters = jiwer.ReduceToListOfListOfChars()
    assert found.letter_error.rate == pytest.approx(
        jiwer.cer(references, hypotheses, reference_transform=characters, hypothesis_transform=characters)
    )
    words = jiwer.Compose([jiwer.RemoveMultipleSpaces(), jiwer.Strip(), jiwer.ReduceToListOfListOfWords()])
    assert found.word_error.rate == pytest.approx(
        jiwer.wer(references, hypotheses, reference_transform=words, hypothesis_transform=words)
    )
    assert found.seconds == pytest.approx(5.0)
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["utterance"] for row in rows] == [utterance.name for utterance in corpus.utterances]
    assert sum(int(row["letter_edits"]) for row in rows) == found.letter_error.edits


def test_a_row_per_speaker_adds_up(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    found = evaluate(make_corpus(TEXTS), tiny_recogniser(tmp_path))
    assert [(row.speaker, row.utterances) for row in found.speakers] == [("1", 3), ("2", 2)]
    assert sum(row.letter_error.edits for row in found.speakers) == found.letter_error.edits
    assert sum(row.word_error.length for row in found.speakers) == found.word_error.length == 12
    assert found.letter_error.length == sum(map(len, TEXTS.values()))


def test_a_perfect_recogniser_has_no_errors(
    tmp_path: Path, make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = tiny_recogniser(tmp_path)
    corpus = read_corpus(make_corpus(TEXTS))
    heard = transcribe([utterance.audio for utterance in corpus.utterances], recogniser)
    told = dataclasses.replace(
        corpus,
        utterances=tuple(
            dataclasses.replace(utterance, text=each.text)
            for utterance, each in zip(corpus.utterances, heard, strict=True)
        ),
    )
    found = evaluate(told, recogniser)
    assert (found.letter_error.rate, found.letter_error.high, found.word_error.rate) == (0, 0, 0)


def test_the_summary_is_json_with_the_decided_names(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    summary = evaluate(make_corpus({"1-1-0000": "YES"}), tiny_recogniser(tmp_path)).summary()
    assert {"utterances", "seconds", "letter_error_rate", "word_error_rate"} <= set(summary)
    assert summary["letter_error_interval"] is None  # one utterance: nothing to draw from
    json.dumps(summary, allow_nan=False)


def test_bad_items_are_skipped_counted_and_named(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    root = make_corpus({**TEXTS, "3-1-0000": "ROUTE 66", "3-1-0001": "FINE"})
    whole = (root / "3" / "1" / "3-1-0001.wav").read_bytes()
    (root / "3" / "1" / "3-1-0001.wav").write_bytes(whole[: len(whole) // 2])
    found = evaluate(root, tiny_recogniser(tmp_path))
    assert len(found.utterances) == 5
    assert {item.item for item in found.skipped} == {"3-1-0000", "3-1-0001"}
    assert found.summary()["skipped"] == 2


def test_a_corpus_that_only_breaks_when_decoded_is_an_error(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    corpus = read_corpus(make_corpus({"1-1-0000": "YES"}))
    corpus.utterances[0].audio.unlink()
    with pytest.raises(IntrospectError, match="no utterance could be scored"):
        evaluate(corpus, tiny_recogniser(tmp_path))


def test_max_utterances_and_other_symbols(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    root = make_corpus(TEXTS)
    recogniser = tiny_recogniser(tmp_path)
    assert len(evaluate(root, recogniser, max_utterances=2).utterances) == 2
    assert len(evaluate(read_corpus(root), recogniser, max_utterances=2).utterances) == 2
    with pytest.raises(IntrospectError, match="not letters"):
        evaluate(root, tiny_recogniser(tmp_path, phonemes()))


def test_a_language_model_that_knows_the_texts_helps_even_a_recogniser_that_knows_nothing(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    recogniser, corpus = tiny_recogniser(tmp_path), read_corpus(make_corpus(TEXTS))
    estimate(TEXTS.values(), letters().symbols[1:], order=5).write(tmp_path / "lm.arpa")
    greedy = evaluate(corpus, recogniser)
    found = evaluate(corpus, recogniser, decoder="beam", language_model=tmp_path / "lm.arpa")
    assert found.letter_error.edits < greedy.letter_error.edits
    assert greedy.summary()["decoder"] == "greedy"
    assert found.summary()["decoder"] == "beam"
    assert found.summary()["language_model"] == str(tmp_path / "lm.arpa")
    assert found.summary()["beam"]["size"] == 50
    heard = transcribe([utterance.audio for utterance in corpus.utterances], recogniser, decoder="beam")
    alone = evaluate(corpus, recogniser, decoder="beam")
    assert [score.hypothesis for score in alone.utterances] == [each.text for each in heard]
    assert alone.summary()["language_model"] is None
