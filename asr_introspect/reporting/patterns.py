"""Letter patterns as small multiples: the mean spectrogram of a letter minus that of all letters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr_introspect.reporting.geometry import Tick, frequency_ticks, lag_ticks
from asr_introspect.reporting.pattern_store import Patterns
from asr_introspect.reporting.pictures import data_address, levelled, limit_of, packed, palette, picture, png
from asr_introspect.reporting.run import Run
from asr_introspect.reporting.words import fixed, hertz, layer_name, letter_name, milliseconds, percent

FEWEST = 10
"""Groups with fewer instances are listed, not drawn."""

ENOUGH = 20
"""Groups with fewer instances are marked, and do not decide the limits of the colours."""

MOST_DRAWN = 160
"""So many pictures and sounds at most: with more the page would be larger than it may be (6 MB)."""

NEAR_SECONDS = 0.2
"""How far from the found frame the strongest place of a pattern is looked for *(choice)*."""

LEVELS = 49
"""Steps from the lowest to the highest value of a picture; the middle one is zero."""

VEIL = 0.62
"""How far the colours of cells below the threshold go towards the paper."""

SOUND = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.8}
"""How sounds stand in the page: every browser plays it, and 2 s are 9 kB."""

ALIGNED = {
    ("letters", "gradient"): "the frame that the letter's gradient points to",
    ("phonemes", "none"): "the step nearest the middle of the phone's span",
}
"""What stands at the dotted line."""

TITLES = {
    "letters-aligned": "letters of the text",
    "phonemes-stressed": "phonemes with stress",
}


@dataclass(frozen=True)
class PatternView:
    """One letter: its pattern, how strong it is, how much of it is more than chance, its sound.

    ``outside`` marks space and apostrophe, which do not enter the mean over letters; ``few`` a small group.
    ``pattern`` is a picture of palette indices: below :data:`LEVELS` cells beyond the threshold, above it the
    same values veiled. ``mask`` holds the cells beyond it with the average by counts, a bit each.
    """

    name: str
    count: int
    outside: bool
    few: bool
    pattern: str
    ratio: str
    strongest: str
    share: str
    mask: str
    sound: str


@dataclass(frozen=True)
class PatternsView:
    """All groups of one set of labels; limits are in standard deviations of the normalised log-Mel.

    ``data`` is for the page's script: among it ``grand`` and ``shift``, the unweighted average, and what it
    is more than that by counts, as bytes over their limits. ``others``: sets of labels that the page has no
    room for.
    """

    labels: str
    title: str
    aligned: str
    letters: tuple[PatternView, ...]
    left_out: tuple[str, ...]
    pattern_limit: str
    mean_limit: str
    time_ticks: tuple[Tick, ...]
    frequency_ticks: tuple[Tick, ...]
    anchor: float
    ratio: str
    share: str
    draws: int
    errors_missing: str
    frames: int
    bands: int
    average: str
    average_sound: str
    data: Mapping[str, Any]
    overshadowing: tuple[tuple[str, ...], ...]
    others: tuple[str, ...] = ()


def patterns_views(run: Run) -> tuple[PatternsView, ...]:
    """The patterns of every set of labels of which enough groups are frequent enough."""
    found: list[PatternsView] = []
    others, drawn = [], 0
    for labels, stored in run.patterns.items():
        plain = sum("|" not in name for name in stored.groups)
        if found and drawn + plain > MOST_DRAWN:
            others.append(TITLES.get(labels, labels))
            continue
        view = _view(run, labels, stored)
        if view is not None:
            found.append(view)
            drawn += len(view.letters)
    return tuple(replace(view, others=tuple(others)) for view in found)


def _view(run: Run, labels: str, stored: Patterns) -> PatternsView | None:
    counts = stored.count.max(axis=1, initial=0).astype(int)
    plain = [g for g, name in enumerate(stored.groups) if "|" not in name]
    kept = [g for g in plain if counts[g] >= FEWEST]
    inside = np.array(
        [
            g in kept and not (labels in ("letters", "letters-aligned") and name in (" ", "'"))
            for g, name in enumerate(stored.groups)
        ],
        bool,
    )
    if not inside.any():
        return None
    grand, by_counts = stored.average("groups", inside), stored.average("counts", inside)
    patterns = stored.mean - grand
    beyond = stored.significant("groups", patterns)
    beyond_counts = stored.significant("counts", stored.mean - by_counts)
    frequent = [g for g in kept if inside[g] and counts[g] >= ENOUGH] or np.flatnonzero(inside).tolist()
    limit, mean_limit = limit_of(patterns[frequent], 0.998), limit_of(stored.mean[frequent], 0.998)
    shift = grand - by_counts
    views = tuple(
        PatternView(
            name=letter_name(stored.groups[g]),
            count=int(counts[g]),
            outside=not inside[g],
            few=bool(counts[g] < ENOUGH),
            pattern=veiled_picture(patterns[g], limit, None if beyond is None else beyond[g]),
            ratio=fixed(_size(grand) / _size(patterns[g]), 1),
            strongest=strongest(stored, patterns[g]),
            share="" if beyond is None or not _judged(stored, g) else share_of(float(beyond[g].mean())),
            mask="" if beyond_counts is None else packed(np.packbits(beyond_counts[g][::-1])),
            sound=sound_address(stored.sounds[g]),
        )
        for g in sorted(
            kept, key=lambda g: (not inside[g], g if labels == "phonemes" else 0, stored.groups[g])
        )
    )
    frames = stored.mean.shape[2]
    judged = [g for g in kept if inside[g] and _judged(stored, g)]
    return PatternsView(
        labels=labels,
        title=TITLES.get(labels, labels),
        aligned=ALIGNED.get((labels, stored.offset), "the step it stands at"),
        letters=views,
        left_out=_left_out(run, labels, [(stored.groups[g], counts[g]) for g in plain if g not in kept]),
        pattern_limit=fixed(limit),
        mean_limit=fixed(mean_limit),
        time_ticks=lag_ticks(-stored.anchor, frames, stored.frame_seconds),
        frequency_ticks=frequency_ticks(stored.frequencies),
        anchor=round(100 * (stored.anchor + 0.5) / frames, 2),
        ratio=fixed(float(np.median([_size(grand) / _size(patterns[g]) for g in np.flatnonzero(inside)])), 1),
        share=share_of(float(np.median([beyond[g].mean() for g in judged])))
        if beyond is not None and judged
        else "",
        draws=stored.draws,
        errors_missing=stored.errors_missing,
        frames=frames,
        bands=stored.mean.shape[1],
        average=picture(grand[::-1], -mean_limit, mean_limit, "RdBu_r", levels=LEVELS),
        average_sound=sound_address(stored.average_sound),
        data={
            "labels": labels,
            "levels": LEVELS,
            "limit": limit,
            "mean_limit": mean_limit,
            "shift_limit": limit_of(shift, 1.0),
            "grand": _bytes(grand, mean_limit),
            "shift": _bytes(shift, limit_of(shift, 1.0)),
            "colours": veiled_palette().tolist(),
            "anchor": stored.anchor,
            "frame_ms": 1000 * stored.frame_seconds,
            "hertz": [round(float(value)) for value in stored.frequencies],
        },
        overshadowing=_overshadowing(run, labels),
    )


def share_of(value: float) -> str:
    """A share of cells in words; small ones with a decimal."""
    if 0 < value < 0.0005:
        return f"under {percent(0.001)}"
    return percent(value, 0 if value >= 0.0995 or value == 0 else 1)


def _judged(stored: Patterns, group: int) -> bool:
    """Whether a group has a threshold."""
    return stored.threshold is not None and bool(np.isfinite(stored.threshold[group]))


def _left_out(run: Run, labels: str, listed: list[tuple[str, int]]) -> tuple[str, ...]:
    """Labels that are too rare, with their counts, as the run's profiles list them or as counted here."""
    rare = [
        text for text in run.left_out.get(labels, ()) if not text.startswith("<blank>") and "|" not in text
    ]
    names = [text.rpartition(" ") for text in rare or [f"{name} ({count})" for name, count in listed]]
    return tuple(f"{letter_name(name)} {count}" for name, _, count in names)


