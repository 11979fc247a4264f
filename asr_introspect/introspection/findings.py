"""Findings: sentences made from numbers. Where an interval holds the null they say "no difference"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asr_introspect.introspection.lags import Lag
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


def lag_finding(found: Lag, sound: str, what: str = "emission") -> Finding:
    """By how much letters come after, or before, their sound.

    Parameters
    ----------
    sound
        What stands for the sound: ``the phone`` or ``the aligned letter``.
    what
        ``emission``: the step at which a letter is emitted; ``gradient``: where its gradient finds it.
    """
    difference = not (math.isnan(found.low) or found.low <= 0 <= found.high)
    subject = "Letters are emitted" if what == "emission" else "Where the gradient finds letters lies"
    if not math.isnan(found.low):
        numbers = f"median of {found.count:,} letters, 95 % interval {_ms(found.low)} to {_ms(found.high)} ms"
    else:
        numbers = f"median {_ms(found.median)} ms of {found.count:,} letters of one utterance, no interval"
    if difference:
        side = "after" if found.median > 0 else "before"
        sentence = f"{subject} {_ms(abs(found.median))} ms {side} the middle of {sound} ({numbers})."
    else:
        verb = "are emitted" if what == "emission" else "are found by the gradient"
        sentence = (
            f"No difference between the time at which letters {verb} and the middle of {sound} ({numbers})."
        )
    return Finding(f"lag-{what}", sentence, found.median, found.low, found.high, 0.0, "ms", difference)


def _ms(value: float) -> str:
    return f"{value:.0f}".replace("-", "−") if round(value) else "0"


def alignment_finding(
    against: str, explained: float, other: float, difference: float, low: float, high: float
) -> Finding:
    """Whether letters' spectrograms agree better when moved to where the gradient finds the letter.

    Parameters
    ----------
    against
        ``none`` (not moved) or ``other-letter`` (moved to where another letter's gradient points).
    explained, other
        Variance explained by the group mean of the other half of the utterances, of both.
    difference, low, high
        Of the two, with its 95 % interval.
    """
    what = "windows that are not moved" if against == "none" else "where another letter's gradient points"
    numbers = (
        f"variance explained across halves {_percent(explained)} against {_percent(other)} %, "
        f"difference {_percent(low)} to {_percent(high)} points"
    )
    if math.isnan(low):
        numbers = "too few utterances for an interval"
    clear = not (math.isnan(low) or low <= 0 <= high)
    if clear:
        side = "better" if difference > 0 else "worse"
        sentence = (
            f"Letters' spectrograms agree {side} at their gradient's offset than at {what} ({numbers})."
        )
    else:
        sentence = (
            "No difference between how well letters' spectrograms agree at their gradient's offset and at "
            f"{what} ({numbers})."
        )
    return Finding(
        f"alignment-gradient-{against}", sentence, difference, low, high, 0.0, "variance explained", clear
    )


def _percent(share: float) -> str:
    return "?" if math.isnan(share) else f"{100 * share:.1f}".replace("-", "−")


@dataclass(frozen=True)
class Structure:
    """A silhouette of phonetic classes and the interval of its null, at one layer."""

    labels: str
    classes: str
    layer: str
    metric: str
    value: float
    null: float
    low: float
    high: float
    p_value: float


def structure_finding(found: Structure, *, best_of: int = 1) -> Finding:
    """Whether groups of one phonetic class have profiles nearer to each other than to those of other classes.

    Parameters
    ----------
    best_of
        Of how many layers this one was chosen as the best; the null must then be that of the best, too.
    """
    difference = bool(found.value > found.high)
    what = f"{_CLASSES[found.classes]} among the {found.labels}"
    where = f"at {_layer(found.layer)}" + (f", the best of {best_of} layers," if best_of > 1 else "")
    numbers = (
        f"silhouette {found.value:.2f}, {found.metric} distance; classes dealt at random have "
        f"{found.low:.2f} to {found.high:.2f}, p = {found.p_value:.2g}"
    ).replace("-", "−")
    if difference:
        sentence = f"{what} stand apart {where} more than classes dealt at random do ({numbers})."
    else:
        sentence = f"No difference between {what} {where} and classes dealt at random ({numbers})."
    name = f"silhouette-{found.labels}-{found.classes}-{'best' if best_of > 1 else found.layer}"
    sentence = sentence[0].upper() + sentence[1:]
    return Finding(name, sentence, found.value, found.low, found.high, found.null, "silhouette", difference)


_CLASSES = {
    "vowel-consonant": "vowels and consonants",
    "manner": "manners of articulation",
    "voicing": "voiced and unvoiced",
}


def _layer(name: str) -> str:
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
