"""Which instances the batches of a pass hold, and where their windows stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import score
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, LETTERS_NONE, PHONEMES_NONE, Pass
from asr_introspect.experiments.pass_rows import Rows, found_together, joined, sounds_together
from asr_introspect.introspection.instances import emissions, spoken_phonemes
from asr_introspect.introspection.offsets import aligned, gradient_offsets
from asr_introspect.introspection.profiles import Key
from asr_introspect.introspection.sounds import UNKNOWN, letter_sounds
from asr_introspect.recogniser.alignment import align_targets
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import text
from asr_introspect.recogniser.passes import LONGEST_SECONDS, Forward


@dataclass(frozen=True)
class Windows:
    """Windows of one batch for one set of profiles.

    Parameters
    ----------
    item, label
        Per window its row in the batch and its label, ``(N,)``.
    positions
        By layer where it stands, ``(N,)``.
    parts
        By split the number of the value that it has (:meth:`Pass.values_of`), -1 for none, ``(N,)``.
    """

    key: Key
    item: np.ndarray
    positions: Mapping[str, np.ndarray]
    label: np.ndarray
    parts: Mapping[str, np.ndarray]


class Labelling:
    """The instances of one slice as its batches come, kept by the utterance's place in the corpus.

    Parameters
    ----------
    places
        Places in the corpus of the slice's utterances.
    """

    def __init__(self, plan: Pass, places: range) -> None:
        self.plan, self.places = plan, places
        self.records: dict[int, dict[str, Any]] = {}
        self.columns: dict[int, dict[str, dict[str, np.ndarray]]] = {}
        self.found: dict[int, dict[str, np.ndarray]] = {}

    def add(self, forward: Forward) -> list[Windows]:
        """Keeps the instances of a batch; returns the windows of each set of profiles."""
        plan = self.plan
        spoken = [self.places[position] for position in forward.positions]
        for number, place in enumerate(spoken):
            self.records[place], letters, phonemes = _instances(plan, forward, number, place)
            self.columns[place] = {"letters": letters, "phonemes": phonemes}
        bounds, item, step, label = _batched(self._of("letters", spoken))
        positions = gradient_offsets(plan.recogniser, forward, item, step, label) if plan.gradient else {}
        for place, (start, end) in zip(spoken, bounds, strict=True):
            self.found[place] = {name: values[start:end] for name, values in positions.items()}
        parts = self._parts("letters", forward, spoken, item)
        windows = [Windows(LETTERS_NONE, item, aligned({}, plan.layout, step), label, parts)]
        if plan.gradient:
            at = aligned(positions, plan.layout, step)
            windows.append(Windows(LETTERS_GRADIENT, item, at, label, parts))
        if plan.phonemes:
            _, item, step, label = _batched(self._of("phonemes", spoken))
            parts = self._parts("phonemes", forward, spoken, item)
            windows.append(Windows(PHONEMES_NONE, item, aligned({}, plan.layout, step), label, parts))
        return windows

    def rows(self, skipped: list[Skipped]) -> Rows:
        """The rows of all batches, in the order of the corpus."""
        order = sorted(self.records)
        return Rows(
            [self.records[place] for place in order],
            joined(self.plan, [self.columns[place] for place in order]),
            found_together(self.plan, [self.found[place] for place in order]),
            sounds_together([self.columns[place]["letters"] for place in order]),
            skipped,
        )

    def _of(self, labels: str, places: Sequence[int]) -> list[dict[str, np.ndarray]]:
        return [self.columns[place][labels] for place in places]

    def _parts(
        self, labels: str, forward: Forward, places: Sequence[int], item: np.ndarray
    ) -> dict[str, np.ndarray]:
        """By split the number of each instance's value."""
        parts = {}
        for split in self.plan.splits:
            if split == "right":
                parts[split] = np.concatenate([each["right"] for each in self._of(labels, places)])
            else:
                values = self.plan.values_of(split)
                own = [getattr(utterance, split) for utterance in forward.utterances]
                parts[split] = np.array([values.index(each) if each else -1 for each in own], np.int64)[item]
        return parts


def _instances(
    plan: Pass, forward: Forward, item: int, place: int
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The record of one utterance, its letters and its phonemes."""
    recogniser = plan.recogniser
    utterance = forward.utterances[item]
    steps = int(forward.lengths[item])
    logits = forward.logits[item, :, :steps]
    symbols = recogniser.symbols
    # Above a minute the edit alignment's table would take gigabytes, and nothing is aligned in time.
    short = utterance.duration <= LONGEST_SECONDS
    reference = symbols.classes(utterance.text) if symbols.spells_text else None
    letters = emissions(recogniser, logits, place, utterance.duration, reference if short else None)
    letters["aligned"] = _aligned_middles(recogniser, logits, reference if short else None, letters)
    spoken = plan.phones.get(utterance.name)
    letters |= _spelled(plan, utterance, spoken, letters["reference"])
    phones = spoken.phones if spoken is not None else ()
    phonemes = spoken_phonemes(recogniser, phones, plan.phonemes, place, steps)
    scored = score(utterance, text(letters["label"].tolist(), symbols))
    record = {
        "row": place,
        "name": utterance.name,
        "speaker": utterance.speaker,
        "sex": utterance.sex,
        "duration": utterance.duration,
        "frames": int(forward.frames[item]),
        "steps": steps,
        "reference": utterance.text,
        "hypothesis": scored.hypothesis,
        "letter_edits": scored.letter_edits,
        "letter_length": scored.letters,
        "word_edits": scored.word_edits,
        "word_length": scored.words,
    }
    return record, letters, phonemes


def _aligned_middles(
    recogniser: Recogniser, logits: Tensor, reference: list[int] | None, letters: dict[str, np.ndarray]
) -> np.ndarray:
    """For each right letter the middle of its span in the forced alignment, in seconds; NaN for others."""
    middles = np.full(len(letters["step"]), np.nan)
    if not reference or not (letters["reference"] >= 0).any():
        return middles
    try:
        spans = align_targets(logits, reference, recogniser.symbols.blank)
    except IntrospectError:  # too long for its audio: it has no alignment, and so no lag
        return middles
    times = recogniser.step_time(np.array([(span.first + span.last) / 2 for span in spans]))
    known = letters["reference"] >= 0
    middles[known] = times[letters["reference"][known]]
    return middles


def _spelled(
    plan: Pass, utterance: Utterance, spoken: Alignment | None, reference: np.ndarray
) -> dict[str, np.ndarray]:
    """For each right letter the middle of the phone that it spells, and which phone that is."""
    middle, phone = np.full(len(reference), np.nan), np.full(len(reference), UNKNOWN, np.int64)
    known = reference >= 0
    if spoken is not None and known.any():
        sounds = letter_sounds(utterance.text, spoken, plan.phonemes)
        middle[known], phone[known] = sounds.middle[reference[known]], sounds.phone[reference[known]]
    return {"spoken": middle, "phone": phone}


def _batched(
    columns: Sequence[Mapping[str, np.ndarray]],
) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray, np.ndarray]:
    """The instances of a batch's utterances: start and end of each's; and item, step, label ``(N,)``."""
    counts = [len(each["step"]) for each in columns]
    ends = np.cumsum(counts)
    bounds = [(int(end) - count, int(end)) for count, end in zip(counts, ends, strict=True)]
    item = np.repeat(np.arange(len(columns)), counts)
    step, label = (np.concatenate([each[name] for each in columns]) for name in ("step", "label"))
    return bounds, item, step, label
