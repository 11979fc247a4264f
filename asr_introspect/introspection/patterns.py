"""Letter patterns: mean aligned spectrograms per letter, less the average letter (methods, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray

from asr_introspect.errors import IntrospectError, unknown_name
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Activations, Moments, WindowSet, window_moments
from asr_introspect.introspection.pattern_errors import (
    AVERAGES,
    PatternErrors,
    UtteranceWindows,
    difference_errors,
)
from asr_introspect.introspection.profiles import MINIMUM, Average, averaged, in_statistics
from asr_introspect.introspection.rotations import DRAWS, QUANTILE, Thresholds, rotation_thresholds

UNIT = "standard deviations of the normalised log-Mel energy"


@dataclass(frozen=True)
class PatternAxes:
    """What the cells of a pattern mean: ``frequencies`` ``(F,)`` in Hz, the length of a frame, and how many
    frames an output step is long.
    """

    frequencies: np.ndarray
    frame_seconds: float
    step_frames: int = 2


def moments_of(
    utterances: Sequence[UtteranceWindows], groups: Sequence[str], first: int, positions: int
) -> Moments:
    """The moments of windows of utterances that lie in memory; a pass adds them up batch by batch instead."""
    starts = np.cumsum([0, *(len(spoken.group) for spoken in utterances)])
    batches = [
        Activations(
            np.ascontiguousarray(np.asarray(spoken.rows, np.float32).T[None]), np.array([len(spoken.rows)])
        )
        for spoken in utterances
    ]
    known = np.concatenate([np.asarray(spoken.group) >= 0 for spoken in utterances])
    windows = WindowSet(
        tuple(groups),
        np.repeat(np.arange(len(utterances)), np.diff(starts))[known],
        np.zeros(int(known.sum()), np.int64),
        np.concatenate([np.asarray(spoken.position, np.int64) for spoken in utterances])[known],
        np.concatenate([np.asarray(spoken.group, np.int64) for spoken in utterances])[known],
    )
    return window_moments(batches, [windows], first, positions)[0]


def patterns_of(
    utterances: Sequence[UtteranceWindows],
    groups: Sequence[str],
    axes: PatternAxes,
    *,
    first: int,
    positions: int,
    labels: str = "letters",
    average: Average = "groups",
    minimum: int = MINIMUM,
    draws: int = DRAWS,
    seed: int = 0,
) -> xarray.Dataset:
    """Patterns, their standard errors and what of them is significant, from arrays alone.

    Parameters
    ----------
    utterances
        Frames and windows of each; their ``group`` counts in ``groups``.
    first, positions
        A window at frame ``q`` is the frames ``q + first`` to ``q + first + positions - 1``.
    labels
        ``letters``: the average is over A to Z; another name: over all groups.

    Returns
    -------
    xarray.Dataset
        What :func:`read_patterns` gives.
    """
    found = frequent(moments_of(utterances, groups, first, positions), minimum)
    place = {name: number for number, name in enumerate(found.groups)}
    numbers = np.array([*(place.get(name, -1) for name in groups), -1], np.int64)
    kept = [replace(spoken, group=numbers[np.asarray(spoken.group, np.int64)]) for spoken in utterances]
    inside = in_statistics(found.groups, labels)
    cone = Cone("input", axes.step_frames, first, positions, 1, 0.0)
    with h5py.File("patterns", "w", driver="core", backing_store=False) as file:
        judged = average != "none"
        write_patterns(
            file,
            labels,
            cone,
            found,
            axes,
            errors=difference_errors(found, inside, first, kept) if judged else None,
            thresholds=rotation_thresholds(kept, inside, first, positions, draws=draws, seed=seed)
            if judged
            else None,
        )
        return _subtracted(_stored(file[labels], average), labels, average, minimum)


def frequent(found: Moments, minimum: int = MINIMUM) -> Moments:
    """The moments of groups that have so many instances."""
    kept = np.flatnonzero(found.count.max(1, initial=0) >= minimum)
    names = tuple(found.groups[i] for i in kept)
    return Moments(names, found.count[kept], found.mean[kept], found.m2[kept])


def write_patterns(
    place: h5py.Group,
    labels: str,
    cone: Cone,
    found: Moments,
    axes: PatternAxes,
    *,
    errors: PatternErrors | None = None,
    thresholds: Thresholds | None = None,
    sounds: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Writes moments of aligned spectrogram windows, and what is known of their errors, under ``/LABELS``.

    Of groups with at least ten instances: ``mean``, ``variance`` ``(G, F, W)`` float32, ``count`` ``(G, W)``;
    with ``errors`` ``error/groups``, ``error/counts`` ``(G, F, W)`` float32 (of the difference to the average
    of either weighting) and ``utterances`` ``(G, W)``; with ``thresholds`` ``threshold`` ``(G,)``, that of
    the unweighted average, which serves both; with ``sounds`` ``sound`` ``(G,)``, files relative to the run.
    ``frequency`` ``(F,)`` in Hz and ``time`` ``(W,)`` in ms are scales. Plain means: averages are subtracted
    on reading.

    Parameters
    ----------
    found
        Moments of frequent groups (:func:`frequent`), those of ``errors``, ``thresholds`` and ``sounds``.
    """
    frames = np.arange(cone.first, cone.first + cone.positions)
    group = place.create_group(labels)
    scales = {
        "group": (np.array(found.groups, dtype=object), ""),
        "frequency": (np.asarray(axes.frequencies, np.float64), "Hz"),
        "time": (1000 * axes.frame_seconds * frames, "ms"),
    }
    for name, (values, unit) in scales.items():
        kind = h5py.string_dtype() if name == "group" else None
        group.create_dataset(name, data=values, dtype=kind).make_scale(name)
        group[name].attrs["unit"] = unit
    cells = ("group", "frequency", "time")
    _write(group, "mean", found.means(), cells, UNIT)
    _write(group, "variance", found.variance, cells, f"({UNIT})^2")
    _write(group, "count", found.count, ("group", "time"), "instances")
    if errors is not None:
        for average, values in errors.error.items():
            _write(group, f"error/{average}", values, cells, UNIT)
        _write(group, "utterances", errors.utterances, ("group", "time"), "utterances")
    if thresholds is not None:
        _write(group, "threshold", thresholds.threshold, ("group",), "standard errors")
        group["threshold"].attrs.update(
            {
                "draws": thresholds.draws,
                "quantile": QUANTILE,
                "instances": thresholds.instances,
                "utterances": thresholds.utterances,
            }
        )
    if sounds:
        group.create_dataset("sound", data=np.array(sounds, dtype=object), dtype=h5py.string_dtype())
    group.attrs.update(
        {
            "anchor": cone.anchor,
            "first_position": cone.first,
            "frame_seconds": axes.frame_seconds,
            "step_frames": axes.step_frames,
            **(attributes or {}),
        }
    )


