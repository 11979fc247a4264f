"""The offset table: every method of finding where a letter lies, and its controls, on the same letters.

Three of the methods cost a walk of their own, so that the table rests on :data:`MOST_LETTERS` letters, drawn
by utterance, alike from all speakers; a number that covers the corpus takes them all. Nothing is held but
sums: the drawn utterances go through the recogniser once for the walks, then three times for each few layers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import Rows
from asr_introspect.experiments.pass_sums import layer_rows
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.bootstrap import Interval, ratio_interval
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.evaluation import Agreement, HalfMeans, explained_difference, halves
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.lags import Lag, lag
from asr_introspect.introspection.moments import in_threads
from asr_introspect.introspection.offset_findings import alignment_finding, trusted_finding
from asr_introspect.introspection.offset_methods import (
    CONTROLS,
    METHODS,
    Emitted,
    at_times,
    found_by_all,
)
from asr_introspect.introspection.offsets import position_seconds
from asr_introspect.random import generator
from asr_introspect.recogniser.alignment import align_targets
from asr_introspect.recogniser.passes import INPUT, Forward, forward_pass
from asr_introspect.recogniser.symbols import LETTERS

MOST_LETTERS = 2000
SUMS_BYTES = 400_000_000
"""What sums of windows may take at once; it decides how many layers are summed in one go."""


@dataclass(frozen=True)
class OffsetRow:
    """A row of ``offset_table.csv``: one method at one layer.

    Parameters
    ----------
    agreement
        How well windows agree that are placed there.
    over_none
        By how much more of the variance is explained than where windows are not moved at all.
    lag
        The found position after the middle of the letter's sound, in ms; its spread is the standard
        deviation.
    unseen
        Mean share of a window's positions that the letter's step never saw.
    of, utterances
        Letters that could have been compared, and the utterances that were drawn.
    verdict
        ``best``: most variance explained at this layer, of methods that are no control; ``no worse``: the
        interval of the difference holds 0; ``worse``.
    """

    method: str
    layer: str
    agreement: Agreement
    over_none: Interval
    lag: Lag
    unseen: Interval
    of: int
    utterances: int
    verdict: str = ""


@dataclass(frozen=True)
class _Drawn:
    """The compared letters of one drawn utterance: which, and where each method finds them."""

    number: int
    letters: np.ndarray
    found: Mapping[str, Mapping[str, np.ndarray]]


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``offset_table.csv``; returns what it says."""
    names = [name for name in METHODS if name != "phone" or gathered.sound == "phone"]
    most = gathered.draws.letters
    rows = offset_table(gathered.plan, gathered.rows, gathered.middle, gathered.seed, names, most)
    write_csv(gathered.folder / "offset_table.csv", OFFSET_COLUMNS, [offset_csv_row(row) for row in rows])
    return alignment_findings(rows, gathered.seed)


def offset_table(
    plan: Pass,
    rows: Rows,
    middle: np.ndarray,
    seed: int,
    methods: Sequence[str] = METHODS,
    most: int | None = None,
) -> list[OffsetRow]:
    """Every method and control at the input and layers 1 to 9.

    Compared are right letters A to Z whose sound is known.

    Parameters
    ----------
    middle
        Seconds of the middle of each letter's sound, NaN where not known, ``(letters,)``.
    methods
        Which; ``phone`` says something only where ``middle`` is that of phones.
    most
        About so many letters (:data:`MOST_LETTERS` if not given): utterances are drawn until they hold them.
    """
    return offset_tables(plan, rows, {"": middle}, seed, methods, most)[""]


def offset_tables(
    plan: Pass,
    rows: Rows,
    middles: Mapping[str, np.ndarray],
    seed: int,
    methods: Sequence[str] = METHODS,
    most: int | None = None,
) -> dict[str, list[OffsetRow]]:
    """:func:`offset_table` for several accounts of when letters sound, by their names, on the same letters.

    Compared are letters whose sound all accounts know; only ``phone``, lags and spreads can differ.
    """
    accounts = list(middles)
    compared = np.logical_and.reduce([_compared(rows, middle) for middle in middles.values()])
    numbers = _drawn(rows, compared, seed, MOST_LETTERS if most is None else most)
    tables: dict[str, list[OffsetRow]] = {account: [] for account in accounts}
    if not numbers:
        return tables
    parts = _found(plan, rows, compared, middles, numbers, seed)
    layout = {name: cone for name, cone in plan.layout.items() if cone.shifts}
    placed = [each for method in methods for each in _accounts(method, accounts)]
    for group in _groups(layout, len(placed), plan):
        agreements = _agreements(plan, rows, parts, placed, group, seed)
        for layer, cone in group.items():
            for account, middle in middles.items():
                keys = {method: _accounts(method, [account])[0] for method in methods}
                by_method = {method: agreements[key, layer] for method, key in keys.items()}
                own = [
                    _row(plan, rows, parts, cone, method, key, by_method, middle, int(compared.sum()), seed)
                    for method, key in keys.items()
                ]
                tables[account] += _judged(own, seed)
    return tables


