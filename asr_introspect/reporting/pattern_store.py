"""Reads ``patterns.h5``: mean aligned windows of each set of labels, and what is known of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from asr_introspect.reporting.hdf5 import opened, texts

AVERAGES = ("groups", "counts")
"""Weightings of the average that is taken off: each group alike, or by counts."""


@dataclass(frozen=True)
class Patterns:
    """Mean aligned windows of one set of labels.

    ``mean`` ``(G, F, W)``, ``count`` ``(G, W)``; ``anchor`` is the position the found frame lies on;
    ``frequencies`` ``(F,)`` in Hz. ``error``: by weighting the standard errors of the difference to the
    average, ``(G, F, W)``, empty where the run has none, and ``errors_missing`` says why; ``threshold``
    ``(G,)`` in standard errors, of ``draws`` draws; ``sounds``: by group its file, if it has one,
    ``average_sound`` that of the average.
    """

    groups: tuple[str, ...]
    mean: np.ndarray
    count: np.ndarray
    anchor: int
    frame_seconds: float
    frequencies: np.ndarray
    offset: str
    error: Mapping[str, np.ndarray]
    threshold: np.ndarray | None
    draws: int
    errors_missing: str
    sounds: tuple[Path | None, ...]
    average_sound: Path | None

    def average(self, weighting: str, inside: np.ndarray) -> np.ndarray:
        """The average over some groups ``(G,)``, each alike (``groups``) or by ``counts``; NaN where none has
        anything, ``(F, W)``.
        """
        weights = self.count[inside].astype(np.float64)
        if weighting == "groups":
            weights = (weights > 0).astype(np.float64)
        total = weights.sum(0)
        summed = (np.nan_to_num(self.mean[inside]) * weights[:, None]).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(total > 0, summed / total, np.nan))

    def significant(self, weighting: str, patterns: np.ndarray) -> np.ndarray | None:
        """Which cells of each group's pattern exceed its threshold, ``(G, F, W)``; None where that is not
        known.

        Parameters
        ----------
        patterns
            The means less the average of that weighting, ``(G, F, W)``.
        """
        if self.threshold is None or weighting not in self.error:
            return None
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(patterns) > self.threshold[:, None, None] * self.error[weighting])


def read_patterns(folder: Path) -> dict[str, Patterns]:
    """The patterns of each set of labels of a run, letters first; empty where it has none."""
    path = folder / "patterns.h5"
    if not path.exists():
        return {}
    with opened(path) as file:
        names = sorted(
            (name for name in file if isinstance(file[name], h5py.Group)), key=lambda n: (n != "letters", n)
        )
        return {name: _read(file[name], folder) for name in names}


def _read(group: h5py.Group, folder: Path) -> Patterns:
    names = texts(group["group"][()])
    sounds = texts(group["sound"][()]) if "sound" in group else ("",) * len(names)
    errors = group.get("error", {})
    threshold = group.get("threshold")
    attributes = group.attrs
    return Patterns(
        groups=names,
        mean=group["mean"][()].astype(np.float64),
        count=group["count"][()],
        anchor=int(attributes["anchor"]),
        frame_seconds=float(attributes["frame_seconds"]),
        frequencies=group["frequency"][()],
        offset=str(attributes.get("offset", "")),
        error={name: errors[name][()].astype(np.float64) for name in AVERAGES if name in errors},
        threshold=None if threshold is None else threshold[()].astype(np.float64),
        draws=0 if threshold is None else int(threshold.attrs["draws"]),
        errors_missing=str(attributes.get("errors_missing", "")),
        sounds=tuple(_within(folder, name) for name in sounds),
        average_sound=_within(folder, str(attributes.get("average_sound", ""))),
    )


def _within(folder: Path, name: str) -> Path | None:
    """A file of the run; None where there is no such file, or its name leads out of the run."""
    path = folder / name
    return path if name and path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None
