"""Findings about time: when letters are written, where their evidence lies, which alignment to trust."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.findings import Finding, layer_in_words
from asr_introspect.introspection.lags import Lag


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


def layers_finding(found: Mapping[str, Lag], sound: str) -> Finding:
    """Where the gradient finds letters, layer by layer: the earliest and the latest.

    Parameters
    ----------
    found
        By layer; a difference is said where the two intervals are apart.
    """
    earliest, latest = (choose(found, key=lambda layer: found[layer].median) for choose in (min, max))
    low, high = found[earliest], found[latest]
    ends = [
        f"{_ms(lag.median)} ms at {layer_in_words(layer)} ({_range(lag)})"
        for layer, lag in ((earliest, low), (latest, high))
    ]
    difference = bool(low.high < high.low)
    if difference:
        sentence = (
            f"Layer by layer, where the gradient finds letters moves against the middle of {sound}: from "
            f"{ends[0]} to {ends[1]}; negative is before it."
        )
    else:
        sentence = (
            f"No difference between the layers in where the gradient finds letters: from {ends[0]} to "
            f"{ends[1]} after the middle of {sound}."
        )
    return Finding(
        "lag-layers", sentence, high.median - low.median, math.nan, math.nan, 0.0, "ms", difference
    )


def _range(found: Lag) -> str:
    if math.isnan(found.low):
        return "no interval"
    return f"95 % interval {_ms(found.low)} to {_ms(found.high)} ms"


PLACES = {
    "gradient": "where the gradient is largest",
    "centre": "at the gradient's centre of mass",
    "lrp": "where relevance is largest",
    "ctc": "at the forced alignment's likeliest step",
    "phone": "at the middle of the phone",
    "none": "at the step itself",
}
"""Where each method places a letter's window, in words."""


def trusted_finding(
    verdicts: Mapping[str, Mapping[str, str]], controls: Sequence[str], count: int
) -> Finding:
    """Which alignment is to be trusted, layer by layer.

    Parameters
    ----------
    verdicts
        By layer and method ``best``, ``no worse`` or ``worse``, layers in their order. Where a control does
        no worse, no alignment is to be trusted: then that is said.
    controls
        The methods that are controls.
    count
        How many letters that rests on.
    """
    ranges: list[tuple[str, list[str]]] = []
    lost = []
    for layer, by_method in verdicts.items():
        best = next(method for method, verdict in by_method.items() if verdict == "best")
        if any(by_method.get(control, "worse") != "worse" for control in controls):
            lost.append(layer)
        elif ranges and ranges[-1][0] == best:
            ranges[-1][1].append(layer)
        else:
            ranges.append((best, [layer]))
    told = []
    for best, layers in ranges:
        equal = [
            PLACES.get(method, method)
            for method in verdicts[layers[0]]
            if all(verdicts[layer].get(method) == "no worse" for layer in layers)
        ]
        tied = f" (no worse: {', '.join(equal)})" if equal else ""
        told.append(f"{PLACES.get(best, best)} at {_layers(layers)}{tied}")
    known = len(verdicts) - len(lost)
    numbers = f"{count:,} letters, variance explained across halves of the utterances"
    if not told:
        sentence = (
            f"No difference between alignments and controls at any layer: none is to be trusted ({numbers})."
        )
    else:
        sentence = f"A letter's windows agree best when they are placed {'; '.join(told)}"
        if lost:
            sentence += f"; at {_layers(lost)} a control does no worse, and none is to be trusted"
        sentence += f" ({numbers})."
    return Finding("alignment-best", sentence, known, math.nan, math.nan, 0.0, "layers", bool(told))


def _layers(names: Sequence[str]) -> str:
    """Layers in words, runs of neighbours as ``layers 1 to 5``."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _depth(name) == _depth(runs[-1][-1]) + 1 and runs[-1][0] != "input":
            runs[-1].append(name)
        else:
            runs.append([name])
    said = [
        layer_in_words(run[0])
        if len(run) == 1
        else f"layers {_depth(run[0])} {'and' if len(run) == 2 else 'to'} {_depth(run[-1])}"
        for run in runs
    ]
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def _depth(name: str) -> int:
    digits = name.removeprefix("layer")
    return int(digits) if digits.isdigit() else 0


def alignment_finding(against: str, explained: float, other: float, difference: Interval) -> Finding:
    """Whether letters' spectrograms agree better when moved to where the gradient finds the letter.

    Parameters
    ----------
    against
        ``none`` (not moved) or ``other-letter`` (moved to where another letter's gradient points).
    explained, other
        Variance explained by the group mean of the other half of the utterances, of both.
    difference
        Of the two.
    """
    what = "windows that are not moved" if against == "none" else "where another letter's gradient points"
    numbers = (
        f"variance explained across halves {_percent(explained)} against {_percent(other)} %, "
        f"difference {_percent(difference.low)} to {_percent(difference.high)} points"
    )
    if math.isnan(difference.low):
        numbers = "too few utterances for an interval"
    clear = not difference.holds(0.0)
    if clear:
        side = "better" if difference.value > 0 else "worse"
        sentence = (
            f"Letters' spectrograms agree {side} at their gradient's offset than at {what} ({numbers})."
        )
    else:
        sentence = (
            "No difference between how well letters' spectrograms agree at their gradient's offset and at "
            f"{what} ({numbers})."
        )
    return Finding(
        *(f"alignment-gradient-{against}", sentence, difference.value, difference.low, difference.high),
        *(0.0, "variance explained", clear),
    )


def _percent(share: float) -> str:
    return "?" if math.isnan(share) else f"{100 * share:.1f}".replace("-", "−")
