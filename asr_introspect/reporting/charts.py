"""Small charts: rows of intervals as percentages for the page's own boxes, the rest as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from asr_introspect.reporting.geometry import Tick
from asr_introspect.reporting.words import SPACE, counted, fixed


@dataclass(frozen=True)
class Whisker:
    """A value with its interval; ``count`` is what it rests on."""

    name: str
    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class WhiskerRow:
    """A row of a chart: places in per cent of the axis, None where there is no interval, and words."""

    name: str
    at: float
    low: float | None
    high: float | None
    text: str
    interval: str
    count: str


@dataclass(frozen=True)
class WhiskerChart:
    """Rows on one axis; ``reference`` is where the reference value lies, None if it is off the axis."""

    rows: tuple[WhiskerRow, ...]
    ticks: tuple[Tick, ...]
    reference: float | None


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    span = high - low if high > low else 1.0
    rough = span / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough)
    first = np.floor(low / step)
    last = max(np.ceil(high / step), first + 1)  # an axis has a length where all values are one
    return [float(step * i) for i in np.arange(first, last + 1)]


def whiskers(
    rows: Sequence[Whisker],
    say: Callable[[float], str],
    tick: Callable[[float], str],
    *,
    reference: float | None = None,
) -> WhiskerChart:
    """Lays rows out on one axis that holds every value, interval and the reference.

    Parameters
    ----------
    say, tick
        Write a value, and a number on the axis, with its unit.
    """
    values = [v for row in rows for v in (row.value, row.low, row.high) if np.isfinite(v)]
    values += [] if reference is None else [reference]
    steps = nice_ticks(min(values, default=0.0), max(values, default=1.0), about=4)
    low, high = steps[0], steps[-1]

    def place(value: float) -> float | None:
        return round(100 * (value - low) / (high - low), 2) if np.isfinite(value) else None

    laid_out = tuple(
        WhiskerRow(
            row.name,
            place(row.value) or 0.0,
            place(row.low),
            place(row.high),
            say(row.value),
            f"{say(row.low).partition(SPACE)[0]} to {say(row.high)}"
            if np.isfinite(row.low + row.high)
            else "no interval",
            f"{row.count:,}",
        )
        for row in rows
    )
    marks = tuple(Tick(place(step) or 0.0, tick(step)) for step in steps)
    return WhiskerChart(laid_out, marks, None if reference is None else place(reference))


def histogram(heights: Sequence[int], first: float, width: float, unit: str, summary: str) -> Markup:
    """Bars of counts over bins of equal width that begin at ``first``; a line marks zero."""
    across, tall, bottom, left = 420.0, 150.0, 26.0, 18.0
    top = max(max(heights, default=1), 1)
    bar = (across - 2 * left) / max(len(heights), 1)
    parts = [
        f'<rect class="bar" x="{left + i * bar:.2f}" y="{10 + tall * (1 - height / top):.1f}" '
        f'width="{max(bar - 0.6, 0.5):.2f}" height="{tall * height / top:.1f}"/>'
        for i, height in enumerate(heights)
        if height
    ]
    zero = left + (0 - first) / width * bar
    parts.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="6" y2="{10 + tall}"/>')
    parts.append(f'<line class="axis" x1="{left}" x2="{across - left}" y1="{10 + tall}" y2="{10 + tall}"/>')
    last = first + width * (len(heights) - 1)
    for tick in nice_ticks(first, last, about=6):
        if first <= tick <= last:
            x = left + (tick - first) / width * bar
            parts.append(
                f'<text x="{x:.1f}" y="{tall + 26}" text-anchor="middle">{fixed(tick, 0, sign=True)}</text>'
            )
    parts.append(f'<text x="{left}" y="20">up to {counted(top, "letter")} in {fixed(width, 0)} {unit}</text>')
    label = escape(f"Histogram of offsets. {summary}")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {across:.0f} {tall + bottom + 6:.0f}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class DepthPoint:
    """A value at one layer with its interval, the band of one null and the limits of another; NaN where
    unknown.
    """

    layer: str
    value: float
    low: float
    high: float
    beyond_chance: bool
    interval_low: float = float("nan")
    interval_high: float = float("nan")
    other_low: float = float("nan")
    other_high: float = float("nan")


def depth_curve(
    points: Sequence[DepthPoint],
    limits: tuple[float, float],
    ticks: Sequence[str],
    label: str,
    *,
    before: DepthPoint | None = None,
    control: Sequence[float] = (),
) -> Markup:
    """A value over the layers with its intervals; the band is one null, the dashed lines are another's
    limits; full points lie beyond chance (p < 0.05).

    Parameters
    ----------
    before
        A point that stands before the first layer, as a square.
    control
        By layer what a control gives, a dotted line.
    """
    across, top, tall, left, right = 420.0, 10.0, 170.0, 44.0, 10.0
    low, high = limits
    extra = 0 if before is None else 1
    step = (across - left - right) / max(len(points) - 1 + extra, 1)

    def x(i: int) -> float:
        return left + (i + extra) * step

    def y(value: float) -> float:
        return top + tall * (1 - (value - low) / (high - low))

    parts = []
    for tick in nice_ticks(low, high, about=6):
        if low <= tick <= high:
            parts.append(f'<path class="grid" d="M{left} {y(tick):.1f}H{across - right}"/>')
            parts.append(
                f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{fixed(tick, 2)}</text>'
            )
    band = [(i, p) for i, p in enumerate(points) if np.isfinite(p.low + p.high)]
    if band:
        corners = [f"{x(i):.1f},{y(p.high):.1f}" for i, p in band]
        corners += [f"{x(i):.1f},{y(p.low):.1f}" for i, p in reversed(band)]
        parts.append(f'<polygon class="null" points="{" ".join(corners)}"/>')
    for name in ("other_low", "other_high"):
        line = [(i, float(getattr(p, name))) for i, p in enumerate(points) if low <= getattr(p, name) <= high]
        if line:
            path = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in line)
            parts.append(f'<polyline class="other-null" points="{path}"/>')
    for i, p in enumerate(points):
        if np.isfinite(p.interval_low + p.interval_high):
            ends = f"{y(p.interval_low):.1f}V{y(p.interval_high):.1f}"
            parts.append(f'<path class="interval" d="M{x(i):.1f} {ends}"/>')
    path = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(control) if np.isfinite(value))
    if path:
        parts.append(f'<polyline class="control" points="{path}"/>')
    if before is not None and np.isfinite(before.value):
        style = "beyond" if before.beyond_chance else "chance"
        if np.isfinite(before.interval_low + before.interval_high):
            ends = f"{y(before.interval_low):.1f}V{y(before.interval_high):.1f}"
            parts.append(f'<path class="interval" d="M{x(-1):.1f} {ends}"/>')
        place = f'x="{x(-1) - 4:.1f}" y="{y(before.value) - 4:.1f}"'
        parts.append(f'<rect class="{style}" {place} width="8" height="8"/>')
        parts.append(
            f'<text x="{x(-1):.1f}" y="{top + tall + 18}" text-anchor="middle">{before.layer}</text>'
        )
    known = [(i, p) for i, p in enumerate(points) if np.isfinite(p.value)]
    path = " ".join(f"{x(i):.1f},{y(p.value):.1f}" for i, p in known)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    for i, p in known:
        style = "beyond" if p.beyond_chance else "chance"
        parts.append(
            f'<circle class="{style}" data-layer="{i}" cx="{x(i):.1f}" cy="{y(p.value):.1f}" r="4"/>'
        )
    for i, text in enumerate(ticks):
        parts.append(f'<text x="{x(i):.1f}" y="{top + tall + 18}" text-anchor="middle">{escape(text)}</text>')
    return Markup(
        f'<svg class="chart" viewBox="0 0 {across:.0f} {top + tall + 24:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
