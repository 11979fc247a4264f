"""Phones by a recogniser of phonemes: real TextGrids as its posteriors, lexica that fit and do not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_introspect.commands import main
from asr_introspect.corpus.alignment_files import find_alignments, read_alignments
from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus, Utterance
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments import align as aligning
from asr_introspect.experiments.align_phones import align_pronounced
from asr_introspect.experiments.boundaries import phone_boundaries
from asr_introspect.experiments.train import read_times
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import Forward
from asr_introspect.recogniser.symbols import PHONEMES, SymbolTable, phonemes
from tests.conftest import REPOSITORY, CorpusMaker
from tests.experiments.recognisers import tiny_checkpoint, tiny_recogniser

TEXTS = {"1-1-0000": "A CAT", "1-1-0001": "THE CAT SAT"}
CAT = "A AH\nCAT K AE T\nSAT S AE T\nTHE DH AH\nTHE DH IY\n"


@pytest.fixture
def net(tmp_path: Path) -> Recogniser:
    return tiny_recogniser(tmp_path, phonemes())


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "lexicon.txt"
    path.write_text(CAT)
    return path


def test_what_it_writes_is_what_train_and_introspect_read(
    net: Recogniser, lexicon: Path, make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus = read_corpus(make_corpus(TEXTS))
    out, grids = tmp_path / "phones.jsonl", tmp_path / "grids"
    found = align_pronounced(corpus, net, lexicon, out=out, textgrids=grids)
    assert list(found.alignments) == list(TEXTS)
    assert (found.several, found.skipped) == (1, ())
    spoken = {name: [phone.symbol for phone in each.phones] for name, each in found.alignments.items()}
    assert spoken["1-1-0000"] == ["AH", "K", "AE", "T"]
    assert spoken["1-1-0001"] in (["DH", vowel, "K", "AE", "T", "S", "AE", "T"] for vowel in ("AH", "IY"))
    assert found.other == (spoken["1-1-0001"][1] == "IY")
    for place in (out, grids):
        again = find_alignments(place, corpus.utterances)
        assert again.missing == ()
        for name, alignment in found.alignments.items():
            for ours, theirs in (
                (alignment.words, again.alignments[name].words),
                (alignment.phones, again.alignments[name].phones),
            ):
                assert [(s.symbol, s.start, s.end) for s in ours] == [
                    (s.symbol, s.start, s.end) for s in theirs
                ]
    assert [p.symbol for p in read_times(out, "phones")["1-1-0000"]] == spoken["1-1-0000"]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(0 <= phone["score"] <= 1 for line in lines for phone in line["phones"])
    for alignment in found.alignments.values():
        for word in alignment.words:
            own = [p for p in alignment.phones if word.start <= p.start < word.end]
            assert (own[0].start, own[-1].end) == (word.start, word.end)


def test_any_symbols_of_any_language(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    """Single characters too: they are phones, not letters."""
    table = SymbolTable(("<blank>", "ʃ", "ø", "o", "n"))
    net = tiny_recogniser(tmp_path, table)
    path = tmp_path / "lexicon.txt"
    path.write_text("schön ʃ ø n\nschon ʃ o n\n", encoding="utf-8")
    corpus = read_corpus(make_corpus({"1-1-0000": "SCHÖN SCHON"}))
    (found,) = align_pronounced(corpus, net, path).alignments.values()
    symbols = [phone.symbol for phone in found.phones]
    assert symbols[0] == symbols[3] == "ʃ"
    assert {symbols[1], symbols[4]} <= {"ø", "o"}
    with pytest.raises(UsageError, match="needs a lexicon"):
        align_pronounced(corpus, net)
    path.write_text("schon ʃ oː n\n", encoding="utf-8")
    with pytest.raises(IntrospectError, match=r"1 unknown phones: oː \(line 1; near: o\); known are ʃ ø o n"):
        align_pronounced(corpus, net, path)


def test_words_without_pronunciation(
    net: Recogniser, lexicon: Path, make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    """English words are found without a lexicon; in another language the utterance is skipped and named."""
    corpus = read_corpus(make_corpus({"1-1-0000": "THE HOUSE", "1-1-0001": "A CAT"}))
    assert len(align_pronounced(corpus, net).alignments) == 2
    foreign = tiny_recogniser(tmp_path, SymbolTable(("<blank>", *PHONEMES, "Q2")))
    found = align_pronounced(corpus, foreign, lexicon)
    assert list(found.alignments) == ["1-1-0001"]
    assert [(item.item, item.reason) for item in found.skipped] == [
        ("1-1-0000", "no pronunciation of HOUSE; give it in the lexicon")
    ]
    only = Corpus(corpus.utterances[:1])
    with pytest.raises(IntrospectError, match=r"no utterance could be aligned \(1-1-0000: no pronunciation"):
        align_pronounced(only, foreign, lexicon)


def test_letters_are_no_phones(lexicon: Path, make_corpus: CorpusMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the recogniser emits letters"):
        align_pronounced(make_corpus(TEXTS), tiny_recogniser(tmp_path), lexicon)


def test_the_command(
    lexicon: Path, make_corpus: CorpusMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint(tmp_path, phonemes())
    call = ["align", "--corpus", str(make_corpus(TEXTS)), "--checkpoint", str(checkpoint)]
    out = tmp_path / "out.jsonl"
    assert main([*call, "--out", str(out), "--lexicon", str(lexicon), "--spans", "spikes"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert "2 utterances aligned, 0 skipped; 1 spoken words have several pronunciations" in told.err
    lexicon.write_text("CAT K AE TT\n")
    assert main([*call, "--out", str(out), "--lexicon", str(lexicon)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "1 unknown phones: TT (line 1; near: T)" in line


def oracle(
    grids: Mapping[str, Alignment], net: Recogniser, utterances: tuple[Utterance, ...]
) -> Iterator[Forward]:
    """What a recogniser would say that knew the TextGrids: each phone in the step at its middle."""
    for position, utterance in enumerate(utterances):
        steps = int(utterance.duration * 50)
        logits = np.zeros((1, len(net.symbols), steps), np.float32)
        logits[0, 0] = 12
        for phone in grids[utterance.name].phones:
            step = min(round(((phone.start + phone.end) / 2 / 0.01 - 1.5) / 2), steps - 1)
            (symbol,) = net.symbols.classes([without_stress(phone.symbol)])
            logits[0, 0, step], logits[0, symbol, step] = 0, 12
        yield Forward(
            utterances=(utterance,),
            positions=(position,),
            lengths=torch.tensor([steps]),
            frames=torch.tensor([2 * steps]),
            logits=torch.from_numpy(logits),
            activations={},
        )


@pytest.mark.speech
def test_real_phones_are_found_again(
    sample: Path, net: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the middles of real phones alone: midpoints come near their boundaries, spikes do not.

    The lexicon has every pronunciation that occurs, those of the transcript and decoys.
    """
    speech = read_corpus(sample)
    grids = read_alignments(sample / "alignments", speech.utterances)
    known = tuple(
        utterance
        for utterance in speech.utterances
        if [word.symbol for word in grids[utterance.name].words] == utterance.text.split()
    )[:20]
    spoken: dict[str, set[str]] = {}
    for utterance in known:
        alignment = grids[utterance.name]
        for word in alignment.words:
            own = [p for p in alignment.phones if word.start <= (p.start + p.end) / 2 < word.end]
            phones = " ".join(without_stress(p.symbol) for p in own)
            spoken.setdefault(word.symbol, {"ZH UH"}).add(phones)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(
        "".join(f"{word} {phones}\n" for word, each in spoken.items() for phones in sorted(each)[::-1])
    )
    monkeypatch.setattr(
        aligning, "forward_pass", lambda recogniser, utterances, **_: oracle(grids, net, tuple(utterances))
    )
    corpus = Corpus(known)
    rows = {}
    for fill in ("midpoints", "spikes"):
        found = align_pronounced(corpus, net, lexicon, fill=fill)
        assert not found.skipped
        assert found.several > 100
        compared = phone_boundaries(corpus, sample / "alignments", found.alignments)
        # A few phones of 30 ms share a step with their neighbour.
        assert compared.differing.value < 0.03
        rows[fill] = {(row.comparison, row.edge): row for row in compared.rows}
    near, far = rows["midpoints"]["paired", "start"], rows["spikes"]["paired", "start"]
    assert abs(near.median.value) <= 0.01
    assert near.within[1].value > 0.85
    assert near.within[0].value > far.within[0].value + 0.1
    assert far.median.value > near.median.value + 0.01


@pytest.mark.speech
def test_the_bundled_phoneme_net_on_real_speech(sample: Path) -> None:
    """Near the Montreal Forced Aligner's boundaries, much nearer than phones spread evenly over its words."""
    checkpoint = REPOSITORY / "data" / "models" / "phonemes.safetensors"
    if not checkpoint.exists():
        pytest.skip("no phoneme net: data/models/phonemes.safetensors is made by recipes/librispeech")
    utterances = sorted(read_corpus(sample).utterances, key=lambda utterance: utterance.duration)
    speech = Corpus(tuple(utterances[:6]))
    found = align_pronounced(speech, checkpoint)
    assert not found.skipped
    compared = phone_boundaries(speech, sample / "alignments", found.alignments)
    assert compared.differing.value < 0.1
    rows = {(row.comparison, row.edge): row for row in compared.rows}
    for edge in ("start", "end"):
        assert abs(rows["paired", edge].median.value) <= 0.02
        assert rows["paired", edge].within[1].value > 0.85
        assert rows["paired", edge].within[0].value > rows["even", edge].within[0].value + 0.05
        assert rows["shifted, nearest", edge].within[0].value < 0.55
