"""The chosen utterance: its spectrogram, its letters where they were emitted, and what each rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.reporting.geometry import Tick, frequency_ticks, geometry_of
from asr_introspect.reporting.pictures import (
    file_address,
    limit_of,
    packed,
    picture,
    quantised,
    signed_picture,
)
from asr_introspect.reporting.run import Relevance, Run
from asr_introspect.reporting.tables import number
from asr_introspect.reporting.words import fixed, layer_name, letter_name, milliseconds, percent

SHOWN_SECONDS = 60
"""Of a longer utterance the page shows the beginning."""

WINDOW_BUDGET = 2_400_000
"""Bytes of packed relevance that the page may carry; beyond that it is halved in time and frequency."""

PIXELS_PER_FRAME = 1.9
"""The picture is never drawn narrower than this; small screens scroll it sideways."""

LETTER_PIXELS = 17
"""The width of a letter's button."""


@dataclass(frozen=True)
class Letter:
    """An emitted letter on the page; ``left`` is in per cent of the picture's width."""

    symbol: str
    name: str
    step: int
    seconds: float
    left: float
    row: int
    verdict: str
    score: str
    offset: str
    found: float | None


@dataclass(frozen=True)
class Phone:
    """A phone's span on the page, in per cent of the picture's width."""

    symbol: str
    left: float
    width: float
    seconds: str


@dataclass(frozen=True)
class UtteranceView:
    """What the page shows of the chosen utterance."""

    name: str
    speaker: str
    reference: str
    hypothesis: str
    rule: str
    seconds: float
    cut: bool
    frames: int
    bands: int
    width: int
    rows: int
    letters: tuple[Letter, ...]
    phones: tuple[Phone, ...]
    time_ticks: tuple[Tick, ...]
    frequency_ticks: tuple[Tick, ...]
    spectrogram: str
    sentence: str
    sound: str | None
    windows: str
    window_shape: tuple[int, int, int]
    window: int
    pooled: int
    starts: list[int]
    limits: list[float]
    frame_seconds: float
    composite: str
    against: str
    cosine: float
    leak: float
    ledger: tuple[tuple[str, ...], ...]


def utterance_view(run: Run) -> UtteranceView | None:
    """The chosen utterance, or None where the run has no relevance of one."""
    relevance = run.relevance
    if relevance is None or relevance.spectrogram.size == 0:
        return None
    chosen = int(number(run.corpus.get("chosen")) if run.corpus.get("chosen") is not None else 0)
    row = run.utterances[chosen] if chosen < len(run.utterances) else {}
    geometry = geometry_of(run)
    whole = relevance.spectrogram.shape[1]
    frames = min(whole, round(SHOWN_SECONDS / geometry.frame_seconds))
    spectrogram = relevance.spectrogram[::-1, :frames]
    sentence = relevance.sentence[::-1, :frames]
    finite = spectrogram[np.isfinite(spectrogram)]
    low, high = np.quantile(finite, (0.01, 0.999)) if finite.size else (0.0, 1.0)
    letters = _letters(run, relevance, frames)
    shown = len(letters)
    shown_windows = relevance.windows[:shown]
    pooled, windows, shape = _packed_windows(shown_windows)
    seconds = frames * geometry.frame_seconds
    attributes = relevance.attributes
    return UtteranceView(
        name=row.get("name", ""),
        speaker=row.get("speaker", ""),
        reference=row.get("reference", ""),
        hypothesis=row.get("hypothesis", ""),
        rule=str(run.corpus.get("chosen_rule", "")),
        seconds=seconds,
        cut=frames < whole,
        frames=frames,
        bands=spectrogram.shape[0],
        width=round(PIXELS_PER_FRAME * frames),
        rows=1 + max((letter.row for letter in letters), default=0),
        letters=letters,
        phones=_phones(run, seconds),
        time_ticks=_time_ticks(seconds),
        frequency_ticks=frequency_ticks(next((own.frequencies for own in run.patterns.values()), None)),
        spectrogram=picture(spectrogram, float(low), float(high), "Greys", levels=48),
        sentence=signed_picture(sentence, limit_of(sentence)),
        sound=file_address(run.sound, "audio/flac") if run.sound else None,
        windows=windows,
        window_shape=shape,
        window=relevance.windows.shape[2],
        pooled=pooled,
        starts=[int(start) for start in relevance.starts[:shown]],
        limits=[
            float(f"{limit_of(w) * scale:.4g}")
            for w, scale in zip(shown_windows, relevance.scale, strict=False)
        ],
        frame_seconds=geometry.frame_seconds,
        composite=str(attributes.get("composite", "")),
        against=str(attributes.get("against", "")),
        cosine=number(attributes.get("cosine_to_gradient_x_input")),
        ledger=ledger_rows(relevance),
        leak=number(np.mean(attributes["leak"]) if "leak" in attributes else None),
    )


