"""The one streaming pass over a corpus: forward, instances, offsets, moments; flat memory, resumable.

The corpus is cut into slices from its list of utterances alone. What a slice gives (rows of tables, moments)
does not depend on other slices; after each one its rows and the moments of all slices so far, merged in
order, are written to ``work/``. A run that was stopped goes on after the last whole slice and ends with the
same bits.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.evaluate import score
from asr_introspect.files import read_json, write_json, writing
from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.introspection.instances import Instances, emissions, spoken_phonemes, together
from asr_introspect.introspection.moments import Moments, Sums, in_threads, merge
from asr_introspect.introspection.offsets import aligned, gradient_offsets
from asr_introspect.introspection.profiles import Key, read_exact, write_moments
from asr_introspect.introspection.sounds import UNKNOWN, letter_sounds
from asr_introspect.progress import say
from asr_introspect.recogniser.alignment import align_targets
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import text
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, LONGEST_SECONDS, Forward, Spectrograms, forward_pass
from asr_introspect.recogniser.symbols import PHONEMES

SPLITS = ("right", "speaker", "sex")
"""What groups can be split by: letters right or wrong; who speaks."""

SLICE_SECONDS = 300.0
BATCH_SECONDS = 20.0

LETTERS_GRADIENT = Key("letters", "gradient")
LETTERS_NONE = Key("letters", "none")
PHONEMES_NONE = Key("phonemes", "none")


@dataclass(frozen=True)
class Rows:
    """What a pass says of utterances and instances.

    Parameters
    ----------
    utterances
        One record per utterance that was used, in the order of the corpus; ``row`` is its place there.
    letters, phonemes
        Instances; their column ``utterance`` is a place in the corpus.
    found
        By layer the position that each letter is about, ``(letters,)``.
    sounds
        What is known of each letter's sound, ``(letters,)``: ``aligned``, seconds of the middle of its span
        in the forced alignment; ``spoken``, of the middle of the phone that it spells (both NaN where not
        known);
        ``phone``, the index of that phone, or why there is none (see :mod:`introspection.sounds`).
    """

    utterances: list[dict[str, Any]]
    letters: Instances
    phonemes: Instances
    found: dict[str, np.ndarray]
    sounds: dict[str, np.ndarray]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Pass:
    """What is computed over a corpus: everything that a slice needs to know.

    Parameters
    ----------
    utterances
        All utterances of the corpus.
    phones
        Phone alignments by utterance name; empty where there are none.
    spectrograms
        Where inputs come from if not from sound (a cache), by place in the corpus.
    gradient
        Whether letters are also aligned by their gradients; without, they stand at offset 0 only.
    shard
        (i, n): only the i-th of n runs of neighbouring slices, counted from 1.
    splits
        What groups are also split by (:data:`SPLITS`): for letter C and ``right`` there are then also
        ``C|right`` and ``C|wrong``.
    """

    recogniser: Recogniser
    utterances: Sequence[Utterance]
    phones: Mapping[str, Alignment]
    spectrograms: Spectrograms | None = None
    slice_seconds: float = SLICE_SECONDS
    batch_seconds: float = BATCH_SECONDS
    gradient: bool = True
    shard: tuple[int, int] = (1, 1)
    splits: tuple[str, ...] = ()

    @functools.cached_property
    def layout(self) -> dict[str, Cone]:
        """The cone of each layer."""
        return cones(self.recogniser.network)

    @functools.cached_property
    def letters(self) -> tuple[str, ...]:
        """What letters are called: the recogniser's classes."""
        return self.recogniser.symbols.symbols

    @functools.cached_property
    def phonemes(self) -> tuple[str, ...]:
        """The phones of the alignments, those of ARPAbet first, in its order."""
        spoken = {without_stress(phone.symbol) for each in self.phones.values() for phone in each.phones}
        return tuple(p for p in PHONEMES if p in spoken) + tuple(sorted(spoken - set(PHONEMES)))

    def values_of(self, split: str) -> tuple[str, ...]:
        """The values of a split."""
        if split == "right":
            return "wrong", "right"
        return tuple(sorted({getattr(utterance, split) for utterance in self.utterances} - {""}))

    def groups(self, key: Key) -> tuple[str, ...]:
        """The groups of some profiles: the labels, then those of each split."""
        labels = self.phonemes if key.labels == "phonemes" else self.letters
        parts = [
            f"{name}|{value}" for split in self.splits for value in self.values_of(split) for name in labels
        ]
        return (*labels, *parts)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The profiles that are made."""
        first = (LETTERS_GRADIENT,) if self.gradient else ()
        return (*first, LETTERS_NONE, *((PHONEMES_NONE,) if self.phonemes else ()))

    @functools.cached_property
    def slices(self) -> list[range]:
        """Places in the corpus of each slice's utterances: neighbours of ``slice_seconds`` together."""
        found, first, seconds = [], 0, 0.0
        for place, utterance in enumerate(self.utterances):
            seconds += utterance.duration
            if seconds >= self.slice_seconds:
                found.append(range(first, place + 1))
                first, seconds = place + 1, 0.0
        return found + ([range(first, len(self.utterances))] if first < len(self.utterances) else [])

    @property
    def own(self) -> range:
        """The numbers of this shard's slices."""
        number, of = self.shard
        count = len(self.slices)
        return range(count * (number - 1) // of, count * number // of)


MomentsByLayer = dict[tuple[Key, str], Moments]


def run_slice(plan: Pass, places: range) -> tuple[Rows, MomentsByLayer]:
    """One slice: its rows and its moments."""
    recogniser = plan.recogniser
    utterances = [plan.utterances[place] for place in places]
    skipped: list[Skipped] = []
    spectrograms = None if plan.spectrograms is None else functools.partial(_of_slice, plan, places)
    sums: dict[tuple[Key, str], Sums] = {}
    records: dict[int, dict[str, Any]] = {}
    letters: dict[int, dict[str, np.ndarray]] = {}
    phonemes: dict[int, dict[str, np.ndarray]] = {}
    found: dict[int, dict[str, np.ndarray]] = {}
    for forward in forward_pass(
        recogniser,
        utterances,
        layers=tuple(plan.layout),
        batch_seconds=plan.batch_seconds,
        spectrograms=spectrograms,
        skipped=skipped,
        what=f"introspect {places.start + 1:,} to {places.stop:,} of {len(plan.utterances):,}",
    ):
        spoken = [places[position] for position in forward.positions]
        for number, place in enumerate(spoken):
            records[place], letters[place], phonemes[place] = _instances(plan, forward, number, place)
        of_letters, item, step, label = _batched(letters, spoken)
        positions = gradient_offsets(recogniser, forward, item, step, label) if plan.gradient else {}
        for place, start, end in of_letters:
            found[place] = {name: values[start:end] for name, values in positions.items()}
        right = np.concatenate([letters[place]["right"] for place in spoken])
        windows = [Windows(LETTERS_NONE, item, aligned({}, plan.layout, step), label)]
        if plan.gradient:
            windows.append(Windows(LETTERS_GRADIENT, item, aligned(positions, plan.layout, step), label))
        if plan.phonemes:
            _, item, step, label = _batched(phonemes, spoken)
            windows.append(Windows(PHONEMES_NONE, item, aligned({}, plan.layout, step), label))
        _add(plan, sums, forward, [_with_splits(plan, forward, each, right) for each in windows])
    order = sorted(records)
    rows = Rows(
        [records[place] for place in order],
        together("letter", plan.letters, [letters[place] for place in order]),
        together("phoneme", plan.phonemes, [phonemes[place] for place in order]),
        _found_together(plan, [found[place] for place in order]),
        _sounds_together([letters[place] for place in order]),
        skipped,
    )
    return rows, {at: each.moments() for at, each in sums.items()}


def _of_slice(plan: Pass, places: range, position: int) -> Tensor:
    assert plan.spectrograms is not None
    return plan.spectrograms(places[position])


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
    columns: Mapping[int, Mapping[str, np.ndarray]], places: Sequence[int]
) -> tuple[list[tuple[int, int, int]], np.ndarray, np.ndarray, np.ndarray]:
    """The instances of a batch's utterances: (place, start, end) of each, and item, step, label ``(N,)``."""
    counts = [len(columns[place]["step"]) for place in places]
    ends = np.cumsum(counts)
    bounds = [(place, int(end) - n, int(end)) for place, n, end in zip(places, counts, ends, strict=True)]
    item = np.repeat(np.arange(len(places)), counts)
    step, label = (np.concatenate([columns[place][name] for place in places]) for name in ("step", "label"))
    return bounds, item, step, label


