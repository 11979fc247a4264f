"""The offset table: every method of finding where a letter lies, and its controls, on the same letters.

On a few utterances drawn by seed: their activations are held, and each method costs a walk of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_introspect.corpus.records import Utterance
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import Rows
from asr_introspect.experiments.pass_sums import layer_rows
from asr_introspect.experiments.run_relevance import can_be_shown
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.evaluation import Agreement, agreement, cut_windows, explained_difference
from asr_introspect.introspection.findings import Finding, alignment_finding
from asr_introspect.introspection.lags import Lag, lag
from asr_introspect.introspection.offsets import (
    aligned,
    centre_of_mass,
    curves,
    position_seconds,
    positions_of,
    strongest,
)
from asr_introspect.progress import track
from asr_introspect.random import generator
from asr_introspect.recogniser.alignment import align_targets
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, Forward, forward_pass
from asr_introspect.recogniser.symbols import LETTERS

UTTERANCES = 12
CONTROLS = ("random", "other-letter", "scrambled")
METHODS = ("gradient", "centre", "lrp", "ctc", "phone", "none", *CONTROLS)


@dataclass(frozen=True)
class OffsetRow:
    """A row of ``offset_table.csv``: one method at one layer.

    ``lag`` is that of the found position after the middle of the letter's sound, in ms, and ``spread`` its
    standard deviation; ``unseen`` the mean share of a window that the letter's step never saw.
    """

    method: str
    layer: str
    agreement: Agreement
    lag: Lag
    spread: float
    unseen: float


@dataclass(frozen=True)
class _Letters:
    """The letters of one utterance that are compared, and where each method finds them, by method and
    layer.
    """

    forward: Forward
    rows: np.ndarray
    step: np.ndarray
    label: np.ndarray
    middle: np.ndarray
    found: Mapping[str, Mapping[str, np.ndarray]]


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``offset_table.csv``; returns what it says."""
    names = [name for name in METHODS if name != "phone" or gathered.sound == "phone"]
    rows = offset_table(gathered.plan, gathered.rows, gathered.middle, gathered.seed, names)
    write_csv(gathered.folder / "offset_table.csv", OFFSET_COLUMNS, [offset_csv_row(row) for row in rows])
    return alignment_findings(rows, gathered.seed)


def offset_table(
    plan: Pass, rows: Rows, middle: np.ndarray, seed: int, methods: Sequence[str] = METHODS
) -> list[OffsetRow]:
    """Every method and control at the input and layers 1 to 9.

    Compared are right letters A to Z whose sound is known, in up to twelve utterances drawn by seed.

    Parameters
    ----------
    middle
        Seconds of the middle of each letter's sound, NaN where not known, ``(letters,)``.
    methods
        Which; ``phone`` says something only where ``middle`` is that of phones.
    """
    parts = [
        _letters(plan, rows, middle, number, seed)
        for number in track(_drawn(rows, middle, seed), "offsets", unit="utterance")
    ]
    if not parts:
        return []
    layout = {name: cone for name, cone in plan.layout.items() if cone.shifts}
    utterance = np.repeat(np.arange(len(parts)), [len(part.step) for part in parts])
    label = np.concatenate([part.label for part in parts])
    found = []
    for layer, cone in layout.items():
        activations = [layer_rows(part.forward, layer)[0] for part in parts]
        for method in methods:
            at = [part.found[method][layer] for part in parts]
            windows = np.concatenate(
                [cut_windows(a, p, cone.first, cone.positions) for a, p in zip(activations, at, strict=True)]
            )
            found.append(
                _row(plan, cone, method, parts, at, agreement(windows, label, utterance, seed=seed), seed)
            )
    return found


def _row(
    plan: Pass,
    cone: Cone,
    method: str,
    parts: Sequence[_Letters],
    at: Sequence[np.ndarray],
    agreed: Agreement,
    seed: int,
) -> OffsetRow:
    utterance = np.repeat(np.arange(len(parts)), [len(part.step) for part in parts])
    position, step, middle = (
        np.concatenate(columns) for columns in (at, [p.step for p in parts], [p.middle for p in parts])
    )
    seconds = position_seconds(position, cone, plan.recogniser.features.frame_seconds)
    milliseconds = 1000 * (seconds - middle)
    moved = np.abs(position - cone.stride * step).clip(max=cone.positions)
    return OffsetRow(
        method,
        cone.layer,
        agreed,
        lag(milliseconds, utterance, seed=seed),
        float(milliseconds.std()),
        float(moved.mean() / cone.positions),
    )


def _compared(rows: Rows, middle: np.ndarray) -> np.ndarray:
    """Which letters are compared: right ones, A to Z, whose sound is known."""
    named = np.isin(np.array(rows.letters.labels, object)[rows.letters.label], LETTERS)
    return np.asarray(named & (rows.letters.right == 1) & np.isfinite(middle))


def _drawn(rows: Rows, middle: np.ndarray, seed: int) -> list[int]:
    """Utterances drawn among those that have letters to compare, in order; at least two, else none."""
    having = np.unique(rows.letters.utterance[_compared(rows, middle)])
    fitting = [int(number) for number in having if can_be_shown(rows.utterances[int(number)])]
    if len(fitting) < 2:
        return []
    random = generator(seed, "utterances of the offset table")
    return sorted(random.choice(fitting, min(UTTERANCES, len(fitting)), replace=False).tolist())


