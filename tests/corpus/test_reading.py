"""Folders, tables and manifests; what is bad in them is skipped with a reason, never fatal, never lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_introspect.corpus.manifest import corpus_sha256, write_manifest
from asr_introspect.corpus.reading import prepare, read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.errors import IntrospectError, UsageError
from tests.conftest import CorpusMaker, sine

RATE = 16_000


def reasons(corpus: Corpus) -> dict[str, str]:
    """What was skipped, by name."""
    return {skipped.item: skipped.reason for skipped in corpus.skipped}


# Folders


def test_folder_of_subsets_one_subset_or_one_chapter(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    root = tmp_path / "LibriSpeech"
    make_corpus({"1-10-0000": "ONE", "1-11-0000": "TWO"}, folder=root / "dev-clean")
    make_corpus({"2-20-0000": "THREE"}, folder=root / "dev-other", extension="flac")
    (root / "SPEAKERS.TXT").write_text(
        "; ID | SEX | SUBSET\n1 | F | dev-clean | 8 | A\n2 | M | x | 8 | B|C\n"
    )
    for place, names in (
        (root, ["1-10-0000", "1-11-0000", "2-20-0000"]),
        (tmp_path, ["1-10-0000", "1-11-0000", "2-20-0000"]),
        (root / "dev-clean", ["1-10-0000", "1-11-0000"]),
        (root / "dev-clean" / "1" / "10", ["1-10-0000"]),
    ):
        found = read_corpus(place)
        assert [utterance.name for utterance in found.utterances] == names
        assert [utterance.speaker for utterance in found.utterances] == [name[0] for name in names]
        assert {utterance.speaker: utterance.sex for utterance in found.utterances}["1"] == "F"
        assert all(utterance.duration == 1.0 for utterance in found.utterances)
    assert {u.speaker: u.sex for u in read_corpus(root).utterances} == {"1": "F", "2": "M"}


@pytest.mark.parametrize("extension", ["flac", "wav", "mp3", "ogg", "opus", "FLAC"])
def test_every_kind_of_sound(make_corpus: CorpusMaker, extension: str) -> None:
    kind = extension.lower()
    root = make_corpus({"1-2-0000": "HELLO"}, extension="wav" if kind == "opus" else kind)
    made = next(path for path in root.rglob("*") if path.suffix in (f".{kind}", ".wav"))
    if kind == "opus":
        soundfile.write(made.with_suffix(".opus"), sine(1.0), RATE, format="OGG", subtype="OPUS")
        made.unlink()
    else:
        made.rename(made.with_suffix(f".{extension}"))
    assert read_corpus(root).utterances[0].duration == pytest.approx(1.0, abs=0.15)


def test_linked_subsets_are_read_and_loops_left(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    make_corpus({"1-2-0000": "HELLO"}, folder=tmp_path / "disk" / "dev-clean")
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech" / "dev-clean").symlink_to(tmp_path / "disk" / "dev-clean")
    (tmp_path / "LibriSpeech" / "loop").symlink_to(tmp_path / "LibriSpeech")
    assert [u.name for u in read_corpus(tmp_path / "LibriSpeech").utterances] == ["1-2-0000"]


def test_missing_halves_are_skipped_and_named(make_corpus: CorpusMaker) -> None:
    root = make_corpus({"1-2-0000": "GOOD", "1-2-0001": "NO SOUND", "1-2-0002": "NO TEXT"})
    chapter = root / "1" / "2"
    (chapter / "1-2-0001.wav").unlink()
    (chapter / "1-2.trans.txt").write_text("1-2-0000 GOOD\n1-2-0001 NO SOUND\n\n")
    found = read_corpus(root)
    assert [utterance.name for utterance in found.utterances] == ["1-2-0000"]
    assert set(reasons(found)) == {"1-2-0001", "1-2-0002"}
    assert "no sound" in reasons(found)["1-2-0001"]
    assert "no transcript" in reasons(found)["1-2-0002"]


def test_bad_transcripts_are_skipped_and_named(make_corpus: CorpusMaker) -> None:
    root = make_corpus(
        {
            "1-2-0000": "good",
            "1-2-0001": "IN 1984",
            "1-2-0002": "",
            "1-2-0003": "<script>alert()</script>",
            "1-2-0004": "THIS IS FAR TOO LONG FOR ONE SECOND OF SOUND " * 3,
        }
    )
    found = read_corpus(root)
    assert [utterance.text for utterance in found.utterances] == ["GOOD"]
    assert "digits" in reasons(found)["1-2-0001"]
    assert "no transcript" in reasons(found)["1-2-0002"]
    assert "unknown symbols" in reasons(found)["1-2-0003"]
    assert "too long for its audio" in reasons(found)["1-2-0004"]


def test_bad_sound_is_skipped_and_named(make_corpus: CorpusMaker) -> None:
    names = ["empty", "text", "truncated", "zero", "short", "nan", "silent"]
    root = make_corpus({"1-2-0000": "GOOD"} | {f"1-2-{name}": "A" for name in names}, extension="flac")
    chapter = root / "1" / "2"
    (chapter / "1-2-empty.flac").write_bytes(b"")
    (chapter / "1-2-text.flac").write_text("not sound\n" * 50)
    whole = (chapter / "1-2-truncated.flac").read_bytes()
    (chapter / "1-2-truncated.flac").write_bytes(whole[: len(whole) // 2])
    (chapter / "1-2-zero.flac").unlink()
    soundfile.write(chapter / "1-2-zero.wav", np.zeros(0), RATE)
    soundfile.write(chapter / "1-2-short.flac", np.zeros(150), RATE)
    (chapter / "1-2-nan.flac").unlink()
    soundfile.write(chapter / "1-2-nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(chapter / "1-2-silent.flac", np.zeros(RATE), RATE)
    # Headers tell most, decoding the rest.
    found = prepare(root)
    assert [utterance.name for utterance in found.utterances] == ["1-2-0000", "1-2-silent"]
    told = reasons(found)
    assert "empty" in told["1-2-empty"]
    assert "not a sound file" in told["1-2-text"]
    assert "truncated" in told["1-2-truncated"]
    assert "no sample" in told["1-2-zero"]
    assert "shorter than one output step" in told["1-2-short"]
    assert "not numbers" in told["1-2-nan"]


def test_duplicate_names_are_numbered(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    make_corpus({"1-2-0000": "ONE"}, folder=tmp_path / "c" / "a")
    make_corpus({"1-2-0000": "TWO"}, folder=tmp_path / "c" / "b")
    make_corpus({"1-2-0000": "THREE"}, folder=tmp_path / "c" / "d")
    found = read_corpus(tmp_path / "c")
    assert [utterance.name for utterance in found.utterances] == [
        "1-2-0000",
        "1-2-0000 (2)",
        "1-2-0000 (3)",
    ]
    assert len({utterance.audio for utterance in found.utterances}) == 3


def test_what_is_used_but_changed_is_said_once(
    tmp_path: Path, make_corpus: CorpusMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_corpus({"1-2-0000": "hello", "1-2-0001": "CAFÉ"}, rate=8_000)
    make_corpus({"3-4-0000": "WORLD"}, folder=root, rate=48_000)
    soundfile.write(root / "3/4/3-4-0000.wav", np.stack([sine(1.0, 48_000)] * 2, axis=1), 48_000)
    make_corpus({"3-4-0000": "AGAIN"}, folder=root / "more")
    read_corpus(root)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "3 utterances at 8,000, 48,000 Hz, resampled to 16,000 Hz",
        "1 utterance with several channels, mixed down to one",
        "1 utterance with lower case in the transcript, made upper case",
        "1 utterance with accents or other signs in the transcript, folded to A to Z",
        "1 utterance with a name that was there before, numbered",
    ]
    prepare(root, tmp_path / "m.jsonl")
    assert capsys.readouterr().err.splitlines() == told


def test_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntrospectError, match="no corpus in LibriSpeech's layout"):
        read_corpus(tmp_path / "empty")
    soundfile.write(tmp_path / "empty" / "a.wav", sine(1.0), RATE)
    with pytest.raises(IntrospectError, match=r"no transcripts \(\*\.trans\.txt\) beside its 1 sound"):
        read_corpus(tmp_path / "empty")
    with pytest.raises(IntrospectError, match="no such file or folder"):
        read_corpus(tmp_path / "missing")


def test_a_corpus_with_nothing_usable_is_an_error(make_corpus: CorpusMaker) -> None:
    with pytest.raises(IntrospectError, match=r"nothing in .* is usable .*digits"):
        read_corpus(make_corpus({"1-2-0000": "1984", "1-2-0001": "2001"}))


def test_transcripts_that_are_not_utf8(make_corpus: CorpusMaker) -> None:
    root = make_corpus({"1-2-0000": "GOOD", "3-4-0000": "BAD"})
    (root / "3/4/3-4.trans.txt").write_bytes(b"3-4-0000 CAF\xc9\n")
    found = read_corpus(root)
    assert [utterance.name for utterance in found.utterances] == ["1-2-0000"]
    assert any("not UTF-8" in reason for reason in reasons(found).values())


def test_a_name_cannot_lead_out_of_its_folder(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    soundfile.write(tmp_path / "secret.wav", sine(1.0), RATE)
    root = make_corpus({"1-2-0000": "GOOD"})
    with (root / "1/2/1-2.trans.txt").open("a") as file:
        file.write("../../../secret STOLEN\n")
    found = read_corpus(root)
    assert len(found.utterances) == 1
    assert "no sound" in reasons(found)["../../../secret"]


def test_max_utterances(make_corpus: CorpusMaker) -> None:
    root = make_corpus({f"1-2-{i:04}": "1" if i % 2 else "ONE" for i in range(10)})
    assert [u.name for u in read_corpus(root, 2).utterances] == ["1-2-0000", "1-2-0002"]
    assert len(read_corpus(root, 100).utterances) == 5
    with pytest.raises(UsageError, match="at least 1"):
        read_corpus(root, 0)


# Tables


def write_table(folder: Path, rows: list[str], header: str = "path\ttext\tspeaker") -> Path:
    """A table with the given rows."""
    table = folder / "table.tsv"
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return table


def test_a_table(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    for name in ('a folder/it\'s "one".wav', "two.flac"):
        soundfile.write(tmp_path / name, sine(1.0), RATE)
    rows = [
        'a folder/it\'s "one".wav\t"hello"\t<b>Ann</b>',
        f"{tmp_path / 'two.flac'}\tWorld\t",
        "a folder/../two.flac\tagain\tBob",
        "missing.wav\tHELLO\tBob",
        "\tHELLO\tBob",
        "two.flac",
    ]
    rows[0] = rows[0].replace('"hello"', "hello")
    found = read_corpus(write_table(tmp_path, rows))
    assert [(u.name, u.text, u.speaker) for u in found.utterances] == [
        ('it\'s "one"', "HELLO", "<b>Ann</b>"),
        ("two", "WORLD", ""),
        ("two (2)", "AGAIN", "Bob"),
    ]
    assert "no such file" in reasons(found)["missing"]
    assert reasons(found)["line 6 of table.tsv"] == "no path"
    assert reasons(found)["two"] == "no transcript"


def test_a_table_may_have_other_columns_in_any_order(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0), RATE)
    found = read_corpus(write_table(tmp_path, ["HI\tx\ta.wav"], "text\tage\tpath"))
    assert (found.utterances[0].text, found.utterances[0].speaker) == ("HI", "")


def test_a_table_written_by_excel(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0), RATE)
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfpath\ttext\r\na.wav\tHI\r\n")
    assert read_corpus(tmp_path / "t.tsv").utterances[0].text == "HI"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file\tsentence\na.wav\tHI\n", "is no corpus"),
        (b"", "is empty"),
        (b"\x80\x04\x95pickle", "is no corpus"),
        (b"path\ttext\n", "nothing in .* is usable"),
        (b"path\ttext\na.wav\tCAF\xc9\n", "not tab-separated UTF-8 text"),
    ],
)
def test_files_that_are_no_corpus(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(IntrospectError, match=message):
        read_corpus(tmp_path / "file")


# Manifests


def test_a_manifest_says_what_the_folder_says(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    root = make_corpus({"1-2-0000": "HELLO", "3-4-0000": "IT'S"})
    out = tmp_path / "elsewhere" / "m.jsonl"
    prepared = prepare(root, out)
    again = read_corpus(out)
    assert [(u.name, u.text, u.speaker, u.sex, u.duration) for u in again.utterances] == [
        (u.name, u.text, u.speaker, u.sex, u.duration) for u in prepared.utterances
    ]
    assert [u.audio.resolve() for u in again.utterances] == [u.audio.resolve() for u in prepared.utterances]
    assert corpus_sha256(again) == corpus_sha256(prepared) == corpus_sha256(read_corpus(root))
    fields = json.loads(out.read_text().splitlines()[0])
    assert list(fields) == ["utterance", "audio_filepath", "duration", "text", "speaker", "sex"]
    assert not Path(fields["audio_filepath"]).is_absolute()


def test_a_manifest_moves_with_its_sound(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    root = make_corpus({"1-2-0000": "HELLO"}, folder=tmp_path / "here" / "corpus")
    prepare(root, tmp_path / "here" / "m.jsonl")
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = read_corpus(tmp_path / "there" / "m.jsonl").utterances[0]
    assert found.audio.resolve() == tmp_path / "there/corpus/1/2/1-2-0000.wav"


def test_a_manifest_is_read_without_opening_sound(
    tmp_path: Path, make_corpus: CorpusMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(make_corpus({"1-2-0000": "HELLO"}), tmp_path / "m.jsonl")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("sound was opened")

    monkeypatch.setattr(soundfile, "info", fail)
    monkeypatch.setattr(soundfile, "SoundFile", fail)
    assert read_corpus(tmp_path / "m.jsonl").utterances[0].duration == 1.0


def test_a_foreign_manifest(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0), RATE)
    lines = [
        {"audio_filepath": "a.wav", "text": "hi", "duration": 1.0},
        {"audio_filepath": "a.wav", "text": "hi"},
        {"audio_filepath": "a.wav", "text": "hi", "duration": float("nan"), "utterance": "../../etc"},
        {"audio_filepath": "missing.wav", "text": "hi", "duration": 1.0},
        {"audio_filepath": "a.wav", "duration": 1.0, "utterance": "mute"},
        {"text": "hi"},
        [1],
    ]
    content = "\n".join(json.dumps(line) for line in lines) + "\n{broken\n\n"
    (tmp_path / "m.jsonl").write_text(content)
    found = read_corpus(tmp_path / "m.jsonl")
    assert [u.name for u in found.utterances] == ["a", "a (2)", "../../etc"]
    assert all(u.duration == 1.0 for u in found.utterances)
    told = reasons(found)
    assert "no such file" in told["missing"]
    assert told["mute"] == "no transcript"
    assert told["line 6 of m.jsonl"] == told["line 7 of m.jsonl"] == "no audio_filepath"
    assert told["line 8 of m.jsonl"] == "not JSON"


def test_prepare_lists_what_it_skipped(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    root = make_corpus({"1-2-0000": "GOOD", "1-2-0001": "<b>, 1"})
    prepare(root, tmp_path / "m.jsonl")
    listed = (tmp_path / "m.jsonl.skipped.csv").read_text().splitlines()
    assert listed[0] == "item,reason"
    assert listed[1].startswith("1-2-0001,")


def test_an_unwritable_manifest_is_said_before_any_work(
    tmp_path: Path, make_corpus: CorpusMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus({"1-2-0000": "GOOD"})
    monkeypatch.setattr(soundfile, "info", None)
    for out in ("/proc/nowhere/m.jsonl", "/proc/m.jsonl", tmp_path):
        with pytest.raises(IntrospectError, match="cannot write"):
            prepare(corpus, out)


def test_a_manifest_is_whole_or_absent(
    tmp_path: Path, make_corpus: CorpusMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = read_corpus(make_corpus({"1-2-0000": "GOOD"}))
    write_manifest(corpus, tmp_path / "m.jsonl")
    before = (tmp_path / "m.jsonl").read_text()

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(IntrospectError, match="No space left"):
        write_manifest(corpus, tmp_path / "m.jsonl")
    assert (tmp_path / "m.jsonl").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "m.jsonl"]


@pytest.mark.speech
def test_real_speech(sample: Path) -> None:
    found = prepare(sample)
    assert len(found.utterances) == 78
    assert not found.skipped
    assert {u.speaker: u.sex for u in found.utterances}.keys() == {"4088", "4406", "5652", "8226"}
    assert all(u.sex for u in found.utterances)
    assert found.seconds / 60 == pytest.approx(9.7, abs=0.1)
    assert corpus_sha256(read_corpus(sample)) == corpus_sha256(found)
