"""Sets of labels and their groups: every label, and the parts of it that splits make.

Groups follow from transcripts, phone alignments and tables alone, before the net has heard anything: every
slice, every shard and a run that goes on where it was stopped have the same ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.introspection import profiles

SPLITS = ("right", "speaker", "sex", "next", "previous", "phone", "stress")
"""What groups can be split by: right or wrong; who speaks; what follows and what went before; the phone that
a letter spells; the stress of a vowel."""

COUNTED = ("next", "previous", "phone", "stress")
"""Splits of so many values that only parts which occur are groups *(choice)*: those that transcripts, phone
alignments and tables hold at least :data:`~introspection.profiles.MINIMUM` times."""

STRESSES = ("unstressed", "primary", "secondary")
PAUSE = "pause"
SHOWN = {" ": "space", "'": "apostrophe"}


@dataclass(frozen=True)
class LabelSet:
    """Labels that profiles are made of, and their groups.

    Parameters
    ----------
    kind
        What an instance is called in tables.
    values
        By split the names of its values; parts of label C are called ``C|VALUE``.
    kept
        By split which (value, label) are groups, ``(V, L)`` bool.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    kept: Mapping[str, np.ndarray]

    @functools.cached_property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups: the labels, then the parts of each split."""
        parts = [
            f"{self.labels[label]}|{self.values[split][value]}"
            for split, kept in self.kept.items()
            for value, label in np.argwhere(kept)
        ]
        return (*self.labels, *parts)

    @functools.cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """By split the number of each (value, label) among the groups, -1 where it is none, ``(V, L)``."""
        numbers, first = {}, len(self.labels)
        for split, kept in self.kept.items():
            numbers[split] = np.where(kept, first - 1 + np.cumsum(kept).reshape(kept.shape), -1)
            first += int(kept.sum())
        return numbers

    def numbered(self, label: np.ndarray, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The numbers of each instance's groups: its label, then its part by each split, -1 for none,
        ``(N, 1 + splits)``; arguments as for :meth:`grouped`.
        """
        columns = [label]
        for split, numbers in self.numbers.items():
            value = parts[split]
            columns.append(np.where(value >= 0, numbers[value, label] if numbers.size else -1, -1))
        return np.stack(columns, axis=1)

    def grouped(self, label: np.ndarray, parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Instances by group: each once for its label, and once for every part of it that it belongs to.

        Parameters
        ----------
        label, parts
            Per instance its label, and by split the number of its value, -1 for none, ``(N,)``.

        Returns
        -------
        Which instance, and the number of its group, ``(M,)`` each.
        """
        numbers = self.numbered(label, parts).T
        _, chosen = known = np.nonzero(numbers >= 0)
        return chosen, numbers[known]


def label_set(
    name: str,
    kind: str,
    labels: tuple[str, ...],
    values: Mapping[str, tuple[str, ...]],
    occurring: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]],
) -> LabelSet:
    """A set of labels with those parts as groups that there can be enough of.

    Parameters
    ----------
    values
        By split the names of its values, for the splits that these labels have.
    occurring
        Per utterance the labels that occur and, by split, their values, ``(N,)``: what is counted.
    """
    counts = {split: np.zeros((len(values[split]), len(labels)), np.int64) for split in values}
    counted = [split for split in values if split in COUNTED]
    for label, parts in occurring if counted else ():
        for split in counted:
            known = parts[split] >= 0
            np.add.at(counts[split], (parts[split][known], label[known]), 1)
    kept = {
        split: count >= profiles.MINIMUM if split in counted else np.ones_like(count, bool)
        for split, count in counts.items()
    }
    return LabelSet(name, kind, labels, values, kept)


def neighbours(
    label: np.ndarray, touching: np.ndarray | None = None, beyond: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """What goes before and what follows each label of a sequence, ``(N,)`` each.

    Parameters
    ----------
    touching
        Whether each label and the one after it belong together, ``(N - 1,)``; all do if not given.
    beyond
        What stands for the neighbour at the ends and between labels that do not touch.
    """
    joined = np.ones(max(len(label) - 1, 0), bool) if touching is None else touching
    before, after = np.full(len(label), beyond, np.int64), np.full(len(label), beyond, np.int64)
    before[1:] = np.where(joined, label[:-1], beyond)
    after[:-1] = np.where(joined, label[1:], beyond)
    return before, after


def neighbour_values(labels: Sequence[str], *more: str) -> dict[str, tuple[str, ...]]:
    """The names of the values of ``next`` and ``previous``: ``before I``, ``after S``."""
    shown = [SHOWN.get(label, label) for label in (*labels, *more)]
    return {
        "next": tuple(f"before {name}" for name in shown),
        "previous": tuple(f"after {name}" for name in shown),
    }
