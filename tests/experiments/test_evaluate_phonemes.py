"""Phoneme error against jiwer over the same words, and what cannot be scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import jiwer
import pytest

from asr_introspect.commands import main
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import evaluate
from asr_introspect.experiments.evaluate_phonemes import evaluate_phonemes
from asr_introspect.recogniser.symbols import phonemes
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser

Maker = Callable[..., Path]
SPOKEN = {"1-1-0000": "Y EH1 S", "1-1-0001": "N OW1 N OW0", "2-1-0000": "Y AA0", "2-1-0001": "N OW1"}


@pytest.fixture
def corpus(make_corpus: Maker) -> Path:
    return make_corpus(dict.fromkeys((*SPOKEN, "2-1-0002"), "YES NO"))


@pytest.fixture
def alignments(tmp_path: Path) -> Path:
    """Phones of all utterances but one, one of them with a phone of another language."""
    lines = []
    for name, phones in (SPOKEN | {"2-1-0001": "N OW1 RR"}).items():
        timed = [
            {"symbol": phone, "start": 0.1 * place, "end": 0.1 * place + 0.1}
            for place, phone in enumerate(phones.split())
        ]
        words = [{"word": "YES", "start": 0.0, "end": 0.1 * len(timed)}]
        lines.append(json.dumps({"utterance": name, "duration": 1.0, "words": words, "phones": timed}))
    path = tmp_path / "phones.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_phonemes_are_scored_as_words_are(tmp_path: Path, corpus: Path, alignments: Path) -> None:
    out = tmp_path / "scores.csv"
    found = evaluate_phonemes(corpus, tiny_recogniser(tmp_path, phonemes()), alignments, out=out)
    assert [each.utterance for each in found.utterances] == ["1-1-0000", "1-1-0001", "2-1-0000"]
    assert [each.reference for each in found.utterances] == ["Y EH S", "N OW N OW", "Y AA"]
    assert any(each.hypothesis for each in found.utterances)
    expected = jiwer.wer(
        [each.reference for each in found.utterances], [each.hypothesis for each in found.utterances]
    )
    assert found.phoneme_error.rate == pytest.approx(expected)
    assert found.phoneme_error.length == 9
    assert sum(rate.edits for rate in found.speakers.values()) == found.phoneme_error.edits
    reasons = {skipped.item: skipped.reason for skipped in found.skipped}
    assert reasons == {"2-1-0001": "unknown phones: RR", "2-1-0002": "no phone alignment"}
    with out.open(encoding="utf-8") as file:
        assert sum(int(row["edits"]) for row in csv.DictReader(file)) == found.phoneme_error.edits


def test_letters_and_phonemes_are_not_mixed_up(tmp_path: Path, corpus: Path, alignments: Path) -> None:
    with pytest.raises(IntrospectError, match="without --alignments"):
        evaluate_phonemes(corpus, tiny_recogniser(tmp_path), alignments)
    with pytest.raises(IntrospectError, match="--alignments"):
        evaluate(corpus, tiny_recogniser(tmp_path, phonemes()))


def test_the_command_prints_a_table_and_json(
    tmp_path: Path, corpus: Path, alignments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(tiny_checkpoint(tmp_path, phonemes()))
    arguments = ["--checkpoint", checkpoint, "--corpus", str(corpus), "--alignments", str(alignments)]
    assert main(["evaluate", *arguments]) == 0
    captured = capsys.readouterr()
    *table, record = captured.out.splitlines()
    assert [line.split()[0] for line in table] == ["speaker", "1", "2", "all"]
    figures = json.loads(record)
    assert figures["phonemes"] == 9
    assert figures["phoneme_error_rate"] == pytest.approx(figures["phoneme_edits"] / 9)
    assert "skipped 2:" in captured.err
    assert main(["evaluate", *arguments[:-1], str(tmp_path / "nowhere")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