def _sounds_together(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([np.zeros(0, kind), *(part[name] for part in parts)])
        for name, kind in (("aligned", np.float64), ("spoken", np.float64), ("phone", np.int64))
    }


def _found_together(plan: Pass, parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([np.zeros(0, np.int64), *(part[name] for part in parts)])
        for name, cone in plan.layout.items()
        if cone.shifts and plan.gradient
    }


def layer_rows(forward: Forward, layer: str) -> np.ndarray:
    """Activations of a batch with positions as rows, ``(B, T, C)``; the logits centred over the symbols."""
    values = forward.activations[layer]
    if layer == LAYERS[-1]:
        values = values - values.mean(1, keepdim=True)
    return values.transpose(1, 2).contiguous().cpu().numpy()


@dataclass(frozen=True)
class Windows:
    """Windows of one batch for one set of profiles: per window its item, its group, and where it stands by
    layer.
    """

    key: Key
    item: np.ndarray
    positions: Mapping[str, np.ndarray]
    label: np.ndarray


def _with_splits(plan: Pass, forward: Forward, some: Windows, right: np.ndarray) -> Windows:
    """The windows once more for every group of a split that they belong to."""
    labels = plan.phonemes if some.key.labels == "phonemes" else plan.letters
    chosen, label, first = [np.arange(len(some.item))], [some.label], len(labels)
    for split in plan.splits:
        values = plan.values_of(split)
        if split == "right":
            value = right if some.key.labels == "letters" else np.full(len(some.item), -1)
        else:
            own = [getattr(utterance, split) for utterance in forward.utterances]
            value = np.array([values.index(each) if each else -1 for each in own], np.int64)[some.item]
        known = np.flatnonzero(value >= 0)
        chosen.append(known)
        label.append(first + value[known] * len(labels) + some.label[known])
        first += len(values) * len(labels)
    rows = np.concatenate(chosen)
    positions = {layer: at[rows] for layer, at in some.positions.items()}
    return Windows(some.key, some.item[rows], positions, np.concatenate(label))


