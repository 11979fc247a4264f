"""Cluster heat maps of every layer, their evidence, and the curve of it over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from asr_introspect.reporting.charts import DepthPoint, depth_curve
from asr_introspect.reporting.labels import COLOURS, class_of, short
from asr_introspect.reporting.pictures import packed, picture
from asr_introspect.reporting.run import ClusterMap, Run, depth
from asr_introspect.reporting.tables import Row, number
from asr_introspect.reporting.words import fixed, layer_name, layer_tick, significance

LABELS = {
    "letters": "Letters",
    "phonemes": "Phonemes",
    "joint": "Letters and phonemes together",
    "letters-aligned": "Letters by forced alignment",
    "phonemes-stressed": "Phonemes with stress",
}
OFFSETS = {
    ("letters", "none"): "at the step itself",
    ("phonemes", "none"): "at the step nearest their middle",
    ("joint", "none"): "each at its own step",
    ("letters-aligned", "none"): "at the likeliest step of their span",
    ("phonemes-stressed", "none"): "at the step nearest their middle",
}
WEIGHTS = {
    "activation": "",
    "gradient": "activation × |gradient|",
    "gradient-activation": "gradient × activation",
    "relevance": "relevance",
    "activation-mean": "mean over time",
    "activation-maximum": "maximum over time",
    "activation-sorted": "sorted over time",
}
COLOURMAP = "YlGnBu_r"
START = "layer9"
"""The layer that the page opens with."""


@dataclass(frozen=True)
class Picture:
    """The heat map of one layer, ``index`` among those shown, with its evidence in words.

    ``cells`` are its distances in bytes, 255 being ``top``, packed.
    """

    index: int
    name: str
    svg: Markup
    evidence: tuple[str, ...]
    cophenetic: str
    cells: str
    top: float
    groups: tuple[str, ...]


@dataclass(frozen=True)
class MapView:
    """All layers of one kind of labels."""

    key: str
    title: str
    groups: int
    classes: tuple[tuple[str, str], ...]
    width: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Curve:
    """Silhouette over depth of one kind of labels and classes."""

    key: str
    title: str
    picture: Markup
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ClustersView:
    """Maps, curves and what they were made with."""

    maps: tuple[MapView, ...]
    curves: tuple[Curve, ...]
    metric: str
    linkage: str
    layers: tuple[str, ...]
    start: int
    has_phonemes: bool
    drawn: str
    header: tuple[str, ...]
    has_controls: bool
    has_untrained: bool


def clusters_view(run: Run) -> ClustersView | None:
    """The cluster maps and their evidence, or None where the run has neither."""
    if not run.clusters and not run.evidence:
        return None
    rows = pictured_rows(run)
    controls = _controls(run, rows)
    keys = sorted({(m.labels, m.offset, m.weight) for m in run.clusters}, key=_rank)
    layers = sorted({m.layer for m in run.clusters} | {row["layer"] for row in rows}, key=depth)
    maps = tuple(_map_view(run, rows, key, layers) for key in keys)
    return ClustersView(
        maps=maps,
        curves=_curves(rows, layers, controls),
        metric=", ".join(sorted({row["metric"] for row in rows})) or "unknown",
        linkage=", ".join(sorted({row["linkage"] for row in rows})) or "unknown",
        layers=tuple(layer_name(layer) for layer in layers),
        start=layers.index(START) if START in layers else 0,
        has_phonemes=any(m.labels == "phonemes" for m in run.clusters),
        drawn=next((row["drawn"] for row in rows if row.get("drawn")), ""),
        header=TABLE_HEADER,
        has_controls=bool(controls),
        has_untrained=any(row["control"] == "untrained" for row in controls),
    )


def pictured_rows(run: Run) -> list[Row]:
    """The evidence in the metric of the heat maps (without maps, the first there is), activations first."""
    rows = sorted(run.evidence, key=lambda row: _kind(row)[2] != "activation")
    metrics = {row.get("metric", "") for row in rows}
    drawn = next((m.metric for m in run.clusters if m.metric in metrics), None)
    metric = drawn or next((row.get("metric", "") for row in rows), "")
    return [row for row in rows if row.get("metric", "") == metric]


Kind = tuple[str, str, str]
"""Labels, offset and weight of profiles."""


def _kind(row: Row) -> Kind:
    return row["labels"], row["offset"], row.get("weight") or "activation"


def _name(kind: Kind) -> str:
    """What the page's script calls maps of a kind."""
    return "-".join(kind[:2] if kind[2] == "activation" else kind)


def view_title(labels: str, offset: str, weight: str = "activation") -> str:
    """What a map is of, in words."""
    usual = "at the step nearest their time" if offset == "none" else f"aligned by {offset}"
    weighted = WEIGHTS.get(weight, weight)
    title = f"{LABELS.get(labels, labels)}, {OFFSETS.get((labels, offset), usual)}"
    return f"{title}; {weighted}" if weighted else title


def _rank(kind: Kind) -> tuple[bool, int, bool, str, int]:
    labels, offset, weight = kind
    order, weights = list(LABELS), list(WEIGHTS)
    return (
        weight != "activation",
        order.index(labels) if labels in order else 9,
        offset != "gradient",
        offset,
        weights.index(weight) if weight in weights else 9,
    )


