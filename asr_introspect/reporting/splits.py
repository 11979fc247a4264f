"""Parts of groups: in which layers right and wrong letters, speakers, or the C of CITY and of CAT differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from asr_introspect.reporting.charts import LayerPlot, known_points
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
    columns = ("same_group", "low", "high", "null_low", "null_high", "same_part")
    values = [number(row[name]) for row in rows for name in columns]
    known = [value for value in values if np.isfinite(value)]
    plot = LayerPlot((min([*known, 0.0]) - 0.05, max([*known, 1.0]) + 0.05), len(rows))
    parts = [*plot.grid(), *plot.band([(number(row["null_low"]), number(row["null_high"])) for row in rows])]
    for name, style in (("same_part", "second"), ("same_group", "curve")):
        if points := known_points([number(row[name]) for row in rows]):
            parts.append(plot.line(style, points))
    for i, row in enumerate(rows):
        low, value = number(row["low"]), number(row["same_group"])
        parts += plot.interval(i, low, number(row["high"]))
        if np.isfinite(value):
            style = "beyond" if low > max(number(row["null_high"]), 0.0) else "chance"
            parts.append(f'<circle class="{style}" cx="{plot.x(i):.1f}" cy="{plot.y(value):.1f}" r="4"/>')
        parts.append(plot.name(i, layer_tick(row["layer"])))
    return plot.svg(parts, label)