def _add(plan: Pass, sums: dict[tuple[Key, str], Sums], forward: Forward, windows: Sequence[Windows]) -> None:
    """Adds the windows of a batch at every layer, layers side by side."""

    def add(layer: str, cone: Cone) -> None:
        rows = layer_rows(forward, layer)
        lengths = (forward.frames if layer == INPUT else forward.lengths).numpy()
        for some in windows:
            at = (some.key, layer)
            if at not in sums:
                valid = np.concatenate([rows[i, :length] for i, length in enumerate(lengths)])
                centre = valid.mean(0, dtype=np.float64)
                sums[at] = Sums(plan.groups(some.key), centre, cone.first, cone.positions)
            sums[at].add(rows, some.item, some.positions[layer], lengths, some.label)

    in_threads(
        {layer: functools.partial(add, layer, cone) for layer, cone in plan.layout.items()},
        torch.get_num_threads(),
    )


# ------------------------------------------------------------------------------------------- slices on disk


def streamed(plan: Pass, work: Path) -> Iterator[tuple[int, Rows]]:
    """Runs the slices that are not done, and yields (slice, its rows) for every slice in order.

    When it is through, ``work/moments.h5`` holds the moments of the whole corpus.
    """
    done = slices_done(work)
    if done:
        say(f"going on after slice {done} of {len(plan.own)}")
    for position, number in enumerate(plan.own):
        if position < done:
            yield number, read_rows(plan, work, number)
            continue
        rows, found = run_slice(plan, plan.slices[number])
        write_rows(work, number, rows)
        _merge_into(plan, work, found, position + 1)
        yield number, rows