def _accounts(method: str, accounts: Sequence[str]) -> list[str]:
    """A method under each account's name, where accounts differ in it."""
    return [f"phone {account}".strip() for account in accounts] if method == "phone" else [method]


def _compared(rows: Rows, middle: np.ndarray) -> np.ndarray:
    """Which letters can be compared: right ones, A to Z, whose sound is known; ``(letters,)`` bool."""
    named = np.isin(np.array(rows.letters.labels, object)[rows.letters.label], LETTERS)
    return np.asarray(named & (rows.letters.right == 1) & np.isfinite(middle))


def _drawn(rows: Rows, compared: np.ndarray, seed: int, most: int) -> list[int]:
    """Utterances drawn until they hold so many letters, one of each speaker in turn; at least two, else none.

    In the order of the corpus.
    """
    having, counts = np.unique(rows.letters.utterance[compared], return_counts=True)
    size = dict(zip(having.tolist(), counts.tolist(), strict=True))
    random = generator(seed, "utterances of the offset table")
    by_speaker: dict[str, list[int]] = {}
    for number in random.permutation(having).tolist():
        by_speaker.setdefault(str(rows.utterances[number]["speaker"]), []).append(number)
    turns = [
        each[turn]
        for turn in range(max(map(len, by_speaker.values()), default=0))
        for each in by_speaker.values()
        if turn < len(each)
    ]
    before = np.cumsum([0, *(size[number] for number in turns)])[:-1]
    chosen = sorted(number for n, number in enumerate(turns) if n < 2 or before[n] < most)
    return chosen if len(chosen) > 1 else []


def _forwards(
    plan: Pass, rows: Rows, numbers: Sequence[int], layers: Sequence[str], what: str
) -> Iterator[Forward]:
    places = [int(rows.utterances[number]["row"]) for number in numbers]
    given = plan.spectrograms
    return forward_pass(
        plan.recogniser,
        [plan.utterances[place] for place in places],
        layers=layers,
        batch_seconds=plan.batch_seconds,
        spectrograms=None if given is None else (lambda position: given(places[position])),
        what=what,
    )


def _found(
    plan: Pass,
    rows: Rows,
    compared: np.ndarray,
    middles: Mapping[str, np.ndarray],
    numbers: Sequence[int],
    seed: int,
) -> list[_Drawn]:
    """Where every method finds the compared letters of each drawn utterance, in the order given."""
    found: dict[int, _Drawn] = {}
    layout = {name: cone for name, cone in plan.layout.items() if cone.shifts}
    for forward in _forwards(plan, rows, numbers, [INPUT], "offsets"):
        own = [
            np.flatnonzero(compared & (rows.letters.utterance == numbers[position]))
            for position in forward.positions
        ]
        at = np.concatenate(own)
        letters = Emitted(
            np.repeat(np.arange(len(own)), [len(each) for each in own]),
            rows.letters.step[at],
            rows.letters.label[at],
            np.concatenate([_ctc_steps(plan, forward, i, rows, each) for i, each in enumerate(own)]),
            next(iter(middles.values()))[at],
        )
        all_found = found_by_all(plan.recogniser, forward, letters, seed=seed)
        for account, middle in middles.items():
            (name,) = _accounts("phone", [account])
            all_found[name] = at_times(middle[at], layout, plan.recogniser.features.frame_seconds)
        for item, position in enumerate(forward.positions):
            mine = letters.item == item
            found[position] = _Drawn(
                numbers[position],
                own[item],
                {
                    method: {layer: values[mine] for layer, values in by_layer.items()}
                    for method, by_layer in all_found.items()
                },
            )
    return [found[position] for position in range(len(numbers))]


def _ctc_steps(plan: Pass, forward: Forward, item: int, rows: Rows, own: np.ndarray) -> np.ndarray:
    """The step of highest posterior in each letter's span of the forced alignment."""
    symbols = plan.recogniser.symbols
    logits = forward.logits[item, :, : int(forward.lengths[item])]
    spans = align_targets(logits, symbols.classes(forward.utterances[item].text), symbols.blank)
    best = np.array([span.best for span in spans], np.int64)
    return np.asarray(best[rows.letters.reference[own]])


def _groups(layout: Mapping[str, Cone], methods: int, plan: Pass) -> Iterator[dict[str, Cone]]:
    """Layers whose sums fit into memory together."""
    channels = {INPUT: plan.recogniser.features.mels}
    channels |= {name: block.convolution.out_channels for name, block in plan.recogniser.network.blocks()}
    group: dict[str, Cone] = {}
    used = 0
    for name, cone in layout.items():
        # Two sums, each of two halves, in float32.
        needed = 16 * methods * len(plan.letters) * cone.positions * channels[name]
        if group and used + needed > SUMS_BYTES:
            yield group
            group, used = {}, 0
        group[name] = cone
        used += needed
    yield group