def _map_view(run: Run, rows: Sequence[Row], kind: Kind, layers: Sequence[str]) -> MapView:
    labels = kind[0]
    maps = [m for m in run.clusters if (m.labels, m.offset, m.weight) == kind]
    pictures = []
    for m in maps:
        beside = [r for r in rows if (_kind(r), r["layer"]) == (kind, m.layer)]
        ordered = m.distance[np.ix_(m.order, m.order)]
        top = float(np.nanmax(ordered)) if np.isfinite(ordered).any() else 1.0
        scaled = np.nan_to_num(ordered / (top or 1.0), nan=1.0).clip(0, 1)
        pictures.append(
            Picture(
                index=layers.index(m.layer),
                name=layer_name(m.layer),
                svg=heat_map(m, top),
                evidence=tuple(_sentence(row) for row in beside),
                cophenetic=fixed(number(beside[0].get("cophenetic") if beside else None)),
                cells=packed(np.round(255 * scaled).astype(np.uint8)),
                top=float(f"{top:.4g}"),
                groups=tuple(m.groups[i] for i in m.order),
            )
        )
    groups = max((len(m.groups) for m in maps), default=0)
    present = [name for name in COLOURS if any(class_of(g, labels) == name for m in maps for g in m.groups)]
    return MapView(
        key=_name(kind),
        title=view_title(*kind),
        groups=groups,
        classes=tuple((name, COLOURS[name]) for name in present),
        width=_size(groups),
        pictures=tuple(pictures),
    )


CELL, MARGIN, TREE = 12, 34, 56


def _size(groups: int) -> int:
    return TREE + CELL * groups + MARGIN


def heat_map(m: ClusterMap, top: float) -> Markup:
    """An SVG: tree on the left, distances as a picture of one pixel a cell, names on the right and below.

    Dark is near. A coloured mark before each name shows its phonetic class.
    """
    count = len(m.groups)
    side = CELL * count
    size = _size(count)
    ordered = m.distance[np.ix_(m.order, m.order)]
    address = picture(ordered, 0.0, top, COLOURMAP, levels=128)
    parts = [
        f'<path class="tree" d="{tree_path(m.linkage, m.order)}"/>',
        f'<image href="{address}" x="{TREE}" y="0" width="{side}" height="{side}" '
        'preserveAspectRatio="none"/>',
    ]
    for place, group in enumerate(m.order):
        label = m.groups[group]
        colour = COLOURS.get(class_of(label, m.labels), "")
        middle = CELL * place + CELL / 2
        name = escape(short(label))
        if colour:
            parts.append(
                f'<rect fill="{colour}" x="{TREE + side + 2}" y="{middle - 5}" width="4" height="10"/>'
            )
            parts.append(
                f'<rect fill="{colour}" x="{TREE + middle - 5}" y="{side + 2}" width="10" height="4"/>'
            )
        parts.append(f'<text x="{TREE + side + 8}" y="{middle + 3.4:.1f}">{name}</text>')
        parts.append(
            f'<text transform="translate({TREE + middle + 3.4:.1f} {side + 8}) rotate(90)">{name}</text>'
        )
    label = escape(
        f"Heat map of distances between {count} {m.labels} at {layer_name(m.layer)}, ordered by cluster"
    )
    return Markup(
        f'<svg class="heat" viewBox="0 0 {size} {side + MARGIN}" role="img" aria-label="{label}" '
        f'data-tree="{TREE}" data-cell="{CELL}">{"".join(parts)}</svg>'
    )


def tree_path(linkage: np.ndarray, order: np.ndarray) -> str:
    """The SVG path of a dendrogram lying on its side: leaves at the right edge, root at the left.

    Parameters
    ----------
    linkage
        ``(G - 1, 4)`` as SciPy writes it.
    order
        ``(G,)`` leaves from top to bottom.
    """
    count = len(order)
    if not len(linkage):
        return ""
    place = {int(leaf): CELL * row + CELL / 2 for row, leaf in enumerate(order)}
    height = dict.fromkeys(place, 0.0)
    top = float(np.nanmax(linkage[:, 2])) or 1.0
    strokes = []
    for i, (left, right, distance, _) in enumerate(linkage):
        first, second = int(left), int(right)
        across = TREE - 4 - (TREE - 8) * distance / top
        ends = [(TREE - 4 - (TREE - 8) * height[node] / top, place[node]) for node in (first, second)]
        strokes.append(f"M{ends[0][0]:.1f} {ends[0][1]:.1f}H{across:.1f}V{ends[1][1]:.1f}H{ends[1][0]:.1f}")
        place[count + i] = (place[first] + place[second]) / 2
        height[count + i] = float(distance)
    return "".join(strokes)


