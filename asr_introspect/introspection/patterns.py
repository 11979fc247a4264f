"""Letter patterns: mean aligned spectrograms per letter, less the average letter (methods, section 3)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import xarray

from asr_introspect.errors import IntrospectError, unknown_name
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Moments
from asr_introspect.introspection.profiles import MINIMUM, Average, averaged


def write_patterns(
    place: h5py.Group,
    labels: str,
    cone: Cone,
    found: Moments,
    frequencies: np.ndarray,
    frame_seconds: float,
    step_frames: int,
) -> None:
    """Writes the moments of aligned spectrogram windows under ``/LABELS``.

    ``mean``, ``variance`` ``(G, F, 206)`` float32, ``count`` ``(G, 206)``; ``frequencies`` ``(F,)`` Hz.
    Groups with fewer than ten instances are left out. Plain means: averages are subtracted on reading.
    """
    most = found.count.max(1, initial=0)
    kept = np.flatnonzero(most >= MINIMUM)
    group = place.create_group(labels)
    options = {"compression": "gzip", "shuffle": True} if len(kept) else {}
    group.create_dataset("mean", data=found.means()[kept].astype(np.float32), **options)
    group.create_dataset("variance", data=found.variance[kept].astype(np.float32), **options)
    group.create_dataset("count", data=found.count[kept])
    group.create_dataset("frequencies", data=np.asarray(frequencies, np.float64))
    group.attrs.update(
        {
            "groups": np.array([found.groups[i] for i in kept], dtype=h5py.string_dtype()),
            "anchor": cone.anchor,
            "first_position": cone.first,
            "frame_seconds": frame_seconds,
            "step_frames": step_frames,
        }
    )


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
        ``pattern`` and ``variance`` ``(group, frequency, frame)``, ``count`` ``(group, frame)``, and unless
        ``average`` is ``none`` ``average`` ``(frequency, frame)``.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error}") from error
    with file:
        if labels not in file:
            raise unknown_name("patterns", labels, file)
        group = file[labels]
        names = [str(name) for name in group.attrs["groups"]]
        anchor, count = int(group.attrs["anchor"]), group["count"][:]
        means = group["mean"][:]
        data = xarray.Dataset(
            {
                "pattern": (("group", "frequency", "frame"), means),
                "variance": (("group", "frequency", "frame"), group["variance"][:]),
                "count": (("group", "frame"), count),
            },
            coords={
                "group": names,
                "frequency": group["frequencies"][:],
                "frame": np.arange(count.shape[1]) - anchor,
            },
            attrs={"frame_seconds": float(group.attrs["frame_seconds"]), "subtracted": average},
        )
    data = data.isel(group=np.flatnonzero(count.max(1, initial=0) >= minimum))
    if average != "none":
        values, counts = data["pattern"].values, data["count"].values
        taken = averaged(values, counts, list(data["group"].values), labels, average)
        data["pattern"] = data["pattern"] - taken
        data["average"] = (("frequency", "frame"), taken)
    return data


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