def slices_done(work: Path) -> int:
    """How many slices the moments in ``work`` hold."""
    path = work / "moments.h5"
    if not path.exists():
        return 0
    try:
        with h5py.File(path, "r") as file:
            return int(file.attrs["slices"])
    except (OSError, KeyError) as error:
        raise IntrospectError(f"{path} is damaged ({error}); remove {work} and run again") from error


def _merge_into(plan: Pass, work: Path, found: MomentsByLayer, slices: int) -> None:
    """Merges a slice's moments into ``work/moments.h5``, a layer at a time: never both parts in memory."""
    path = work / "moments.h5"
    with contextlib.ExitStack() as opened:
        before = opened.enter_context(h5py.File(path, "r")) if slices > 1 else None
        temporary = opened.enter_context(writing(path))
        file = opened.enter_context(h5py.File(temporary, "w"))
        file.attrs["slices"] = slices
        for key in plan.keys:
            for layer, cone in plan.layout.items():
                known = before is not None and f"{key.path}/{layer}" in before
                parts = [read_exact(before, key, layer)] if known else []
                if (key, layer) in found:
                    parts.append(found.pop((key, layer)))
                if parts:
                    write_moments(file, key, cone, functools.reduce(merge, parts), exact=True)


def merged_moments(plan: Pass, work: Path) -> Iterator[tuple[Key, str, Moments]]:
    """The moments of the whole corpus, one layer at a time."""
    with h5py.File(work / "moments.h5", "r") as file:
        for key in plan.keys:
            for layer in plan.layout:
                if f"{key.path}/{layer}" in file:
                    yield key, layer, read_exact(file, key, layer)


def write_rows(work: Path, number: int, rows: Rows) -> None:
    """Writes a slice's rows to ``work/slices``."""
    arrays = {f"letters.{name}": values for name, values in rows.letters.columns().items()}
    arrays |= {f"phonemes.{name}": values for name, values in rows.phonemes.columns().items()}
    arrays |= {f"found.{name}": values for name, values in rows.found.items()}
    arrays |= {f"sounds.{name}": values for name, values in rows.sounds.items()}
    with writing(work / "slices" / f"{number:05}.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    skipped = [[each.item, each.reason] for each in rows.skipped]
    write_json(work / "slices" / f"{number:05}.json", {"utterances": rows.utterances, "skipped": skipped})


def read_rows(plan: Pass, work: Path, number: int) -> Rows:
    """A slice's rows as they were written."""
    place = work / "slices" / f"{number:05}"
    record = read_json(place.with_suffix(".json"))
    try:
        with np.load(place.with_suffix(".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        letters, phonemes, found, sounds = (
            {name.partition(".")[2]: values for name, values in arrays.items() if name.startswith(f"{kind}.")}
            for kind in ("letters", "phonemes", "found", "sounds")
        )
        return Rows(
            record["utterances"],
            together("letter", plan.letters, [letters]),
            together("phoneme", plan.phonemes, [phonemes]),
            found,
            sounds,
            [Skipped(*each) for each in record["skipped"]],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntrospectError(f"{place}.npz is damaged ({error}); remove {work} and run again") from error


def all_rows(plan: Pass, parts: Sequence[Rows]) -> Rows:
    """The rows of all slices, with utterances numbered from 0 in the order of the corpus."""
    utterances = [record for part in parts for record in part.utterances]
    number = {record["row"]: i for i, record in enumerate(utterances)}

    def renumbered(instances: Instances) -> dict[str, np.ndarray]:
        columns = instances.columns()
        places = [number[int(place)] for place in columns["utterance"]]
        return {**columns, "utterance": np.array(places, np.int64)}

    return Rows(
        utterances,
        together("letter", plan.letters, [renumbered(part.letters) for part in parts]),
        together("phoneme", plan.phonemes, [renumbered(part.phonemes) for part in parts]),
        _found_together(plan, [part.found for part in parts]),
        _sounds_together([part.sounds for part in parts]),
        [each for part in parts for each in part.skipped],
    )
