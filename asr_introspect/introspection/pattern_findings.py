"""What patterns say in a sentence: how much of each letter's map is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from asr_introspect.introspection.findings import Finding


def significance_finding(shares: Mapping[str, float], draws: int) -> Finding:
    """How much of each letter's map exceeds what rotated labels give, and which letters have no such cell.

    Parameters
    ----------
    shares
        By letter the share of its map's cells beyond the threshold.
    draws
        How often labels were rotated.
    """
    values = np.array(list(shares.values()))
    beyond = {name: share for name, share in shares.items() if share > 0}
    # Each map has a chance of one in twenty of a cell beyond its threshold without any structure.
    by_chance = 0.05 * len(shares)
    real = len(beyond) > max(1.0, 3 * by_chance)
    rest = [name for name in shares if name not in beyond]
    against = f"what labels rotated within utterances give ({draws:,} draws, family-wise 5 % per letter)"
    if not real:
        sentence = (
            f"No difference between the letters' patterns and {against}: {len(beyond)} of "
            f"{len(shares)} letters have a cell beyond it, and {by_chance:.1f} would by chance."
        )
    else:
        largest = sorted(beyond, key=lambda name: -beyond[name])[:3]
        named = ", ".join(f"{name} ({_percent(beyond[name])})" for name in largest)
        without = f" None in {', '.join(rest)}." if rest else ""
        sentence = (
            f"Of a letter's pattern {_percent(float(np.median(values)))} of the cells (median over "
            f"{len(shares)} letters) exceed {against}; most in {named}.{without}"
        )
    return Finding(
        *("pattern-significance", sentence, float(np.median(values)), math.nan, math.nan, 0.0),
        *("share of cells", real),
    )


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"