def _write(group: h5py.Group, name: str, values: np.ndarray, axes: Sequence[str], unit: str) -> None:
    stored = values.astype(np.float32) if values.dtype == np.float64 and values.ndim == 3 else values
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    dataset = group.create_dataset(
        name, data=np.ascontiguousarray(stored), **(options if stored.size and stored.ndim > 1 else {})
    )
    dataset.attrs["unit"] = unit
    for axis, scale in enumerate(axes):
        dataset.dims[axis].attach_scale(group[scale])


def read_patterns(
    path: Path | str, labels: str = "letters", *, average: Average = "groups", minimum: int = MINIMUM
) -> xarray.Dataset:
    """Patterns with axes group, frequency (Hz), frame (relative to the one the letter is about).

    Parameters
    ----------
    average
        ``groups`` (default): less the unweighted mean over letters A to Z; ``counts``: less their mean
        weighted by counts, as in the lecture's figure; ``none``: the plain means. What is left of a
        subtraction is a pattern, not a spectrogram: its sign says more or less energy than in the average
        letter.
    minimum
        Groups with fewer instances are left out.

    Returns
    -------
    xarray.Dataset
        ``pattern`` and ``variance`` ``(group, frequency, frame)``, ``count`` ``(group, frame)``; the
        coordinate ``time`` is frames in ms. Unless ``average`` is ``none`` also ``average``
        ``(frequency, frame)`` and, where the run has them, ``error`` (clustered standard error of the
        difference to the average), ``threshold`` ``(group,)`` and ``significant``: where
        ``|pattern| / error`` exceeds the threshold.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error}") from error
    with file:
        if labels not in file:
            raise unknown_name("patterns", labels, file)
        return _subtracted(_stored(file[labels], average), labels, average, minimum)


def _subtracted(data: xarray.Dataset, labels: str, average: Average, minimum: int) -> xarray.Dataset:
    data = data.isel(group=np.flatnonzero(data["count"].max("frame").values >= minimum))
    if average != "none":
        values, counts = data["pattern"].values, data["count"].values
        taken = averaged(values, counts, list(data["group"].values), labels, average)
        data["pattern"] = data["pattern"] - taken
        data["average"] = (("frequency", "frame"), taken)
        if "threshold" in data:
            data["significant"] = np.abs(data["pattern"]) > data["threshold"] * data["error"]
    data["pattern"].attrs["unit"] = UNIT
    return data


def _stored(group: h5py.Group, average: Average) -> xarray.Dataset:
    if average not in (*AVERAGES, "none"):
        raise unknown_name("average", average, (*AVERAGES, "none"))
    cells = ("group", "frequency", "frame")
    time = group["time"][:]
    found: dict[str, Any] = {
        "pattern": (cells, group["mean"][:]),
        "variance": (cells, group["variance"][:]),
        "count": (("group", "frame"), group["count"][:]),
    }
    if average != "none" and "error" in group:
        found["error"] = (cells, group["error"][average][:])
        found["utterances"] = (("group", "frame"), group["utterances"][:])
        if "threshold" in group:
            found["threshold"] = (("group",), group["threshold"][:])
    first = int(group.attrs["first_position"])
    return xarray.Dataset(
        found,
        coords={
            "group": list(group["group"].asstr()[:]),
            "frequency": ("frequency", group["frequency"][:], {"unit": "Hz"}),
            "frame": np.arange(first, first + len(time)),
            "time": ("frame", time, {"unit": "ms"}),
        },
        attrs={"frame_seconds": float(group.attrs["frame_seconds"]), "subtracted": average},
    )


def strength(patterns: xarray.Dataset) -> np.ndarray:
    """The root mean square of each group's pattern over the cells that are known, ``(G,)``."""
    return np.asarray(np.sqrt(np.nanmean(np.square(patterns["pattern"].values), axis=(1, 2))))


def overshadowing(patterns: xarray.Dataset) -> np.ndarray:
    """``|average| / |pattern|`` per group, ``(G,)``: by how much being a letter at all outweighs being this
    one.
    """
    average = np.sqrt(np.nanmean(np.square(patterns["average"].values)))
    return np.asarray(average / strength(patterns))


def loudest_cell(patterns: xarray.Dataset, group: str) -> tuple[float, float, float]:
    """Where a group's pattern is largest in size: Hz, milliseconds after the anchor, and the value there."""
    pattern = patterns["pattern"].sel(group=group).values
    row, column = np.unravel_index(np.nanargmax(np.abs(pattern)), pattern.shape)
    hertz = float(patterns["frequency"].values[row])
    milliseconds = float(patterns["frame"].values[column]) * patterns.attrs["frame_seconds"] * 1000
    return hertz, milliseconds, float(pattern[row, column])
