"""Numbers and names as the report writes them."""

from __future__ import annotations

import math
from typing import Any

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
NONE = "–"


def fixed(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number with so many decimals and a true minus sign; a dash where there is none."""
    if not math.isfinite(value):
        return NONE
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def percent(value: float, digits: int = 1) -> str:
    """A fraction in per cent."""
    return fixed(100 * value, digits) + f"{SPACE}%" if math.isfinite(value) else NONE


def percent_range(low: float, high: float) -> str:
    """An interval of fractions in per cent, or that there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{fixed(100 * low, 1)} to {percent(high)}"


def milliseconds(value: float) -> str:
    """Signed whole milliseconds."""
    return fixed(value, 0, sign=True) + f"{SPACE}ms" if math.isfinite(value) else NONE


def hertz(value: float) -> str:
    """A frequency, in kHz from 1,000 Hz on."""
    return f"{value / 1000:g}{SPACE}kHz" if value >= 1000 else f"{value:.0f}{SPACE}Hz"


def duration(seconds: float) -> str:
    """A stretch of time in the unit that suits it."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 90:
        return f"{seconds:.1f}{SPACE}s"
    return f"{seconds / 60:.1f}{SPACE}min" if seconds < 5400 else f"{seconds / 3600:.1f}{SPACE}h"


def counted(count: float, one: str, many: str = "") -> str:
    """A number with its noun: ``1 letter``, ``1,234 letters``."""
    noun = one if count == 1 else many or one + "s"
    return f"{count:,.0f}{SPACE}{noun}"


def significance(p_value: float) -> str:
    """A p-value as it is quoted."""
    if not math.isfinite(p_value):
        return NONE
    if p_value < 0.001:
        return "< 0.001"
    return fixed(p_value, 3)


def layer_name(layer: Any) -> str:
    """A layer's name in running text."""
    name = str(layer)
    if name == "input":
        return "input"
    digits = name.removeprefix("layer")
    return f"layer{SPACE}{digits}" + (" (output)" if digits == "12" else "") if digits.isdigit() else name


def layer_tick(layer: str) -> str:
    """A layer's name on an axis."""
    return "in" if layer == "input" else layer.removeprefix("layer")


def letter_name(label: str) -> str:
    """A letter's name where it stands alone: the space and the apostrophe are spelt out."""
    return {" ": "space", "'": "apostrophe"}.get(label, label)
