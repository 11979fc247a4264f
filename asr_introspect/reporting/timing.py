"""When letters are emitted and where in the sound their evidence was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from asr_introspect.reporting.charts import Whisker, WhiskerChart, histogram, whiskers
from asr_introspect.reporting.geometry import geometry_of
from asr_introspect.reporting.run import Run, depth
from asr_introspect.reporting.tables import Row, number
from asr_introspect.reporting.words import (
    counted,
    fixed,
    layer_name,
    letter_name,
    milliseconds,
    percent,
    percent_range,
)

SOUNDS = {
    "phone": "the middle of the phone that it spells, from the phone alignments",
    "alignment": "the middle of its span in the forced alignment of the transcript",
    "": "the middle of its sound",
}
"""What ``lags.csv`` says a lag is measured against, in words."""

SHOWN_MS = 300
"""The histogram's half width; what lies outside is counted in words."""


@dataclass(frozen=True)
class LagRow:
    """A row of the table of lags, in words."""

    what: str
    count: str
    median: str
    interval: str
    mean: str


@dataclass(frozen=True)
class OffsetHistogram:
    """Distances of found frames from their step's centre."""

    method: str
    picture: str
    summary: str


@dataclass(frozen=True)
class MethodTable:
    """How well the windows of a letter agree when aligned by each method, at one layer, in words."""

    layer: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class TimingView:
    """Lags over all letters, per letter, and histograms of offsets; each may be empty.

    ``sound`` says in words what the lags are measured against.
    """

    sound: str
    rows: tuple[LagRow, ...]
    per_letter: tuple[tuple[str, WhiskerChart], ...]
    histograms: tuple[OffsetHistogram, ...]
    methods: tuple[MethodTable, ...]


def timing_view(run: Run) -> TimingView | None:
    """Lags and offsets, or None where the run has neither."""
    histograms = _histograms(run)
    if not (run.lags or histograms or run.methods):
        return None
    ordered = sorted(
        run.lags, key=lambda row: (row.get("method") != "emission", row.get("method"), depth(row["layer"]))
    )
    rows = tuple(
        LagRow(
            what=lag_name(row["method"], row["layer"]),
            count=f"{number(row.get('count')):,.0f}",
            median=milliseconds(number(row.get("median_ms"))),
            interval=_interval(number(row.get("low_ms")), number(row.get("high_ms"))),
            mean=milliseconds(number(row.get("mean_ms"))),
        )
        for row in ordered
        if row.get("group") == "all"
    )
    sounds = dict.fromkeys(SOUNDS.get(row.get("sound", ""), SOUNDS[""]) for row in run.lags)
    return TimingView(" or ".join(sounds), rows, _per_letter(run), histograms, _methods(run))


def lag_name(method: str, layer: str) -> str:
    """What a lag is of, in words."""
    if method in ("emission", "none", "step"):
        return "emission (the step's own time)"
    return f"found by {method}, {layer_name(layer)}"


def _signed(value: float) -> str:
    return fixed(value, 0, sign=True)


def _interval(low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "no interval"
    return f"{fixed(low, 0, sign=True)} to {milliseconds(high)}"


def _per_letter(run: Run) -> tuple[tuple[str, WhiskerChart], ...]:
    """A chart of medians per letter for each method at its shallowest layer, at most two."""
    places: dict[str, str] = {}
    for row in run.lags:
        method, layer = row["method"], row["layer"]
        if method not in places or depth(layer) < depth(places[method]):
            places[method] = layer
    charts = []
    for method in sorted(places, key=lambda name: (name != "emission", name != "gradient", name))[:2]:
        rows = [
            Whisker(
                letter_name(row["group"]),
                number(row.get("median_ms")),
                number(row.get("low_ms")),
                number(row.get("high_ms")),
                int(np.nan_to_num(number(row.get("count")))),
            )
            for row in run.lags
            if (row["method"], row["layer"]) == (method, places[method]) and row["group"] != "all"
        ]
        rows.sort(key=lambda it: (not np.isfinite(it.value), it.value))
        if rows:
            charts.append(
                (lag_name(method, places[method]), whiskers(rows, milliseconds, _signed, reference=0.0))
            )
    return tuple(charts)


METHODS = {
    "gradient": "gradient, largest",
    "centre": "gradient, centre of mass",
    "lrp": "relevance, largest",
    "ctc": "forced alignment, likeliest step",
    "phone": "middle of the phone",
    "none": "the step itself",
    "random": "random place",
    "other-letter": "gradient of another letter",
    "scrambled": "gradient on scrambled phases",
}


def _methods(run: Run) -> tuple[MethodTable, ...]:
    """A table for each layer, the shallowest first, methods by how much of the variance they explain."""
    tables = []
    for layer in sorted({row["layer"] for row in run.methods}, key=depth):
        own = [row for row in run.methods if row["layer"] == layer]
        own.sort(key=lambda row: -np.nan_to_num(number(row.get("explained")), nan=-9.0))
        tables.append(MethodTable(layer_name(layer), tuple(_method_row(row) for row in own)))
    return tuple(tables)


def _method_row(row: Row) -> tuple[str, ...]:
    name = METHODS.get(row["method"], row["method"])
    return (
        f"{name} (control)" if row.get("control") == "1" else name,
        f"{number(row.get('count')):,.0f}",
        percent(number(row.get("explained"))),
        percent_range(number(row.get("explained_low")), number(row.get("explained_high"))),
        fixed(number(row.get("correlation")), 3),
        milliseconds(number(row.get("median_ms"))),
        milliseconds(number(row.get("spread_ms"))).lstrip("+"),
        percent(number(row.get("unseen"))),
    )


def _histograms(run: Run) -> tuple[OffsetHistogram, ...]:
    """A histogram per method of how far the found input frame lies from the step's centre."""
    geometry = geometry_of(run)
    width = 1000 * geometry.frame_seconds
    result = []
    for method, frames in run.instances.frames.items():
        centres = geometry.step_frames * run.instances.steps[method] + geometry.centre
        array = width * (frames - centres)
        shown = array[np.abs(array) <= SHOWN_MS]
        tally = Counter(np.floor((shown + SHOWN_MS) / width).astype(int).tolist())
        heights = [tally.get(i, 0) for i in range(int(2 * SHOWN_MS / width) + 1)]
        low, high = np.quantile(array, (0.25, 0.75))
        beyond = 1 - len(shown) / len(array)
        rest = (
            f"; {fixed(100 * beyond, 1)} % lie more than {SHOWN_MS} ms away and are not drawn"
            if beyond
            else ""
        )
        summary = (
            f"{counted(len(array), 'letter')}; median {milliseconds(float(np.median(array)))}, middle half "
            f"{fixed(float(low), 0, sign=True)} to {milliseconds(float(high))}{rest}"
        )
        result.append(OffsetHistogram(method, histogram(heights, -SHOWN_MS, width, "ms", summary), summary))
    return tuple(result)
