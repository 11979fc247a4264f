"""The letter error on the same utterances from two kinds of files, for example FLAC and Opus.

    D=../shared/data; python recipes/librispeech/codecs.py $D/sample/LibriSpeech/study $D/LibriSpeech/study
    python recipes/librispeech/codecs.py $D/sample/LibriSpeech/study --coder mp3 --compression 0.8

Utterances are matched by name; those of the first corpus are scored in both. With ``--coder`` the second
corpus is the first one after a round trip through the coder.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import soundfile

from asr_introspect import read_corpus
from asr_introspect.corpus.audio import SAMPLE_RATE, read_audio
from asr_introspect.corpus.records import Corpus, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import evaluate, rates
from asr_introspect.experiments.inputs import as_recogniser

CODERS = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}


def coded(utterance: Utterance, coder: str, compression: float, folder: Path) -> Utterance:
    """The utterance after a round trip through the coder."""
    form, subtype = CODERS[coder]
    path = folder / f"{utterance.name}.{coder}"
    sound = read_audio(utterance.audio)
    soundfile.write(path, sound, SAMPLE_RATE, format=form, subtype=subtype, compression_level=compression)
    return replace(utterance, audio=path)


def main() -> None:
    """Prints both letter errors, and the second's minus the first's with its bootstrap interval."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path, nargs="?")
    parser.add_argument("--coder", choices=CODERS, help="make the second corpus with this coder")
    parser.add_argument(
        "--compression", type=float, default=0.8, help="0 to 1 (the most), as soundfile takes it"
    )
    parser.add_argument("--checkpoint", type=Path, default=None, help="the bundled reference if not given")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if (given.second is None) == (given.coder is None):
        parser.error("give either a second corpus or --coder")
    with tempfile.TemporaryDirectory() as folder:
        compare(given, Path(folder))


def compare(given: argparse.Namespace, folder: Path) -> None:
    """Scores both corpora and prints them; coded files go to the folder."""
    recogniser = as_recogniser(given.checkpoint)
    shared = list(read_corpus(given.first).utterances)
    if given.coder is not None:
        others = {each.name: coded(each, given.coder, given.compression, folder) for each in shared}
        bits = 8 * sum(other.audio.stat().st_size for other in others.values())
        print(f"{given.coder}: {bits / sum(each.duration for each in shared) / 1000:.0f} kbit/s")
    else:
        others = {utterance.name: utterance for utterance in read_corpus(given.second).utterances}
        shared = [utterance for utterance in shared if utterance.name in others]
    if not shared:
        raise IntrospectError(f"no utterance of {given.first} is in {given.second}")
    one = evaluate(Corpus(tuple(shared)), recogniser, seed=given.seed)
    two = evaluate(Corpus(tuple(others[each.name] for each in shared)), recogniser, seed=given.seed)
    difference, _ = rates(two.utterances, one.utterances, seed=given.seed)
    print(f"{len(one.utterances)} utterances, letter error")
    named = (("first", one.letter_error), ("second", two.letter_error), ("second minus first", difference))
    for name, rate in named:
        print(f"{name}: {100 * rate.rate:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f})")


if __name__ == "__main__":
    main()
