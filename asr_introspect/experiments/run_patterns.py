"""``patterns.h5``: the mean aligned spectrograms of letters and phonemes, from the moments at the input."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import LETTERS_GRADIENT, PHONEMES_NONE
from asr_introspect.experiments.pass_sums import merged_moments
from asr_introspect.features import mel_frequencies
from asr_introspect.files import writing
from asr_introspect.introspection.findings import Finding, PatternPeak, pattern_finding
from asr_introspect.introspection.patterns import loudest_cell, read_patterns, strength, write_patterns
from asr_introspect.introspection.profiles import ENOUGH
from asr_introspect.recogniser.passes import INPUT
from asr_introspect.recogniser.symbols import LETTERS

SHOWN = {LETTERS_GRADIENT: "letters", PHONEMES_NONE: "phonemes"}
"""Which moments become patterns, and what they are called."""


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``patterns.h5``; returns what it says."""
    plan = gathered.plan
    features = plan.recogniser.features
    path = gathered.folder / "patterns.h5"
    with writing(path) as temporary, h5py.File(temporary, "w") as file:
        for key, layer, moments in merged_moments(plan, gathered.work, layers=(INPUT,)):
            if key in SHOWN:
                write_patterns(
                    file,
                    SHOWN[key],
                    plan.layout[layer],
                    moments,
                    mel_frequencies(features),
                    features.frame_seconds,
                    plan.recogniser.step_frames,
                )
    return pattern_findings(path)


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
