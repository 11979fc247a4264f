"""``align --phones``: PocketSphinx's words and phones, as other commands take them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_introspect import read_corpus
from asr_introspect.commands import main
from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.experiments.train import read_times
from asr_introspect.recogniser.symbols import PHONEMES

pytest.importorskip("pocketsphinx")


@pytest.mark.speech
def test_what_it_writes_is_what_train_and_introspect_read(demo: Path, tmp_path: Path) -> None:
    out, grids = tmp_path / "times.jsonl", tmp_path / "grids"
    call = ["align", "--phones", "--corpus", str(demo), "--max-utterances", "3"]
    assert main([*call, "--out", str(out), "--textgrids", str(grids)]) == 0
    corpus = read_corpus(demo, 3)
    words, phones = read_times(out, "words"), read_times(out, "phones")
    bundled = read_alignments(demo / "alignments", corpus.utterances)
    found = read_alignments(grids, corpus.utterances)
    for utterance in corpus.utterances:
        name = utterance.name
        assert " ".join(word.symbol for word in words[name]) == utterance.text
        assert {phone.symbol for phone in phones[name]} <= set(PHONEMES)
        assert [p.symbol for p in found[name].phones] == [p.symbol for p in phones[name]]
        # The demo corpus was aligned in the same way: the same phones at the same times.
        assert [p.symbol for p in bundled[name].phones] == [p.symbol for p in phones[name]]
        starts = [p.start - q.start for p, q in zip(bundled[name].phones, phones[name], strict=True)]
        assert max(map(abs, starts)) < 0.011


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--phones", "--checkpoint", "some.safetensors"], "--checkpoint cannot be used here"),
        (["--phones", "--spans", "spikes"], "--spans cannot be used here"),
        (["--spans", "spikes"], "--spans cannot be used here"),
        (["--lexicon", "words.txt"], "the recogniser emits letters"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], message: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["align", "--corpus", str(demo), "--out", str(tmp_path / "a.jsonl"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_line_of_another_form_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "times.jsonl").write_text(json.dumps({"utterance": "a"}) + "\n")
    with pytest.raises(Exception, match="not a file of aligned words"):
        read_times(tmp_path / "times.jsonl", "words")
