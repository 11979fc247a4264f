"""Parts of groups: in which layers right and wrong letters, speakers, or the C of CITY and of CAT differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from asr_introspect.reporting.charts import nice_ticks
from asr_introspect.reporting.run import Run, depth
from asr_introspect.reporting.tables import Row, number
from asr_introspect.reporting.words import NONE, fixed, layer_name, layer_tick, letter_name, significance

TITLES = {
    "right": "right and wrong",
    "speaker": "by speaker",
    "sex": "women and men",
    "next": "by what follows",
    "previous": "by what went before",
    "phone": "by the phone they spell",
    "stress": "by stress",
}
SAME_PART = {
    "right": "different {many}, both right or both wrong",
    "speaker": "different {many} of one speaker",
    "sex": "different {many} of one sex",
    "next": "different {many} before the same",
    "previous": "different {many} after the same",
    "phone": "different {many} that spell one phone",
    "stress": "different {many} of one stress",
}
ONE = {"letters": ("letter", "letters"), "phonemes": ("phoneme", "phonemes")}
MOST_PAIRS = 10
PAIR_LAYERS = ("input", "layer1", "layer5", "layer8", "layer9", "layer10", "layer11", "layer12")


@dataclass(frozen=True)
class SplitView:
    """One split of one set of labels.

    ``rows``: per layer both shares with their intervals; ``pairs``: the commonest part of each group beside
    its next two, and how far apart they are at ``pair_layers``.
    """

    title: str
    same_group: str
    same_part: str
    picture: Markup
    rests_on: str
    rows: tuple[tuple[str, ...], ...]
    pair_layers: tuple[str, ...]
    pairs: tuple[tuple[str, ...], ...]
    pairs_more: int


def splits_views(run: Run) -> tuple[SplitView, ...]:
    """All splits of a run; none where groups were not split, or no group has two parts of 20 instances."""
    keys = dict.fromkeys((row["labels"], row["split"]) for row in run.splits)
    return tuple(_view(run, *key) for key in keys)


def _view(run: Run, labels: str, split: str) -> SplitView:
    rows = [row for row in run.splits if (row["labels"], row["split"]) == (labels, split)]
    rows.sort(key=lambda row: depth(row["layer"]))
    one, many = ONE.get(labels, ("label", "labels"))
    title = f"{many.capitalize()}, {TITLES.get(split, split)}"
    shared = SAME_PART.get(split, "different {many}, one part").format(many=many)
    first, pairs = rows[0], _pairs(run.split_pairs, labels, split)
    left_out = f", {int(number(first['left_out'])):,} parts with fewer left out" if first["left_out"] else ""
    rests_on = (
        f"{int(number(first['instances'])):,} instances in {int(number(first['cells'])):,} parts of "
        f"{int(number(first['groups'])):,} {many}, each part with at least 20{left_out}; intervals leave out "
        f"blocks of {first['unit']}"
    )
    layers = tuple(name for name in PAIR_LAYERS if any(row["layer"] == name for row in rows))
    return SplitView(
        title,
        f"parts of one {one}",
        shared,
        _curves(rows, f"{title}: share of the squared distance of {many} that share neither, by layer"),
        rests_on,
        tuple(_row(row) for row in rows),
        tuple(layer_name(name) for name in layers),
        tuple(_pair(own, layers) for own in pairs[:MOST_PAIRS]),
        max(len(pairs) - MOST_PAIRS, 0),
    )


def _row(row: Row) -> tuple[str, ...]:
    return (
        layer_name(row["layer"]),
        fixed(number(row["same_group"])),
        _interval(row, "low", "high"),
        f"{fixed(number(row['null_low']))} to {fixed(number(row['null_high']))}",
        significance(number(row["p_value"])),
        fixed(number(row["same_part"])),
        _interval(row, "same_part_low", "same_part_high"),
    )


def _interval(row: Row, low: str, high: str) -> str:
    ends = number(row[low]), number(row[high])
    return f"{fixed(ends[0])} to {fixed(ends[1])}" if np.isfinite(sum(ends)) else NONE


def _pairs(rows: Sequence[Row], labels: str, split: str) -> list[dict[str, Row]]:
    """By layer the rows of each pair, in the order of the table."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if (row["labels"], row["split"]) == (labels, split):
            found.setdefault((row["group"], row["first"], row["second"]), {})[row["layer"]] = row
    return list(found.values())


def _pair(own: dict[str, Row], layers: Sequence[str]) -> tuple[str, ...]:
    first = next(iter(own.values()))
    cells = []
    for layer in layers:
        row = own.get(layer)
        value = NONE if row is None else fixed(number(row["distance"]))
        reach = float("nan") if row is None else (number(row["high"]) - number(row["low"])) / 2
        cells.append(f"{value} ± {fixed(reach)}" if np.isfinite(reach) else value)
    parts = [f"{first[side]} ({int(number(first[f'{side}_count'])):,})" for side in ("first", "second")]
    return (letter_name(first["group"]), *parts, *cells)


def _curves(rows: Sequence[Row], label: str) -> Markup:
    """Both shares over the layers, with their intervals and the null of the first."""
    across, top, tall, left, right = 420.0, 10.0, 170.0, 44.0, 10.0
    columns = ("same_group", "low", "high", "null_low", "null_high", "same_part")
    values = [number(row[name]) for row in rows for name in columns]
    known = [value for value in values if np.isfinite(value)]
    low, high = min([*known, 0.0]) - 0.05, max([*known, 1.0]) + 0.05
    step = (across - left - right) / max(len(rows) - 1, 1)

    def x(i: int) -> float:
        return left + i * step

    def y(value: float) -> float:
        return top + tall * (1 - (value - low) / (high - low))

    def line(name: str, style: str) -> list[str]:
        points = [(i, number(row[name])) for i, row in enumerate(rows)]
        path = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in points if np.isfinite(value))
        return [f'<polyline class="{style}" points="{path}"/>'] if path else []

    parts = []
    for tick in nice_ticks(low, high, about=6):
        if low <= tick <= high:
            parts.append(f'<path class="grid" d="M{left} {y(tick):.1f}H{across - right}"/>')
            parts.append(
                f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{fixed(tick, 2)}</text>'
            )
    band = [
        (i, number(row["null_low"]), number(row["null_high"]))
        for i, row in enumerate(rows)
        if np.isfinite(number(row["null_low"]))
    ]
    if band:
        corners = [f"{x(i):.1f},{y(upper):.1f}" for i, _, upper in band]
        corners += [f"{x(i):.1f},{y(lower):.1f}" for i, lower, _ in reversed(band)]
        parts.append(f'<polygon class="null" points="{" ".join(corners)}"/>')
    parts += line("same_part", "second") + line("same_group", "curve")
    for i, row in enumerate(rows):
        ends = number(row["low"]), number(row["high"])
        if np.isfinite(sum(ends)):
            parts.append(f'<path class="interval" d="M{x(i):.1f} {y(ends[0]):.1f}V{y(ends[1]):.1f}"/>')
        value = number(row["same_group"])
        if np.isfinite(value):
            style = "beyond" if ends[0] > max(number(row["null_high"]), 0.0) else "chance"
            parts.append(f'<circle class="{style}" cx="{x(i):.1f}" cy="{y(value):.1f}" r="4"/>')
        middle = f'{x(i):.1f}" y="{top + tall + 18}" text-anchor="middle'
        parts.append(f'<text x="{middle}">{escape(layer_tick(row["layer"]))}</text>')
    return Markup(
        f'<svg class="chart" viewBox="0 0 {across:.0f} {top + tall + 24:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
