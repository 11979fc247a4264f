"""PocketSphinx's phones against the Montreal Forced Aligner's, on real speech."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from asr_introspect.corpus import sphinx
from asr_introspect.corpus.alignment_files import read_alignments, textgrid_places
from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.audio import read_audio
from asr_introspect.corpus.reading import alignments_folder, read_corpus
from asr_introspect.corpus.records import Segment, Utterance
from asr_introspect.corpus.sphinx import PhoneAligner, align_corpus_phones, align_phones
from asr_introspect.errors import IntrospectError
from tests.conftest import CorpusMaker

pytestmark = pytest.mark.speech


@pytest.fixture(scope="module")
def few(sample: Path) -> list[Utterance]:
    """Four short utterances, one of each speaker."""
    utterances = sorted(read_corpus(sample).utterances, key=lambda utterance: utterance.duration)
    return [
        next(utterance for utterance in utterances if utterance.speaker == speaker)
        for speaker in ("4088", "4406", "5652", "8226")
    ]


def common(ours: Alignment, theirs: Alignment) -> Iterator[tuple[Segment, Segment]]:
    """The phones that both alignments have, in pairs."""
    names = [[without_stress(phone.symbol) for phone in side.phones] for side in (ours, theirs)]
    for i, j, length in SequenceMatcher(None, *names, autojunk=False).get_matching_blocks():
        yield from zip(ours.phones[i : i + length], theirs.phones[j : j + length], strict=True)


def test_agrees_with_the_montreal_forced_aligner(sample: Path, few: list[Utterance]) -> None:
    folder = alignments_folder(sample)
    assert folder is not None
    theirs = read_alignments(folder, few)
    deviations, phones = [], 0
    for utterance in few:
        ours = align_phones(utterance, read_audio(utterance.audio))
        assert [word.symbol for word in ours.words] == utterance.text.split()
        for part in (ours.words, ours.phones):
            assert all(first.end <= second.start + 1e-9 for first, second in pairwise(part))
            assert all(0 <= segment.start < segment.end <= utterance.duration for segment in part)
        phones += len(theirs[utterance.name].phones)
        deviations += [a.start - b.start for a, b in common(ours, theirs[utterance.name])]
    deviation = np.array(deviations)
    assert len(deviation) > 0.93 * phones
    assert abs(np.median(deviation)) <= 0.01
    assert np.mean(np.abs(deviation) <= 0.0201) > 0.75
    assert np.mean(np.abs(deviation) <= 0.0501) > 0.93
    # The control: boundaries moved by a tenth of a second do not agree.
    assert np.mean(np.abs(deviation + 0.1) <= 0.0501) < 0.1


def test_several_processes_give_the_same_and_textgrids_that_are_found(
    few: list[Utterance], tmp_path: Path
) -> None:
    alone = align_corpus_phones(few[:2], workers=1)
    together = align_corpus_phones(few[1::-1], tmp_path / "alignments", workers=2)
    backwards = align_corpus_phones(few[1::-1], workers=1)
    for name, alignment in alone.alignments.items():
        # By their text, because the scores are NaN: the order of utterances must not matter either.
        assert str(together.alignments[name]) == str(backwards.alignments[name]) == str(alignment)
    assert not together.skipped
    found = read_alignments(tmp_path / "alignments", few[:2])
    for name, alignment in alone.alignments.items():
        assert [s.symbol for s in found[name].phones] == [s.symbol for s in alignment.phones]
        np.testing.assert_allclose(
            [s.start for s in found[name].phones], [s.start for s in alignment.phones], atol=1e-9
        )


def test_unknown_words_are_given_a_pronunciation_and_marked(few: list[Utterance]) -> None:
    utterance = few[0]
    first, *rest = utterance.text.split()
    renamed = Utterance("x", utterance.audio, " ".join(["ZORBLEQ", *rest]), "", "", utterance.duration)
    said = PhoneAligner({}).align(utterance, read_audio(utterance.audio)).phones
    word = align_phones(utterance, read_audio(utterance.audio)).words[0]
    spoken = tuple(phone.symbol for phone in said if phone.end <= word.end + 1e-9)
    # Of several pronunciations the one that is heard is taken.
    found = align_corpus_phones([renamed], lexicon={"ZORBLEQ": (("M", "M", "M"), spoken)}, workers=1)
    alignment = found.alignments["x"]
    assert found.guessed["ZORBLEQ"].source == "lexicon"
    assert alignment.words[0].symbol == "ZORBLEQ"
    assert alignment.words[0].end == pytest.approx(word.end, abs=0.03)
    assert [phone.symbol for phone in alignment.phones[: len(spoken)]] == list(spoken)
    counts = {"dictionary": len(rest), "lexicon": 1, "cmudict": 0, "gruut": 0, "model": 0}
    assert found.by_source() == counts
    assert first != "ZORBLEQ"
    guessing = PhoneAligner()
    guessing.align(renamed, read_audio(utterance.audio))
    guess = guessing.pronunciations(["ZORBLEQ", *rest])["ZORBLEQ"]
    assert guess is not None
    assert guess.source == "model"


def test_what_is_there_is_not_aligned_again(
    few: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = align_corpus_phones(few[:2], tmp_path, workers=1)
    places = textgrid_places(few[:2], tmp_path)
    first, second = (places[utterance.name] for utterance in few[:2])
    second.write_text(second.read_text()[:200])  # as a full disk leaves it
    heard: list[str] = []
    align = PhoneAligner.align

    def listening(self: PhoneAligner, utterance: Utterance, audio: np.ndarray) -> Alignment:
        heard.append(utterance.name)
        return align(self, utterance, audio)

    monkeypatch.setattr(PhoneAligner, "align", listening)
    again = align_corpus_phones(few[:2], tmp_path, workers=1, resume=True)
    assert heard == [few[1].name]
    assert str(again) == str(once)
    assert first.exists()


def test_no_two_utterances_share_a_textgrid(tmp_path: Path) -> None:
    names = ["x/a/1/u.wav", "y/a/1/u.wav", "x/a/1/U.wav", "x/a/2/u.wav", "x/a/2/u.wav"]
    utterances = [Utterance(str(i), tmp_path / name, "A", "", "", 1.0) for i, name in enumerate(names)]
    places = [place.relative_to(tmp_path) for place in textgrid_places(utterances, tmp_path).values()]
    assert list(map(str, places)) == [
        "x/a/1/u.TextGrid",
        "y/a/1/u.TextGrid",
        "x/a/1/U (2).TextGrid",
        "x/a/2/u.TextGrid",
        "x/a/2/u (2).TextGrid",
    ]
    places = [place.relative_to(tmp_path) for place in textgrid_places(utterances[2:4], tmp_path).values()]
    assert list(map(str, places)) == ["a/1/U.TextGrid", "a/2/u.TextGrid"]


def test_what_cannot_be_aligned_is_skipped(
    few: list[Utterance], make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    tone = read_corpus(make_corpus({"1-2-0000": "'N' ' A", "1-2-0001": "WE ARE HERE"}, seconds=0.3))
    long = dataclasses.replace(few[1], duration=60.5)
    found = align_corpus_phones([few[0], *tone.utterances, long], workers=1)
    assert few[0].name in found.alignments
    assert any(item.reason == "longer than 60 s: not aligned" for item in found.skipped)
    assert not any(item.item in item.reason for item in found.skipped)
    assert any("no pronunciation of '" in item.reason for item in found.skipped)
    with pytest.raises(IntrospectError, match="none of 1 utterances could be aligned"):
        align_corpus_phones(tone.utterances[:1], workers=1)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, few: list[Utterance]) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(IntrospectError, match=r"pip install 'asr-introspect\[phones\]'"):
        align_corpus_phones(few, workers=1)


def test_a_killed_process_is_one_line(few: list[Utterance], monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Killed:
            return self

        def __exit__(self, *_: object) -> None: ...

        def map(self, *_: object, **__: object) -> None:
            raise BrokenProcessPool("abruptly")

    monkeypatch.setattr(sphinx, "ProcessPoolExecutor", Killed)
    with pytest.raises(IntrospectError, match="a process that aligned phones was killed"):
        align_corpus_phones(few[:2], workers=2)