def _agreements(
    plan: Pass,
    rows: Rows,
    parts: Sequence[_Drawn],
    methods: Sequence[str],
    layout: Mapping[str, Cone],
    seed: int,
) -> dict[tuple[str, str], Agreement]:
    """The agreement of windows by method and layer, from three passes over the drawn utterances."""
    means: dict[tuple[str, str], HalfMeans] = {}
    half = halves(len(parts), seed)
    labels = [rows.letters.label[each.letters] for each in parts]

    def take(forward: Forward, turn: str, layer: str) -> None:
        cone, batch = layout[layer], layer_rows(forward, layer)
        lengths = (forward.frames if layer == INPUT else forward.lengths).tolist()
        for method in methods:
            at = (method, layer)
            if at not in means:
                means[at] = HalfMeans(len(plan.letters), half, cone.first, cone.positions, batch.shape[2])
            step = getattr(means[at], turn)
            for item, position in enumerate(forward.positions):
                found = parts[position].found[method][layer]
                step(batch[item, : lengths[item]], found, labels[position], position)

    numbers = [each.number for each in parts]
    for turn in ("add", "compare", "correlate"):
        for forward in _forwards(plan, rows, numbers, tuple(layout), "agreement of windows"):
            in_threads(
                {layer: functools.partial(take, forward, turn, layer) for layer in layout},
                torch.get_num_threads(),
            )
    speakers = [str(rows.utterances[number]["speaker"]) for number in numbers]
    return {at: each.agreement(speakers, seed=seed) for at, each in means.items()}


def _row(
    plan: Pass,
    rows: Rows,
    parts: Sequence[_Drawn],
    cone: Cone,
    method: str,
    key: str,
    agreements: Mapping[str, Agreement],
    middle: np.ndarray,
    of: int,
    seed: int,
) -> OffsetRow:
    at = np.concatenate([each.letters for each in parts])
    utterance = np.repeat(np.arange(len(parts)), [len(each.letters) for each in parts])
    speakers = agreements[method].speakers
    position = np.concatenate([each.found[key][cone.layer] for each in parts])
    seconds = position_seconds(position, cone, plan.recogniser.features.frame_seconds)
    moved = np.abs(position - cone.stride * rows.letters.step[at]).clip(max=cone.positions) / cone.positions
    unmoved = agreements.get("none")
    nothing = Interval(*(float("nan"),) * 3)
    return OffsetRow(
        method,
        cone.layer,
        agreements[method],
        nothing if unmoved is None else explained_difference(agreements[method], unmoved, seed=seed),
        lag(1000 * (seconds - middle[at]), utterance, speakers[utterance], seed=seed),
        ratio_interval(
            np.bincount(utterance, moved, len(parts)),
            np.bincount(utterance, minlength=len(parts)),
            speakers,
            seed=seed,
        ),
        of,
        len(parts),
    )


def _judged(rows: Sequence[OffsetRow], seed: int) -> list[OffsetRow]:
    """The rows of one layer with their verdicts."""
    best = max(
        (row for row in rows if row.method not in CONTROLS),
        key=lambda row: np.nan_to_num(row.agreement.explained.value, nan=-np.inf),
        default=None,
    )
    if best is None or not np.isfinite(best.agreement.explained.value):
        return list(rows)

    def verdict(row: OffsetRow) -> str:
        if row is best:
            return "best"
        behind = explained_difference(best.agreement, row.agreement, seed=seed)
        return "worse" if behind.low > 0 else "no worse"

    return [replace(row, verdict=verdict(row)) for row in rows]


def alignment_findings(rows: Sequence[OffsetRow], seed: int) -> list[Finding]:
    """Which alignment is to be trusted at each layer; at the input, the gradient's against no shift and
    against another letter's.
    """
    found = []
    verdicts: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.verdict:
            verdicts.setdefault(row.layer, {})[row.method] = row.verdict
    if verdicts:
        found.append(trusted_finding(verdicts, CONTROLS, rows[0].agreement.count))
    at_input = {row.method: row.agreement for row in rows if row.layer == INPUT}
    if {"gradient", "none", "other-letter"} <= set(at_input):
        gradient = at_input["gradient"]
        for against in ("none", "other-letter"):
            difference = explained_difference(gradient, at_input[against], seed=seed)
            other = at_input[against].explained.value
            found.append(alignment_finding(against, gradient.explained.value, other, difference))
    return found


OFFSET_COLUMNS = (
    *("method", "layer", "control", "verdict", "count", "of", "utterances"),
    *("explained", "explained_low", "explained_high", "signal", "signal_low", "signal_high", "average"),
    *("correlation", "correlation_low", "correlation_high", "over_none", "over_none_low", "over_none_high"),
    *("median_ms", "low_ms", "high_ms", "spread_ms", "spread_low_ms", "spread_high_ms", "unseen"),
)


def offset_csv_row(row: OffsetRow) -> tuple[object, ...]:
    """The cells of :data:`OFFSET_COLUMNS`."""
    agreed = row.agreement
    return (
        *(row.method, row.layer, int(row.method in CONTROLS), row.verdict or None),
        *(agreed.count, row.of, row.utterances),
        *(*_cells(agreed.explained), *_cells(agreed.signal), agreed.average),
        *(*_cells(agreed.correlation), *_cells(row.over_none)),
        *(row.lag.median, row.lag.low, row.lag.high, *_cells(row.lag.spread), row.unseen.value),
    )


def _cells(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high
