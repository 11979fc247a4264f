"""The rows of a pass: what is known of each utterance and each instance; by slice on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_introspect.corpus.records import Skipped
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.files import read_json, write_json, writing
from asr_introspect.introspection.instances import Instances, together

SOUNDS = {"aligned": np.float64, "spoken": np.float64, "phone": np.int64}
"""What is known of each letter's sound."""


@dataclass(frozen=True)
class Rows:
    """What a pass says of utterances and instances.

    Parameters
    ----------
    utterances
        One record per utterance that was used, in the order of the corpus; ``row`` is its place there.
    instances
        By set of labels (``letters``, ``phonemes``); their column ``utterance`` is a place in the corpus.
    found
        By layer the position that each letter is about, ``(letters,)``.
    sounds
        What is known of each letter's sound, ``(letters,)``: ``aligned``, seconds of the middle of its span
        in the forced alignment; ``spoken``, of the middle of the phone that it spells (both NaN where not
        known);
        ``phone``, the index of that phone, or why there is none (see :mod:`introspection.sounds`).
    parts
        By set of labels and split the number of each instance's value, -1 for none
        (:class:`~experiments.pass_groups.LabelSet`).
    """

    utterances: list[dict[str, Any]]
    instances: dict[str, Instances]
    found: dict[str, np.ndarray]
    sounds: dict[str, np.ndarray]
    parts: dict[str, dict[str, np.ndarray]]
    skipped: list[Skipped]

    @property
    def letters(self) -> Instances:
        """The emitted letters."""
        return self.instances["letters"]

    @property
    def phonemes(self) -> Instances:
        """The spoken phonemes."""
        return self.instances["phonemes"]


def joined(plan: Pass, parts: Sequence[Mapping[str, dict[str, np.ndarray]]]) -> dict[str, Instances]:
    """Instances by set of labels, of several parts that have their columns by set."""
    return {
        name: together(each.kind, each.labels, [part[name] for part in parts])
        for name, each in plan.sets.items()
    }


def parts_together(
    plan: Pass, parts: Sequence[Mapping[str, Mapping[str, np.ndarray]]]
) -> dict[str, dict[str, np.ndarray]]:
    """Values by set of labels and split, of several parts."""
    return {
        name: {
            split: np.concatenate([np.zeros(0, np.int64), *(part[name][split] for part in parts)])
            for split in each.values
        }
        for name, each in plan.sets.items()
    }


def found_together(plan: Pass, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Positions found at the layers that shift, of several parts."""
    return {
        name: np.concatenate([np.zeros(0, np.int64), *(part[name] for part in parts)])
        for name, cone in plan.layout.items()
        if cone.shifts and plan.gradient
    }


def sounds_together(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What is known of the sounds of letters, of several parts."""
    return {
        name: np.concatenate([np.zeros(0, kind), *(part[name] for part in parts)])
        for name, kind in SOUNDS.items()
    }


def write_rows(work: Path, number: int, rows: Rows) -> None:
    """Writes a slice's rows to ``work/slices``."""
    arrays = {
        f"instances.{labels}.{name}": values
        for labels, instances in rows.instances.items()
        for name, values in instances.columns().items()
    }
    arrays |= {
        f"parts.{labels}.{split}": values
        for labels, splits in rows.parts.items()
        for split, values in splits.items()
    }
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
        return Rows(
            record["utterances"],
            joined(plan, [{name: _under(f"instances.{name}.", arrays) for name in plan.sets}]),
            _under("found.", arrays),
            _under("sounds.", arrays),
            {name: _under(f"parts.{name}.", arrays) for name in plan.sets},
            [Skipped(*each) for each in record["skipped"]],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntrospectError(f"{place}.npz is damaged ({error}); remove {work} and run again") from error


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}


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
        joined(plan, [{name: renumbered(each) for name, each in part.instances.items()} for part in parts]),
        found_together(plan, [part.found for part in parts]),
        sounds_together([part.sounds for part in parts]),
        parts_together(plan, [part.parts for part in parts]),
        [each for part in parts for each in part.skipped],
    )