def _letters(plan: Pass, rows: Rows, middle: np.ndarray, number: int, seed: int) -> _Letters:
    recogniser, place = plan.recogniser, int(rows.utterances[number]["row"])
    own = np.flatnonzero(_compared(rows, middle) & (rows.letters.utterance == number))
    one = (
        None if plan.spectrograms is None else (lambda _, spectrograms=plan.spectrograms: spectrograms(place))
    )
    utterance = plan.utterances[place]
    (forward,) = forward_pass(
        recogniser, [utterance], layers=tuple(plan.layout), spectrograms=one, what="offsets"
    )
    step, label = rows.letters.step[own], rows.letters.label[own]
    random = generator(seed, "controls of the offset table", number)
    gradient = {name: values[own] for name, values in rows.found.items()}
    found = {
        "gradient": gradient,
        "none": _kept(plan, aligned({}, plan.layout, step)),
        "random": _random(plan, forward, step, random),
        "ctc": _kept(plan, aligned({}, plan.layout, _ctc_steps(recogniser, forward, utterance, rows, own))),
        "phone": _at_times(plan, middle[own]),
        **_walked(plan, forward, step, label, random),
    }
    return _Letters(forward, own, step, label, middle[own], found)


def _kept(plan: Pass, positions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: positions[name] for name, cone in plan.layout.items() if cone.shifts}


def _walked(
    plan: Pass, forward: Forward, step: np.ndarray, label: np.ndarray, random: np.random.Generator
) -> dict[str, dict[str, np.ndarray]]:
    """The methods that need a walk: centre of mass, LRP, another letter's gradient, a scrambled
    spectrogram's.
    """
    classes = len(plan.recogniser.symbols)
    # Another letter at the same step: neither the blank nor the letter itself.
    choices = np.array([i for i in range(classes) if i != plan.recogniser.symbols.blank])
    other = choices[random.integers(0, len(choices), len(step))]
    other = np.where(other == label, choices[(np.searchsorted(choices, label) + 1) % len(choices)], other)
    scrambled = Forward(
        *(forward.utterances, forward.positions, forward.lengths, forward.frames, forward.logits),
        {INPUT: phase_scrambled(forward.activations[INPUT], random)},
    )
    item = np.zeros_like(step)
    found: dict[str, dict[str, np.ndarray]] = {
        name: {} for name in ("centre", "lrp", "other-letter", "scrambled")
    }
    walks = {
        "centre": curves(plan.recogniser, forward, item, step, label),
        "lrp": curves(plan.recogniser, forward, item, step, label, "lrp"),
        "other-letter": curves(plan.recogniser, forward, item, step, other),
        "scrambled": curves(plan.recogniser, scrambled, item, step, label),
    }
    for method, walk in walks.items():
        for part in walk:
            for layer, values in part.values.items():
                lengths = np.repeat(positions_of(forward, layer), len(part.rows))
                find = centre_of_mass if method == "centre" else strongest
                found[method][layer] = find(values, part.starts[layer], lengths)
    return found


def phase_scrambled(spectrogram: Tensor, random: np.random.Generator) -> Tensor:
    """A spectrogram ``(1, F, T)`` of the same two-dimensional power spectrum with the phases of noise."""
    noise = torch.from_numpy(random.normal(size=tuple(spectrogram.shape)).astype(np.float32)).to(
        spectrogram.device
    )
    phases = torch.fft.rfft2(noise)
    spectrum = torch.fft.rfft2(spectrogram).abs() * phases / phases.abs().clamp_min(1e-12)
    scrambled: Tensor = torch.fft.irfft2(spectrum, s=spectrogram.shape[-2:])
    return scrambled


def _random(
    plan: Pass, forward: Forward, step: np.ndarray, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Positions uniform in the cone, inside the utterance."""
    found = {}
    for name, cone in plan.layout.items():
        if cone.shifts:
            low = np.maximum(cone.stride * step + cone.first, 0)
            high = np.minimum(
                cone.stride * step + cone.first + cone.positions, positions_of(forward, name)[0]
            )
            found[name] = random.integers(low, high)
    return found


def _ctc_steps(
    recogniser: Recogniser, forward: Forward, utterance: Utterance, rows: Rows, own: np.ndarray
) -> np.ndarray:
    """The step of highest posterior in each letter's span of the forced alignment."""
    reference = recogniser.symbols.classes(utterance.text)
    logits = forward.logits[0, :, : int(forward.lengths[0])]
    best = np.array([span.best for span in align_targets(logits, reference, recogniser.symbols.blank)])
    return np.asarray(best[rows.letters.reference[own]])


def _at_times(plan: Pass, seconds: np.ndarray) -> dict[str, np.ndarray]:
    """The position of each layer that is nearest a time."""
    frames = seconds / plan.recogniser.features.frame_seconds
    return {
        name: np.rint((frames - cone.centre) / cone.frames).astype(np.int64)
        for name, cone in plan.layout.items()
        if cone.shifts
    }


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


OFFSET_COLUMNS = (
    *("method", "layer", "control", "count", "explained", "explained_low", "explained_high", "correlation"),
    *("median_ms", "low_ms", "high_ms", "spread_ms", "unseen"),
)


def offset_csv_row(row: OffsetRow) -> tuple[object, ...]:
    """The cells of :data:`OFFSET_COLUMNS`."""
    agreed = row.agreement
    return (
        *(row.method, row.layer, int(row.method in CONTROLS), agreed.count, agreed.explained, agreed.low),
        *(agreed.high, agreed.correlation, row.lag.median, row.lag.low, row.lag.high, row.spread, row.unseen),
    )
