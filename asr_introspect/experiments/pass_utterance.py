"""What the pass hears in one utterance: its record and the instances of every set of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_introspect.corpus.records import Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import score
from asr_introspect.experiments.pass_known import Transcript
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.introspection.instances import aligned_letters, emissions, placed
from asr_introspect.introspection.sounds import UNKNOWN
from asr_introspect.recogniser.alignment import Span, align_targets
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import text
from asr_introspect.recogniser.passes import LONGEST_SECONDS, Forward

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Heard:
    """One utterance in a pass.

    Parameters
    ----------
    record
        Its row of ``utterances.csv``.
    columns, parts
        By set of labels the columns of its instances, and by split the number of each one's value.
    sounds
        What is known of each letter's sound (:class:`~experiments.pass_rows.Rows`).
    """

    record: dict[str, Any]
    columns: dict[str, Columns]
    parts: dict[str, Columns]
    sounds: Columns


def heard(plan: Pass, forward: Forward, item: int, place: int) -> Heard:
    """One utterance of a batch.

    Parameters
    ----------
    item, place
        Its row in the batch and its place in the corpus.
    """
    recogniser, utterance = plan.recogniser, forward.utterances[item]
    steps = int(forward.lengths[item])
    logits = forward.logits[item, :, :steps]
    # Above a minute the edit alignment's table would take gigabytes, and nothing is aligned in time.
    known = plan.transcript(utterance) if utterance.duration <= LONGEST_SECONDS else None
    reference = None if known is None else known.label.tolist()
    letters = emissions(recogniser, logits, place, utterance.duration, reference)
    wanted = "letters-aligned" in plan.sets or bool((letters["reference"] >= 0).any())
    spans = _spans(recogniser, logits, reference) if reference and wanted else []
    columns = {"letters": letters}
    parts = {"letters": _of_letters(known, letters["reference"]) | {"right": letters["right"]}}
    if "letters-aligned" in plan.sets:
        aligned = aligned_letters(recogniser, spans, reference or (), place, utterance.duration)
        columns["letters-aligned"] = aligned
        parts["letters-aligned"] = _of_letters(known, aligned["reference"])
    for name in plan.sets:
        if name not in columns:
            timeline = plan.timeline(name, utterance)
            columns[name], kept = placed(
                recogniser, timeline.label, timeline.start, timeline.end, place, steps
            )
            parts[name] = {split: values[kept] for split, values in timeline.parts.items()}
    for name, labels in plan.sets.items():
        own = {split: parts[name][split] for split in labels.values if split in parts[name]}
        own |= _of_speaker(plan, utterance, len(columns[name]["step"]), labels.values)
        parts[name] = own
    sounds = _sounds(recogniser, known, spans, letters["reference"])
    return Heard(_record(plan, forward, item, place, letters), columns, parts, sounds)


def _record(plan: Pass, forward: Forward, item: int, place: int, letters: Columns) -> dict[str, Any]:
    utterance = forward.utterances[item]
    scored = score(utterance, text(letters["label"].tolist(), plan.recogniser.symbols))
    return {
        "row": place,
        "name": utterance.name,
        "speaker": utterance.speaker,
        "sex": utterance.sex,
        "duration": utterance.duration,
        "frames": int(forward.frames[item]),
        "steps": int(forward.lengths[item]),
        "reference": utterance.text,
        "hypothesis": scored.hypothesis,
        "letter_edits": scored.letter_edits,
        "letter_length": scored.letters,
        "word_edits": scored.word_edits,
        "word_length": scored.words,
    }


def _spans(recogniser: Recogniser, logits: Any, reference: list[int]) -> list[Span]:
    """The forced alignment of a transcript; empty where it is too long for its audio."""
    try:
        return align_targets(logits, reference, recogniser.symbols.blank)
    except IntrospectError:
        return []


def _of_letters(known: Transcript | None, reference: np.ndarray) -> Columns:
    """By split the values of letters by their places in the transcript; -1 where they have none."""
    if known is None:
        return {split: np.full(len(reference), -1, np.int64) for split in ("previous", "next", "phone")}
    return {split: _looked_up(values, reference, -1) for split, values in known.parts.items()}


def _of_speaker(
    plan: Pass, utterance: Utterance, count: int, values: Mapping[str, tuple[str, ...]]
) -> Columns:
    """By split the value that all instances of an utterance have: who speaks."""
    found = {}
    for split in ("speaker", "sex"):
        if split in values:
            own = getattr(utterance, split)
            found[split] = np.full(count, values[split].index(own) if own else -1, np.int64)
    return found


def _sounds(
    recogniser: Recogniser, known: Transcript | None, spans: list[Span], reference: np.ndarray
) -> Columns:
    """What is known of the sound of emitted letters, by their places in the transcript."""
    if known is None:
        nothing = np.full(len(reference), np.nan)
        return {"aligned": nothing, "spoken": nothing, "phone": np.full(len(reference), UNKNOWN, np.int64)}
    middles = np.full(len(known.label), np.nan)
    if spans:
        middles[:] = recogniser.step_time(np.array([(span.first + span.last) / 2 for span in spans]))
    return {
        "aligned": _looked_up(middles, reference, np.nan),
        "spoken": _looked_up(known.middle, reference, np.nan),
        "phone": _looked_up(known.phone, reference, UNKNOWN),
    }


def _looked_up(values: np.ndarray, places: np.ndarray, missing: float) -> np.ndarray:
    found = np.full(len(places), missing, values.dtype)
    found[places >= 0] = values[places[places >= 0]]
    return found
