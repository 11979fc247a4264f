"""``lags.csv``: by how much letters lag or lead their sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.instances import Instances
from asr_introspect.introspection.lags import Lag, lag
from asr_introspect.introspection.offset_findings import lag_finding, layers_finding
from asr_introspect.introspection.offsets import position_seconds
from asr_introspect.introspection.profiles import MINIMUM
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT
from asr_introspect.recogniser.symbols import LETTERS

SOUNDS = {"phone": "the phone they spell", "alignment": "their span in the recogniser's own alignment"}
"""What stands for a letter's sound, as ``lags.csv`` and the findings name it."""


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``lags.csv``; returns what it says."""
    plan, rows = gathered.plan, gathered.rows
    speakers = np.array([str(record["speaker"]) for record in rows.utterances], object)
    lags = letter_lags(
        *(rows.letters, rows.found, gathered.middle, speakers[rows.letters.utterance]),
        *(plan.layout, plan.recogniser, gathered.seed),
    )
    write_lags(gathered.folder / "lags.csv", lags, gathered.sound)
    return lag_findings(lags, SOUNDS[gathered.sound])


def letter_lags(
    letters: Instances,
    found: Mapping[str, np.ndarray],
    middle: np.ndarray,
    speaker: np.ndarray,
    layout: Mapping[str, Cone],
    recogniser: Recogniser,
    seed: int,
) -> list[tuple[str, str, str, Lag]]:
    """Lags (method, layer, group, lag) of the emission step and of the found positions.

    Parameters
    ----------
    middle
        Seconds of the middle of each letter's sound, NaN where it is not known, ``(N,)``.
    speaker
        Who said each, ``(N,)``; intervals are over speakers, or utterances within them.
    """
    frame = recogniser.features.frame_seconds
    times = {("emission", ""): recogniser.step_time(letters.step)}
    for layer, positions in found.items():
        times["gradient", layer] = position_seconds(positions, layout[layer], frame)
    spoken = np.isin(np.array(letters.labels, object)[letters.label], LETTERS) & np.isfinite(middle)
    groups = {"all": spoken}
    for name in LETTERS:
        if name in letters.labels:
            groups[name] = spoken & (letters.label == letters.labels.index(name))
    rows = []
    for (method, layer), seconds in times.items():
        milliseconds = 1000 * (seconds - middle)
        for group, own in groups.items():
            if group == "all" or own.sum() >= MINIMUM:
                found_lag = lag(milliseconds[own], letters.utterance[own], speaker[own], seed=seed)
                rows.append((method, layer, group, found_lag))
    return rows


def write_lags(path: Path, rows: Sequence[tuple[str, str, str, Lag]], sound: str) -> None:
    """``lags.csv``, in milliseconds after the middle of the ``phone`` or of the span in the ``alignment``."""
    columns = ("method", "layer", "group", "count", "median_ms", "low_ms", "high_ms", "mean_ms", "sound")
    spreads = ("spread_ms", "spread_low_ms", "spread_high_ms")

    def cells(found: Lag) -> tuple[object, ...]:
        spread = found.spread
        return (
            *(found.count, found.median, found.low, found.high, found.mean, sound),
            *(spread.value, spread.low, spread.high),
        )

    write_csv(path, (*columns, *spreads), [(*names, *cells(found)) for *names, found in rows])


def lag_findings(rows: Sequence[tuple[str, str, str, Lag]], sound: str) -> list[Finding]:
    """By how much letters lag or lead their sound: where they are emitted, where the gradient finds them at
    the input, and how that moves over the layers.
    """
    found = []
    by_layer = {}
    for method, layer, group, own in rows:
        if group != "all" or not own.count:
            continue
        if method == "gradient":
            by_layer[layer] = own
        if layer in ("", INPUT):
            found.append(lag_finding(own, sound, method))
    if len(by_layer) > 1:
        found.append(layers_finding(by_layer, sound))
    return found
