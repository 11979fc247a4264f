"""``lags.csv``: by how much letters lag or lead their sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.findings import Finding, lag_finding
from asr_introspect.introspection.instances import Instances
from asr_introspect.introspection.lags import Lag, lag
from asr_introspect.introspection.offsets import position_seconds
from asr_introspect.introspection.profiles import MINIMUM
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.symbols import LETTERS

SOUNDS = {"phone": "the phone they spell", "alignment": "their span in the recogniser's own alignment"}
"""What stands for a letter's sound, as ``lags.csv`` and the findings name it."""


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``lags.csv``; returns what it says."""
    plan, rows = gathered.plan, gathered.rows
    lags = letter_lags(rows.letters, rows.found, gathered.middle, plan.layout, plan.recogniser, gathered.seed)
    write_lags(gathered.folder / "lags.csv", lags, gathered.sound)
    return lag_findings(lags, SOUNDS[gathered.sound])


def letter_lags(
    letters: Instances,
    found: Mapping[str, np.ndarray],
    middle: np.ndarray,
    layout: Mapping[str, Cone],
    recogniser: Recogniser,
    seed: int,
) -> list[tuple[str, str, str, Lag]]:
    """Lags (method, layer, group, lag) of the emission step and of the found positions.

    Parameters
    ----------
    middle
        Seconds of the middle of each letter's sound, NaN where it is not known, ``(N,)``.
    """
    frame = recogniser.features.frame_seconds
    times = {("emission", ""): recogniser.step_time(letters.step)}
    for layer, positions in found.items():
        times["gradient", layer] = position_seconds(positions, layout[layer], frame)
    spoken = np.isin(np.array(letters.labels, object)[letters.label], LETTERS) & np.isfinite(middle)
    rows = []
    for (method, layer), seconds in times.items():
        milliseconds = 1000 * (seconds - middle)
        rows.append((method, layer, "all", lag(milliseconds[spoken], letters.utterance[spoken], seed=seed)))
        for name in LETTERS:
            if name not in letters.labels:
                continue
            own = spoken & (letters.label == letters.labels.index(name))
            if own.sum() >= MINIMUM:
                rows.append((method, layer, name, lag(milliseconds[own], letters.utterance[own], seed=seed)))
    return rows


def write_lags(path: Path, rows: Sequence[tuple[str, str, str, Lag]], sound: str) -> None:
    """``lags.csv``, in milliseconds after the middle of the ``phone`` or of the span in the ``alignment``."""
    columns = ("method", "layer", "group", "count", "median_ms", "low_ms", "high_ms", "mean_ms", "sound")
    write_csv(path, columns, [(*names, *dataclasses.astuple(found), sound) for *names, found in rows])


def lag_findings(rows: Sequence[tuple[str, str, str, Lag]], sound: str) -> list[Finding]:
    """By how much letters lag or lead their sound: where they are emitted, and where the gradient finds
    them.
    """
    named = {(method, layer, group): found for method, layer, group, found in rows}
    found = []
    for method, layer in (("emission", ""), ("gradient", "input")):
        lag = named.get((method, layer, "all"))
        if lag is not None and lag.count:
            found.append(lag_finding(lag, sound, method))
    return found
