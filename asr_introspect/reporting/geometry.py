"""Where steps and Mel bands lie, read off what the run stores, and the ticks of axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_introspect.reporting.run import Run
from asr_introspect.reporting.tables import number
from asr_introspect.reporting.words import fixed, hertz


@dataclass(frozen=True)
class Geometry:
    """Step ``i`` is centred at frame ``step_frames * i + centre``; a frame is ``frame_seconds`` long."""

    step_frames: int
    centre: float
    frame_seconds: float


@dataclass(frozen=True)
class Tick:
    """A place on an axis in per cent of its length, and what stands there."""

    at: float
    text: str


def geometry_of(run: Run) -> Geometry:
    """The geometry of the run's network, from its patterns or its relevance windows.

    The centre of a step is the middle of its window; without either part it is that of Wav2Letter.
    """
    features = run.model.get("features") or {}
    frame_seconds = number(features.get("hop")) / number(features.get("sample_rate"))
    if not np.isfinite(frame_seconds):
        frame_seconds = next((own.frame_seconds for own in run.patterns.values()), 0.01)
    if run.relevance is not None and len(run.relevance.steps) > 1:
        steps, starts = run.relevance.steps, run.relevance.starts
        apart = int(np.ptp(steps))
        step_frames = round(float(np.ptp(starts)) / apart) if apart else 2
        centre = float(starts[0] - step_frames * steps[0]) + (run.relevance.windows.shape[2] - 1) / 2
        return Geometry(step_frames, centre, frame_seconds)
    for own in run.patterns.values():
        return Geometry(2, (own.mean.shape[2] - 1) / 2 - own.anchor, frame_seconds)
    return Geometry(2, 1.5, frame_seconds)


def frequency_ticks(frequencies: np.ndarray | None) -> tuple[Tick, ...]:
    """Marks at round frequencies, per cent from the top; none where the frequencies are not known."""
    if frequencies is None or len(frequencies) < 2:
        return ()
    bands = len(frequencies)
    ticks = []
    for value in (250, 500, 1000, 2000, 4000, 8000):
        if frequencies[0] <= value <= frequencies[-1]:
            band = float(np.interp(value, frequencies, np.arange(bands)))
            ticks.append(Tick(round(100 * (bands - band - 0.5) / bands, 2), hertz(value)))
    return tuple(ticks)


def lag_ticks(first: int, count: int, frame_seconds: float, every: float = 500.0) -> tuple[Tick, ...]:
    """Marks every so many milliseconds on an axis of ``count`` frames that begins at frame ``first``."""
    low, high = 1000 * first * frame_seconds, 1000 * (first + count - 1) * frame_seconds
    values = np.arange(np.ceil(low / every), np.floor(high / every) + 1) * every
    place = (values / (1000 * frame_seconds) - first + 0.5) / count
    return tuple(
        Tick(round(100 * float(at), 2), fixed(float(value), 0, sign=True))
        for at, value in zip(place, values, strict=True)
        if 0.05 < at < 0.95  # a number at the edge would run into the neighbouring picture's
    )