def _sentence(row: Row) -> str:
    """The evidence of one kind of classes, in words."""
    value, p_value = number(row.get("silhouette")), number(row.get("p_value"))
    between = _between(row, "low", "high")
    rotated = _between(row, "rotated_low", "rotated_high")
    text = (
        f"{row.get('classes', '')}: silhouette {fixed(value, 3)}"
        + (f" ({between})" if between else "")
        + f"; with permuted labels {_between(row, 'null_low', 'null_high')}, p {significance(p_value)}"
        + (
            f"; with rotated labels {rotated}, p {significance(number(row.get('rotated_p')))}"
            if rotated
            else ""
        )
        + f"; n {row.get('groups', '')} groups"
    )
    return text if _beyond(row) else text + " (no difference from chance)"


def _between(row: Row, low: str, high: str) -> str:
    """Two numbers of a row with 3 decimals; nothing where one is missing."""
    ends = number(row.get(low)), number(row.get(high))
    return f"{fixed(ends[0], 3)} to {fixed(ends[1], 3)}" if np.isfinite(sum(ends)) else ""


def _beyond(row: Row) -> bool:
    """Whether a value lies beyond chance in every null there is."""
    rotated = number(row.get("rotated_p"))
    return bool(number(row.get("p_value")) < 0.05 and (rotated < 0.05 or not np.isfinite(rotated)))


def _controls(run: Run, rows: Sequence[Row]) -> list[Row]:
    """The controls in the metric that is shown."""
    metric = next((row.get("metric", "") for row in rows), "")
    return [row for row in run.controls if row.get("metric") == metric]


def _curves(rows: Sequence[Row], layers: Sequence[str], controls: Sequence[Row]) -> tuple[Curve, ...]:
    """One curve for each kind of labels, offset and classes, all on one scale."""
    # What rotated labels give lies far below where there are many classes: it may leave the picture.
    shown = ("silhouette", "null_low", "null_high", "low", "high")
    numbers = [number(row.get(name)) for row in (*rows, *controls) for name in shown]
    finite = [value for value in numbers if np.isfinite(value)]
    if not finite:
        return ()
    margin = 0.06 * (max(finite) - min(finite) or 1.0)
    limits = (min(finite) - margin, max(finite) + margin)
    keys = dict.fromkeys((_kind(row), row["classes"]) for row in rows)
    curves = []
    for kind, classes in sorted(keys, key=lambda key: (_rank(key[0]), key[1])):
        by_layer = {row["layer"]: row for row in rows if (_kind(row), row["classes"]) == (kind, classes)}
        beside = [row for row in controls if (_kind(row), row["classes"]) == (kind, classes)]
        frames = next((row for row in beside if row["control"] == "frame-classifier"), None)
        untrained = {row["layer"]: row for row in beside if row["control"] == "untrained"}
        points = [_depth_point(layer, by_layer.get(layer, {})) for layer in layers]
        title = f"{view_title(*kind)}: {classes}"
        best = max((p for p in points if np.isfinite(p.value)), key=lambda p: p.value, default=None)
        label = f"Silhouette over layers. {title}."
        if best is not None:
            label += f" Largest {fixed(best.value)} at {layer_name(best.layer)}."
        curves.append(
            Curve(
                key=_name(kind),
                title=title,
                picture=depth_curve(
                    points,
                    limits,
                    [layer_tick(layer) for layer in layers],
                    label,
                    before=None if frames is None else _depth_point("LDA", frames),
                    control=[number(untrained.get(layer, {}).get("silhouette")) for layer in layers],
                ),
                rows=(
                    *(() if frames is None else (_table_row("Frame classifier", frames),)),
                    *(
                        _table_row(layer_name(layer), by_layer[layer])
                        for layer in layers
                        if layer in by_layer
                    ),
                    *(
                        _table_row(f"Untrained, {layer_name(layer)}", untrained[layer])
                        for layer in layers
                        if layer in untrained
                    ),
                ),
            )
        )
    return tuple(curves)


def _depth_point(layer: str, row: Row) -> DepthPoint:
    ends = {name: number(row.get(name)) for name in ENDS}
    return DepthPoint(
        layer,
        number(row.get("silhouette")),
        ends["null_low"],
        ends["null_high"],
        _beyond(row),
        interval_low=ends["low"],
        interval_high=ends["high"],
        other_low=ends["rotated_low"],
        other_high=ends["rotated_high"],
    )


ENDS = ("null_low", "null_high", "low", "high", "rotated_low", "rotated_high")
TABLE_HEADER = (
    *("Layer", "Groups", "Silhouette", "95 % interval", "Permuted, 95 %", "p", "Rotated, 95 %", "p"),
    *("Plain", "Cophenetic", "Adjusted Rand"),
)


def _table_row(name: str, row: Row) -> tuple[str, ...]:
    return (
        name,
        row.get("groups", ""),
        fixed(number(row.get("silhouette")), 3),
        _between(row, "low", "high"),
        _between(row, "null_low", "null_high"),
        significance(number(row.get("p_value"))),
        _between(row, "rotated_low", "rotated_high"),
        significance(number(row.get("rotated_p"))) if row.get("rotated_p") else "",
        fixed(number(row.get("plain_profiles")), 3) if row.get("plain_profiles") else "",
        fixed(number(row.get("cophenetic"))) if "cophenetic" in row else "",
        fixed(number(row.get("adjusted_rand"))) if "adjusted_rand" in row else "",
    )
