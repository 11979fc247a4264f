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
class LayerPlot:
    """Where layers and values lie in a chart over the layers, and its parts as SVG.

    Parameters
    ----------
    limits
        The lowest and the highest value.
    places
        How many places there are from left to right.
    first
        The number of the leftmost place.
    """

    limits: tuple[float, float]
    places: int
    first: int = 0

    ACROSS, TOP, TALL, LEFT, RIGHT = 420.0, 10.0, 170.0, 44.0, 10.0

    def x(self, place: int) -> float:
        step = (self.ACROSS - self.LEFT - self.RIGHT) / max(self.places - 1, 1)
        return self.LEFT + (place - self.first) * step

    def y(self, value: float) -> float:
        low, high = self.limits
        return self.TOP + self.TALL * (1 - (value - low) / (high - low))

    def grid(self) -> list[str]:
        """Lines at round values, with the values."""
        low, high = self.limits
        right, parts = self.ACROSS - self.RIGHT, []
        for tick in nice_ticks(low, high, about=6):
            if low <= tick <= high:
                y = self.y(tick)
                place = f'x="{self.LEFT - 6}" y="{y + 4:.1f}"'
                parts.append(f'<path class="grid" d="M{self.LEFT} {y:.1f}H{right}"/>')
                parts.append(f'<text {place} text-anchor="end">{fixed(tick, 2)}</text>')
        return parts

    def band(self, limits: Sequence[tuple[float, float]]) -> list[str]:
        """The area between two values at each place from 0 on; nothing where they are not known anywhere."""
        known = [(i, low, high) for i, (low, high) in enumerate(limits) if np.isfinite(low + high)]
        if not known:
            return []
        corners = [(i, high) for i, _, high in known] + [(i, low) for i, low, _ in reversed(known)]
        return [f'<polygon class="null" points="{self._path(corners)}"/>']

    def line(self, style: str, points: Sequence[tuple[int, float]]) -> str:
        """A line through values at places."""
        return f'<polyline class="{style}" points="{self._path(points)}"/>'

    def _path(self, points: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{self.x(i):.1f},{self.y(value):.1f}" for i, value in points)

    def interval(self, place: int, low: float, high: float) -> list[str]:
        """The interval of a value; nothing where it is not known."""
        if not np.isfinite(low + high):
            return []
        ends = f"{self.y(low):.1f}V{self.y(high):.1f}"
        return [f'<path class="interval" d="M{self.x(place):.1f} {ends}"/>']

    def name(self, place: int, text: str) -> str:
        """A name below a place."""
        where = f'x="{self.x(place):.1f}" y="{self.TOP + self.TALL + 18}"'
        return f'<text {where} text-anchor="middle">{escape(text)}</text>'

    def svg(self, parts: Sequence[str], label: str) -> Markup:
        """The chart of its parts; ``label`` says in words what it shows."""
        return Markup(
            f'<svg class="chart" viewBox="0 0 {self.ACROSS:.0f} {self.TOP + self.TALL + 24:.0f}" role="img" '
            f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
        )


def known_points(values: Sequence[float]) -> list[tuple[int, float]]:
    """The values that are numbers, each with its place."""
    return [(i, value) for i, value in enumerate(values) if np.isfinite(value)]


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
    low, high = limits
    first = 0 if before is None else -1
    plot = LayerPlot(limits, len(points) - first, first)
    parts = [*plot.grid(), *plot.band([(p.low, p.high) for p in points])]
    for name in ("other_low", "other_high"):
        line = [(i, float(getattr(p, name))) for i, p in enumerate(points) if low <= getattr(p, name) <= high]
        if line:
            parts.append(plot.line("other-null", line))
    for i, p in enumerate(points):
        parts += plot.interval(i, p.interval_low, p.interval_high)
    if known := known_points(control):
        parts.append(plot.line("control", known))
    if before is not None and np.isfinite(before.value):
        style = "beyond" if before.beyond_chance else "chance"
        parts += plot.interval(-1, before.interval_low, before.interval_high)
        place = f'x="{plot.x(-1) - 4:.1f}" y="{plot.y(before.value) - 4:.1f}"'
        parts.append(f'<rect class="{style}" {place} width="8" height="8"/>')
        parts.append(plot.name(-1, before.layer))
    known = known_points([p.value for p in points])
    parts.append(plot.line("curve", known))
    for i, value in known:
        style = "beyond" if points[i].beyond_chance else "chance"
        parts.append(
            f'<circle class="{style}" data-layer="{i}" cx="{plot.x(i):.1f}" cy="{plot.y(value):.1f}" r="4"/>'
        )
    parts += [plot.name(i, text) for i, text in enumerate(ticks)]
    return plot.svg(parts, label)