def ledger_rows(relevance: Relevance) -> tuple[tuple[str, ...], ...]:
    """The ledger in words: layer, rule, what came in, what stayed in biases and in stabilisers, what went on.

    The amounts are means over letters; what stayed is also told in per cent of the score.
    """
    if not relevance.ledger:
        return ()
    score = relevance.ledger[0].outgoing
    rows = []
    for row in relevance.ledger:
        stayed = (row.bias + row.stabiliser) / score if score else float("nan")
        name = layer_name(row.layer.removesuffix(".convolution"))
        amounts = (row.outgoing, row.bias, row.stabiliser, row.incoming)
        rows.append((name, row.rule, *(fixed(amount) for amount in amounts), percent(stayed)))
    return tuple(rows)


def _letters(run: Run, relevance: Relevance, frames: int) -> tuple[Letter, ...]:
    """The letters that begin within the shown frames, spread over rows so that none covers another."""
    geometry = geometry_of(run)
    width = LETTER_PIXELS / PIXELS_PER_FRAME
    ends: list[float] = []
    letters = []
    count = min(len(relevance.windows), len(relevance.symbols))
    for i in range(count):
        frame = float(relevance.starts[i]) + (relevance.windows.shape[2] - 1) / 2
        if frame >= frames:
            break
        lane = _lane(ends, frame, width)
        instance = int(relevance.instances[i])
        right = run.instances.chosen.get(instance, {}).get("right", "")
        found = run.instances.found.get(instance, float("nan"))
        symbol = relevance.symbols[i]
        letters.append(
            Letter(
                symbol={" ": "␣"}.get(symbol, symbol),
                name=letter_name(symbol),
                step=int(relevance.steps[i]),
                seconds=round(frame * geometry.frame_seconds, 3),
                left=round(100 * (frame + 0.5) / frames, 3),
                row=lane,
                verdict={"1": "right", "0": "wrong"}.get(right, ""),
                score=fixed(float(relevance.scores[i]), 2),
                offset=milliseconds(1000 * geometry.frame_seconds * (found - frame)),
                found=None if not np.isfinite(found) else round(100 * (found + 0.5) / frames, 3),
            )
        )
    return tuple(letters)


def _lane(ends: list[float], frame: float, width: float) -> int:
    """The first row that is free at a frame (a fifth row is never begun: then the one free soonest)."""
    free = [row for row, end in enumerate(ends) if end <= frame - width / 2]
    if not free and len(ends) < 4:
        ends.append(0.0)
        free = [len(ends) - 1]
    lane = free[0] if free else int(np.argmin(ends))
    ends[lane] = frame + width / 2
    return lane


def _phones(run: Run, seconds: float) -> tuple[Phone, ...]:
    spans = []
    for row in run.instances.chosen.values():
        if row.get("kind") == "phoneme":
            start, end = number(row.get("start")), min(number(row.get("end")), seconds)
            if start < end:
                spans.append(
                    Phone(
                        row.get("label", ""),
                        round(100 * start / seconds, 3),
                        round(100 * (end - start) / seconds, 3),
                        f"{start:.2f} to {end:.2f} s",
                    )
                )
    return tuple(spans)


def _packed_windows(windows: np.ndarray) -> tuple[int, str, tuple[int, int, int]]:
    """The windows in signed bytes, low frequencies last, small enough for the page.

    Returns how many cells a side were averaged into one, the packed bytes, and their shape ``(N, F, W)``.
    """
    flipped = windows[:, ::-1].astype(np.float32)
    side, data = 1, ""
    for side in (1, 2, 4, 8):
        averaged = _averaged(flipped, side)
        data = packed(np.stack([quantised(w, limit_of(w)) for w in averaged]) if len(averaged) else averaged)
        if len(data) <= WINDOW_BUDGET:
            break
    return side, data, (averaged.shape[0], averaged.shape[1], averaged.shape[2])


def _averaged(windows: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of ``side`` by ``side`` cells; the last ones are filled up with zeros."""
    if side == 1 or not len(windows):
        return windows
    count, bands, frames = windows.shape
    windows = np.pad(windows, ((0, 0), (0, -bands % side), (0, -frames % side)))
    shape = (count, windows.shape[1] // side, side, windows.shape[2] // side, side)
    return np.asarray(windows.reshape(shape).mean(axis=(2, 4)))


def _time_ticks(seconds: float) -> tuple[Tick, ...]:
    every = 0.5 if seconds <= 20 else 2.0
    times = np.arange(0, seconds, every)
    return tuple(Tick(round(100 * float(t) / seconds, 3), f"{t:g}") for t in times)
