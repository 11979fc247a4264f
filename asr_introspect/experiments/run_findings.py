"""The findings of a run, from its tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_introspect.experiments.run_clusters import PICTURED, ClassRow
from asr_introspect.experiments.run_offsets import OffsetRow
from asr_introspect.introspection.clusters import best_of
from asr_introspect.introspection.evaluation import explained_difference
from asr_introspect.introspection.findings import (
    Finding,
    PatternPeak,
    Structure,
    alignment_finding,
    lag_finding,
    pattern_finding,
    structure_finding,
)
from asr_introspect.introspection.lags import Lag
from asr_introspect.introspection.patterns import loudest_cell, read_patterns, strength
from asr_introspect.introspection.phonetics import classes_of
from asr_introspect.introspection.profiles import ENOUGH
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT
from asr_introspect.recogniser.symbols import LETTERS

SHOWN_LAYERS = ("layer9", "layer10", LAYERS[-1])
DIVISIONS = (("letters", "gradient", "vowel-consonant"), ("phonemes", "none", "manner"))


def lag_findings(rows: Sequence[tuple[str, str, str, Lag]], sound: str) -> list[Finding]:
    """By how much letters lag or lead their sound: where they are emitted, and where the gradient finds
    them.
    """
    named = {(method, layer, group): found for method, layer, group, found in rows}
    found = []
    for method, layer in (("emission", ""), ("gradient", "input")):
        lag = named.get((method, layer, "all"))
        if lag is not None and lag.count:
            found.append(lag_finding(lag, sound, method))
    return found


def alignment_findings(rows: Sequence[OffsetRow], seed: int) -> list[Finding]:
    """Whether windows moved by the gradient explain more of the spectrogram than windows that are not
    moved.
    """
    at_input = {row.method: row.agreement for row in rows if row.layer == INPUT}
    if not {"gradient", "none", "other-letter"} <= set(at_input):
        return []
    gradient = at_input["gradient"]
    found = []
    for against in ("none", "other-letter"):
        difference = explained_difference(gradient, at_input[against], seed=seed)
        found.append(alignment_finding(against, gradient.explained, at_input[against].explained, *difference))
    return found


def structure_findings(rows: Sequence[ClassRow], seed: int) -> list[Finding]:
    """Silhouettes of letters and phonemes at layers 9, 10, output and the best layer."""
    found = []
    for labels, offset, division in DIVISIONS:
        own = [
            row
            for row in rows
            if (row.clustering.labels, row.clustering.offset, row.classes) == (labels, offset, division)
            and row.clustering.metric == PICTURED
        ]
        for row in own:
            if row.clustering.layer in SHOWN_LAYERS:
                found.append(structure_finding(_structure(row)))
        if len(own) > 1:
            classes = [
                [str(each) for each in classes_of(labels, row.clustering.groups, division)] for row in own
            ]
            at, evidence = best_of([row.clustering.distance for row in own], classes, seed=seed)
            row = own[at]
            found.append(
                structure_finding(
                    Structure(
                        labels,
                        division,
                        row.clustering.layer,
                        PICTURED,
                        evidence.value,
                        evidence.null_mean,
                        evidence.low,
                        evidence.high,
                        evidence.p_value,
                    ),
                    best_of=len(own),
                )
            )
    return found


def _structure(row: ClassRow) -> Structure:
    evidence = row.evidence
    return Structure(
        row.clustering.labels,
        row.classes,
        row.clustering.layer,
        row.clustering.metric,
        evidence.value,
        evidence.null_mean,
        evidence.low,
        evidence.high,
        evidence.p_value,
    )


def pattern_peaks(path: Path) -> list[PatternPeak]:
    """The letters' patterns against their noise; letters with fewer than 20 instances are left out."""
    plain = read_patterns(path, average="none", minimum=ENOUGH)
    letters = [name for name in plain["group"].values if name in LETTERS]
    if len(letters) < 2:
        return []
    patterns = read_patterns(path, minimum=ENOUGH)
    sizes = dict(zip(patterns["group"].values, strength(patterns), strict=True))
    peaks = []
    for letter in letters:
        own = patterns.sel(group=letter)
        counts = np.maximum(own["count"].values, 1)
        noise = float(np.sqrt(np.nanmean(own["variance"].values / counts)))
        hertz, milliseconds, value = loudest_cell(patterns, letter)
        peaks.append(
            PatternPeak(
                str(letter), int(counts.max()), float(sizes[letter]), noise, hertz, milliseconds, value
            )
        )
    return peaks


def pattern_findings(path: Path) -> list[Finding]:
    """The letters with the strongest patterns, where there are letters enough."""
    peaks = pattern_peaks(path)
    return [pattern_finding(peaks)] if peaks else []
