"""When letters are emitted and where in the sound their evidence was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.reporting.charts import Whisker, WhiskerChart, histogram, whiskers
from asr_introspect.reporting.geometry import geometry_of
from asr_introspect.reporting.run import Run, depth
from asr_introspect.reporting.tables import Row, number
from asr_introspect.reporting.words import (
    NONE,
    counted,
    fixed,
    layer_name,
    letter_name,
    milliseconds,
    percent,
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
    spread: str


@dataclass(frozen=True)
class OffsetHistogram:
    """Distances of found positions from their step's centre, at one layer."""

    method: str
    layer: str
    picture: str
    summary: str


@dataclass(frozen=True)
class MethodTable:
    """How well the windows of a letter agree when aligned by each method, at one layer, in words.

    ``verdict``: which of them is to be trusted, in a sentence.
    """

    layer: str
    verdict: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class TimingView:
    """Lags over all letters, per letter, and histograms of offsets; each may be empty.

    ``sound`` says in words what the lags are measured against, ``rests_on`` how many letters the methods'
    tables rest on; ``by_layer`` is a chart of where each layer finds letters, None where that is not known.
    """

    sound: str
    rows: tuple[LagRow, ...]
    by_layer: WhiskerChart | None
    rests_on: str
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
            spread=_with_range(row, "spread", 1.0, 0, "_ms"),
        )
        for row in ordered
        if row.get("group") == "all"
    )
    sounds = dict.fromkeys(SOUNDS.get(row.get("sound", ""), SOUNDS[""]) for row in run.lags)
    return TimingView(
        *(" or ".join(sounds), rows, _by_layer(ordered), counts_in_words(run)),
        *(_per_letter(run), histograms, _methods(run)),
    )


def _by_layer(rows: Sequence[Row]) -> WhiskerChart | None:
    """When letters are written, and where the gradient finds them at each layer, against their sound."""
    shown = [
        Whisker(
            "written" if row["method"] == "emission" else layer_name(row["layer"]),
            number(row.get("median_ms")),
            number(row.get("low_ms")),
            number(row.get("high_ms")),
            int(np.nan_to_num(number(row.get("count")))),
        )
        for row in rows
        if row.get("group") == "all" and row["method"] in ("emission", "gradient")
    ]
    return whiskers(shown, milliseconds, _signed, reference=0.0) if len(shown) > 1 else None


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
        tables.append(MethodTable(layer_name(layer), _verdict(own), tuple(_method_row(row) for row in own)))
    return tuple(tables)


def _verdict(rows: Sequence[Row]) -> str:
    """Which alignment is to be trusted at one layer, in a sentence; empty where the run does not say."""
    said = {
        verdict: [row for row in rows if row.get("verdict") == verdict] for verdict in ("best", "no worse")
    }
    if not said["best"]:
        return ""
    best = said["best"][0]
    controls = [_method_name(row) for row in said["no worse"] if row.get("control") == "1"]
    equal = [_method_name(row) for row in said["no worse"] if row.get("control") != "1"]
    text = (
        f"Windows agree best at {_method_name(best)}: correlation of two of a letter "
        f"{_with_range(best, 'correlation', 1.0, 3)}; the letter's mean, less its noise, is "
        f"{percent(number(best.get('signal')))} of their variance, and "
        f"{percent(number(best.get('average')))} are explained by the mean over all letters alone"
    )
    if equal:
        text += f"; no worse within the interval: {', '.join(equal)}"
    if controls:
        return f"{text}. But {' and '.join(controls)}, a control, does no worse: trust no alignment here."
    return f"{text}. All controls do worse."


def counts_in_words(run: Run) -> str:
    """How many letters the tables rest on, out of how many, and how they were drawn."""
    row = next((row for row in run.methods if row.get("of")), None)
    if row is None:
        return "On utterances drawn by seed"
    compared, of = number(row.get("count")), number(row.get("of"))
    utterances = counted(number(row.get("utterances")), "utterance")
    if compared >= of:
        return f"On all {counted(of, 'letter')} whose sound is known, in {utterances}"
    return (
        f"On {compared:,.0f} of {counted(of, 'letter')} whose sound is known, in {utterances} drawn by seed "
        "alike from all speakers: three of the methods cost a walk of their own"
    )


