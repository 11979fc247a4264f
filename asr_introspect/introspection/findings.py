"""Findings: sentences made from numbers. Where an interval holds the null they say "no difference"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.random import generator


@dataclass(frozen=True)
class Finding:
    """One sentence with the numbers it is made from.

    ``low`` and ``high`` are the 95 % interval of ``value`` (or, where the null itself is a distribution, that
    of the null); ``null`` is what no effect would give; ``difference`` says which of the two it was.
    """

    id: str
    sentence: str
    value: float
    low: float
    high: float
    null: float
    unit: str
    difference: bool

    def record(self) -> dict[str, Any]:
        """The finding as JSON: what is not a number is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Structure:
    """A silhouette of phonetic classes at one layer.

    ``low`` and ``high`` are the 95 % interval of its null; ``own`` is that of the silhouette itself, over
    speakers or utterances, where it is known. ``cross_validated``: in distances between halves of the
    utterances, else between plain profiles.
    """

    labels: str
    classes: str
    layer: str
    metric: str
    value: float
    null: float
    low: float
    high: float
    p_value: float
    cross_validated: bool = False
    own: Interval | None = None


def structure_finding(found: Structure, *, best_of: int = 1) -> Finding:
    """Whether groups of one phonetic class have profiles nearer to each other than to those of other classes.

    Parameters
    ----------
    best_of
        Of how many layers this one was chosen as the best; the null must then be that of the best, too.
    """
    difference = bool(found.value > found.high)
    what = f"{_CLASSES[found.classes]} among the {found.labels}"
    where = f"at {layer_in_words(found.layer)}" + (f", the best of {best_of} layers," if best_of > 1 else "")
    kind = "cross-validated silhouette" if found.cross_validated else "silhouette"
    own = ""
    if found.own is not None and math.isfinite(found.own.low):
        own = f" ({found.own.low:.2f} to {found.own.high:.2f})"
    numbers = (
        f"{found.value:.2f}{own}, {found.metric} distance; classes dealt at random have "
        f"{found.low:.2f} to {found.high:.2f}, p = {found.p_value:.2g}"
    ).replace("-", "−")
    if difference:
        sentence = f"{what} stand apart {where} more than classes dealt at random do ({kind} {numbers})."
    else:
        sentence = f"No difference between {what} {where} and classes dealt at random ({kind} {numbers})."
    name = f"silhouette-{found.labels}-{found.classes}-{'best' if best_of > 1 else found.layer}"
    sentence = sentence[0].upper() + sentence[1:]
    return Finding(name, sentence, found.value, found.low, found.high, found.null, kind, difference)


_CLASSES = {
    "vowel-consonant": "vowels and consonants",
    "manner": "manners of articulation",
    "voicing": "voiced and unvoiced",
}


def layer_in_words(name: str) -> str:
    """A layer's name in a sentence."""
    if name == "input":
        return "the input"
    return "the output" if name == "layer12" else f"layer {name.removeprefix('layer')}"


@dataclass(frozen=True)
class PatternPeak:
    """A letter's pattern: how strong it is against its own noise, and where it is largest.

    ``noise`` is the size that a pattern of as many instances would have by chance (from their variance);
    ``hertz``, ``milliseconds`` (after the frame the letter is about) and ``value`` (standard deviations of
    the input) are those of its largest cell.
    """

    letter: str
    count: int
    strength: float
    noise: float
    hertz: float
    milliseconds: float
    value: float


def pattern_finding(peaks: Sequence[PatternPeak], most: int = 3) -> Finding:
    """The letters with the strongest patterns, and where in frequency and time they lie."""
    ordered = sorted(peaks, key=lambda peak: peak.strength / peak.noise, reverse=True)
    clear = [peak for peak in ordered if peak.strength > 2 * peak.noise][:most]
    if not clear:
        best = ordered[0].strength / ordered[0].noise if ordered else math.nan
        sentence = (
            "No difference between the letters' patterns and the average letter "
            f"(the strongest is {best:.1f} times what its instances' variance alone would give)."
        )
        return Finding("patterns", sentence, best, math.nan, math.nan, 1.0, "times noise", False)
    named = "; ".join(
        f"{peak.letter} ({'more' if peak.value > 0 else 'less'} energy at {_hertz(peak.hertz)}, "
        f"{_when(peak.milliseconds)}, {peak.strength / peak.noise:.1f} times noise, n = {peak.count:,})"
        for peak in clear
    )
    best = clear[0].strength / clear[0].noise
    sentence = f"The letters with the strongest patterns: {named}."
    return Finding("patterns", sentence, best, math.nan, math.nan, 1.0, "times noise", True)


def _hertz(value: float) -> str:
    return f"{round(value, -1):,.0f} Hz" if value < 1000 else f"{value / 1000:.1f} kHz"


def _when(milliseconds: float) -> str:
    if round(milliseconds) == 0:
        return "where the letter was found"
    return f"{abs(milliseconds):.0f} ms {'after' if milliseconds > 0 else 'before'} it"


def nearness_finding(
    near: np.ndarray, energy: np.ndarray, utterance: np.ndarray, *, seed: int = 0, draws: int = 2000
) -> Finding:
    """The share of relevance within 50 ms of where each letter was found, beside that expected of energy
    alone.

    Parameters
    ----------
    near, energy
        Per letter the share of its relevance, and of the size of the input, that lies there, ``(N,)``.
    utterance
        The utterance of each letter; whole utterances are drawn for the interval of the difference (letters,
        where there is one utterance only).
    """
    known = np.isfinite(near) & np.isfinite(energy)
    near, energy, utterance = near[known], energy[known], utterance[known]
    if len(near) == 0:
        nothing = math.nan
        sentence = "No difference can be told: no letter has any relevance."
        return Finding("nearness", sentence, nothing, nothing, nothing, nothing, "share", False)
    one = len(np.unique(utterance)) == 1
    _, rows = np.unique(np.arange(len(near)) if one else utterance, return_inverse=True)
    size = int(rows.max()) + 1
    difference = near - energy
    totals, counts = np.bincount(rows, difference, size), np.bincount(rows, minlength=size)
    random = generator(seed, "nearness bootstrap", size)
    times = random.multinomial(size, np.full(size, 1 / size), size=draws)
    low, high = np.quantile((times @ totals) / (times @ counts), [0.025, 0.975])
    share, expected = float(near.mean()), float(energy.mean())
    clear = size > 1 and not low <= 0 <= high
    numbers = (
        f"{100 * share:.0f} % of relevance against {100 * expected:.0f} % of the input's size; difference "
        f"{100 * low:.0f} to {100 * high:.0f} points, {len(near):,} letters, "
        + ("drawn letters" if one else f"drawn utterances, {size}")
    ).replace("-", "−")
    if clear:
        side = "more" if share > expected else "less"
        sentence = (
            f"Relevance within 50 ms of the found letters is {side} than energy alone gives ({numbers})."
        )
    else:
        sentence = (
            f"No difference between relevance within 50 ms of the found letters and energy ({numbers})."
        )
    return Finding(
        "nearness", sentence, share, expected + float(low), expected + float(high), expected, "share", clear
    )
