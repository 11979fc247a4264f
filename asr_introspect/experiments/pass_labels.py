"""Which instances the batches of a pass hold, and where their windows stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.corpus.records import Skipped
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, Pass
from asr_introspect.experiments.pass_rows import (
    Rows,
    found_together,
    joined,
    parts_together,
    sounds_together,
)
from asr_introspect.experiments.pass_utterance import Heard, heard
from asr_introspect.introspection.offsets import aligned, gradient_offsets
from asr_introspect.introspection.profiles import Key
from asr_introspect.recogniser.passes import Forward


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
        By split the number of the value that it has (:class:`LabelSet`), -1 for none, ``(N,)``.
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
        self.heard: dict[int, Heard] = {}
        self.found: dict[int, dict[str, np.ndarray]] = {}

    def add(self, forward: Forward) -> list[Windows]:
        """Keeps the instances of a batch; returns the windows of each set of profiles."""
        plan = self.plan
        places = [self.places[position] for position in forward.positions]
        for row, place in enumerate(places):
            self.heard[place] = heard(plan, forward, row, place)
        named = (name for name, labels in plan.sets.items() if labels.labels)
        return [some for name in named for some in self._windows(name, forward, places)]

    def _windows(self, name: str, forward: Forward, places: Sequence[int]) -> list[Windows]:
        """The windows of one set of labels; those of letters are kept as they are found."""
        plan, own = self.plan, [self.heard[place] for place in places]
        counts = [len(each.columns[name]["step"]) for each in own]
        item = np.repeat(np.arange(len(own)), counts)
        step, label = (
            np.concatenate([each.columns[name][column] for each in own]) for column in ("step", "label")
        )
        splits = plan.sets[name].values
        parts = {split: np.concatenate([each.parts[name][split] for each in own]) for split in splits}
        windows = [Windows(Key(name, "none"), item, aligned({}, plan.layout, step), label, parts)]
        if name != LETTERS_GRADIENT.labels:
            return windows
        found = gradient_offsets(plan.recogniser, forward, item, step, label) if plan.gradient else {}
        for place, count, end in zip(places, counts, np.cumsum(counts), strict=True):
            self.found[place] = {layer: at[end - count : end] for layer, at in found.items()}
        if plan.gradient:
            at = aligned(found, plan.layout, step)
            windows.append(Windows(LETTERS_GRADIENT, item, at, label, parts))
        return windows

    def rows(self, skipped: list[Skipped]) -> Rows:
        """The rows of all batches, in the order of the corpus."""
        order = sorted(self.heard)
        own = [self.heard[place] for place in order]
        return Rows(
            [each.record for each in own],
            joined(self.plan, [each.columns for each in own]),
            found_together(self.plan, [self.found[place] for place in order]),
            sounds_together([each.sounds for each in own]),
            parts_together(self.plan, [each.parts for each in own]),
            skipped,
        )