def _method_name(row: Row) -> str:
    return METHODS.get(row["method"], row["method"])


def _method_row(row: Row) -> tuple[str, ...]:
    name = _method_name(row)
    return (
        f"{name} (control)" if row.get("control") == "1" else name,
        _with_range(row, "explained", 100.0, 1),
        _points(row),
        _with_range(row, "signal", 100.0, 1),
        percent(number(row.get("average"))),
        _with_range(row, "correlation", 1.0, 3),
        f"{milliseconds(number(row.get('median_ms')))} ({_interval(*_numbers(row, 'low_ms', 'high_ms'))})",
        _with_range(row, "spread", 1.0, 0, "_ms"),
        percent(number(row.get("unseen"))),
    )


def _numbers(row: Row, *names: str) -> tuple[float, ...]:
    return tuple(number(row.get(name)) for name in names)


def _points(row: Row) -> str:
    """By how many points more than unmoved windows, with the interval; a dash for those themselves."""
    value, low, high = _numbers(row, "over_none", "over_none_low", "over_none_high")
    if row["method"] == "none" or not np.isfinite(value):
        return NONE
    said = [fixed(100 * each, 1, sign=True) for each in (value, low, high)]
    return f"{said[0]} ({said[1]} to {said[2]})"


def _with_range(row: Row, name: str, scale: float, digits: int, unit: str = "") -> str:
    """A number and its interval; ``unit`` is what the names of its columns end in."""
    value, low, high = _numbers(row, f"{name}{unit}", f"{name}_low{unit}", f"{name}_high{unit}")
    text = fixed(scale * value, digits)
    if not np.isfinite(low + high):
        return text
    return f"{text} ({fixed(scale * low, digits)} to {fixed(scale * high, digits)})"


def _histograms(run: Run) -> tuple[OffsetHistogram, ...]:
    """A histogram per method and layer of how far the found position lies from the step's centre."""
    geometry = geometry_of(run)
    frame = 1000 * geometry.frame_seconds
    cones = {str(cone.get("layer")): cone for cone in run.model.get("cones") or ()}
    result = []
    for method, layers in run.instances.positions.items():
        centres = geometry.step_frames * run.instances.steps[method] + geometry.centre
        for layer in sorted(layers, key=depth):
            cone = cones.get(layer, {})
            # Without a record of the layers: the input's frames, and one position a step.
            apart = int(cone.get("frames", 1 if layer == "input" else geometry.step_frames))
            first = float(cone.get("centre", 0.0 if layer == "input" else geometry.centre - 1))
            array = frame * (apart * layers[layer] + first - centres)
            result.append(_histogram(method, layer, array[np.isfinite(array)], apart * frame))
    return tuple(result)


def _histogram(method: str, layer: str, array: np.ndarray, width: float) -> OffsetHistogram:
    shown = array[np.abs(array) <= SHOWN_MS]
    tally = Counter(np.floor((shown + SHOWN_MS) / width).astype(int).tolist())
    heights = [tally.get(i, 0) for i in range(int(2 * SHOWN_MS / width) + 1)]
    low, high = np.quantile(array, (0.25, 0.75)) if len(array) else (np.nan, np.nan)
    beyond = 1 - len(shown) / len(array) if len(array) else 0.0
    rest = (
        f"; {fixed(100 * beyond, 1)} % lie more than {SHOWN_MS} ms away and are not drawn" if beyond else ""
    )
    middle = float(np.median(array)) if len(array) else float("nan")
    summary = (
        f"{counted(len(array), 'letter')}; median {milliseconds(middle)}, middle half "
        f"{fixed(float(low), 0, sign=True)} to {milliseconds(float(high))}{rest}"
    )
    name = layer_name(layer)
    return OffsetHistogram(method, name, histogram(heights, -SHOWN_MS, width, "ms", summary), summary)