def _overshadowing(run: Run, labels: str) -> tuple[tuple[str, ...], ...]:
    """By layer the median, smallest and largest ``|grand mean| / |pattern|``."""
    return tuple(
        (
            layer_name(layer),
            *(fixed(float(of(ratios))) for of in (np.nanmedian, np.nanmin, np.nanmax)),
            str(len(ratios)),
        )
        for layer, ratios in run.overshadowing.get(labels, {}).items()
        if np.isfinite(ratios).any()
    )


def veiled_palette() -> np.ndarray:
    """Blue over white to red, then the same colours veiled: ``(2 LEVELS, 3)`` bytes."""
    colours = palette("RdBu_r", LEVELS).astype(float)
    veiled = (1 - VEIL) * colours + VEIL * 255
    return np.round(np.concatenate([colours, veiled])).astype(np.uint8)


def veiled_picture(values: np.ndarray, limit: float, beyond: np.ndarray | None) -> str:
    """A data address of a pattern ``(F, W)``, low frequencies at the bottom, cells not ``beyond`` veiled."""
    indices = levelled(values, -limit, limit, LEVELS)
    if beyond is not None:
        indices = np.where(beyond, indices, indices + LEVELS).astype(np.uint8)
    return data_address(png(indices[::-1], veiled_palette()), "image/png")


def sound_address(path: Path | None) -> str:
    """A data address of a sound, made small; "" for none."""
    if path is None:
        return ""
    sound, rate = soundfile.read(path, dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, sound, rate, **SOUND)
    return data_address(file.getvalue(), "audio/mpeg")


def _bytes(values: np.ndarray, limit: float) -> str:
    """Values from -limit to limit as bytes from 1 to 255, first row the highest band, packed."""
    scaled = np.nan_to_num(values[::-1] / (limit if limit > 0 else 1.0)).clip(-1, 1)
    return packed((128 + np.round(127 * scaled)).astype(np.uint8))


def strongest(stored: Patterns, pattern: np.ndarray) -> str:
    """Where a pattern is largest near the found frame, in words: its value, the frequency, the time."""
    near = round(NEAR_SECONDS / stored.frame_seconds)
    sizes = np.nan_to_num(np.abs(pattern))
    sizes[:, np.abs(np.arange(sizes.shape[1]) - stored.anchor) > near] = -1
    band, frame = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
    value = pattern[band, frame]
    rounded = float(f"{stored.frequencies[band]:.2g}")
    when = milliseconds(1000 * (frame - stored.anchor) * stored.frame_seconds)
    return f"{fixed(float(value), 2, sign=True)} at {hertz(rounded)}, {when}"


def _size(values: np.ndarray) -> float:
    """The Euclidean length of what is finite; tiny instead of zero, so that ratios stay numbers."""
    return max(float(np.sqrt(np.nansum(np.square(values)))), 1e-12)
