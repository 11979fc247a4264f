"""Profiles on disk: moments written and read as HDF5, averages over groups taken off on reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import xarray

from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Moments
from asr_introspect.recogniser.symbols import LETTERS

Average = Literal["groups", "counts", "none"]
Reduction = Literal["mean", "maximum", "sorted"]

MINIMUM = 10
"""Groups with fewer instances are left out of profiles, and listed."""
ENOUGH = 20
"""Groups with fewer instances are left out of statistics."""


@dataclass(frozen=True, order=True)
class Key:
    """Which profiles: ``/LABELS/OFFSET/WEIGHT`` in ``profiles.h5``."""

    labels: str
    offset: str
    weight: str = "activation"

    @property
    def path(self) -> str:
        """The HDF5 group."""
        return f"{self.labels}/{self.offset}/{self.weight}"


def write_moments(
    place: h5py.Group, key: Key, cone: Cone, moments: Moments, *, exact: bool = False, step_frames: int = 2
) -> None:
    """Writes the moments of one layer under ``/LABELS/OFFSET/WEIGHT/LAYER``.

    ``count`` ``(G, P)``, ``mean`` and ``variance`` ``(G, C, P)`` in float32, groups of fewer than ten
    instances left out and listed in the attribute ``left_out`` (parts of groups only if they have any
    instance: most cannot); with ``exact`` all groups, and ``M2`` in
    place of the variance, in float64 and ``(G, P, C)``, as they lie in memory. Dimension scales: group,
    channel, position (relative to the step's).
    """
    group = place.create_group(f"{key.path}/{cone.layer}")
    most = moments.count.max(1, initial=0)
    kept = np.arange(len(most)) if exact else np.flatnonzero(most >= MINIMUM)
    names = [moments.groups[i] for i in kept]
    group.create_dataset("group", data=np.array(names, dtype=object), dtype=h5py.string_dtype())
    group.create_dataset("channel", data=np.arange(moments.mean.shape[1]))
    group.create_dataset("position", data=np.arange(cone.first, cone.first + cone.positions))
    axes = ("group", "position", "channel") if exact else ("group", "channel", "position")
    stored: dict[str, np.ndarray] = {"count": moments.count[kept]}
    if exact:
        stored |= {"mean": moments.mean.transpose(0, 2, 1), "m2": moments.m2.transpose(0, 2, 1)}
    else:
        stored |= {"mean": moments.means()[kept], "variance": moments.variance[kept]}
    for name, values in stored.items():
        options: dict[str, Any] = {}
        if not exact and values.size:
            values = values if name == "count" else values.astype(np.float32)
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        dataset = group.create_dataset(name, data=np.ascontiguousarray(values), **options)
        for axis, scale in enumerate(("group", "position") if name == "count" else axes):
            group[scale].make_scale(scale)
            dataset.dims[axis].attach_scale(group[scale])
    group.attrs.update(
        {
            "layer": cone.layer,
            "step_frames": step_frames,
            "position_frames": cone.frames,
            "position_stride": cone.stride,
            "first_position": cone.first,
            "left_out": np.array(
                [
                    f"{name} ({count})"
                    for i, (name, count) in enumerate(zip(moments.groups, most, strict=True))
                    if i not in kept and (count or "|" not in name)
                ],
                dtype=h5py.string_dtype(),
            ),
        }
    )


def read_exact(place: h5py.Group, key: Key, layer: str) -> Moments:
    """The moments that ``write_moments(..., exact=True)`` wrote."""
    group = place[f"{key.path}/{layer}"]
    mean, m2 = (group[name][:].transpose(0, 2, 1) for name in ("mean", "m2"))
    return Moments(tuple(group["group"].asstr()[:]), group["count"][:], mean, m2)


def layers_of(path: Path | str, key: Key) -> list[str]:
    """The layers that a profile file holds, the input first."""
    with _opened(path) as file:
        if key.path not in file:
            raise unknown_name("profiles", key.path, _keys(file))
        names = list(file[key.path])
    return sorted(names, key=lambda name: (name != "input", len(name), name))


def keys_of(path: Path | str) -> list[Key]:
    """Which profiles a file holds."""
    with _opened(path) as file:
        return keys_in(file)


def keys_in(file: h5py.File) -> list[Key]:
    """Which profiles an open file holds."""
    return [Key(*name.split("/")) for name in _keys(file)]


def _keys(file: h5py.File) -> list[str]:
    found = []
    for labels in file:
        for offset in file[labels]:
            found += [f"{labels}/{offset}/{weight}" for weight in file[labels][offset]]
    return found


def read_profiles(
    path: Path | str, key: Key, layer: str, *, average: Average = "groups", minimum: int = MINIMUM
) -> xarray.Dataset:
    """The profiles of one layer: ``count``, ``mean``, ``variance`` with axes group, channel, position.

    Parameters
    ----------
    average
        What is taken off the means: the average over groups, each alike (``groups``, the default) or weighted
        by counts (``counts``), or nothing (``none``). Of letters, the average is over A to Z.
    minimum
        Groups with fewer instances are left out.

    Raises
    ------
    IntrospectError
        The file cannot be read.
    UsageError
        There are no such profiles or layers; the message says the near ones.
    """
    with _opened(path) as file:
        if key.path not in file:
            raise unknown_name("profiles", key.path, _keys(file))
        if layer not in file[key.path]:
            raise unknown_name("layer", layer, file[key.path])
        group = file[key.path][layer]
        names = list(group["group"].asstr()[:])
        coordinates = {"group": names, "channel": group["channel"][:], "position": group["position"][:]}
        data = xarray.Dataset(
            {
                "count": (("group", "position"), group["count"][:]),
                "mean": (("group", "channel", "position"), group["mean"][:]),
                "variance": (("group", "channel", "position"), group["variance"][:]),
            },
            coords=coordinates,
            attrs={
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in group.attrs.items()
                if name != "left_out"
            },
        )
    data = data.isel(group=np.flatnonzero(data["count"].max("position").values >= minimum))
    if average != "none":
        taken = averaged(
            data["mean"].values, data["count"].values, list(data["group"].values), key.labels, average
        )
        data["mean"] = data["mean"] - taken
    return data.assign_attrs(average=average)


def averaged(
    means: np.ndarray, counts: np.ndarray, groups: Sequence[str], labels: str, average: Average = "groups"
) -> np.ndarray:
    """The average over groups of means ``(G, C, P)``, ``(C, P)``; missing cells do not count.

    Space, apostrophe and split groups (``C|right``) are outside the average of letters.
    """
    if average not in ("groups", "counts"):
        raise unknown_name("average", average, ("groups", "counts"))
    inside = np.flatnonzero(in_statistics(groups, labels))
    if len(inside) == 0:
        raise UsageError("there is no group to average over")
    chosen = means[inside].astype(np.float64)
    weights = np.broadcast_to((counts[inside] > 0)[:, None], chosen.shape).astype(np.float64)
    if average == "counts":
        weights = weights * counts[inside][:, None]
    total = weights.sum(0)
    summed = (np.where(weights > 0, chosen, 0.0) * weights).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, summed / total, np.nan))


def time_independent(profile: xarray.Dataset, reduction: Reduction) -> xarray.Dataset:
    """Profiles without the order of time: per group and channel one number, or numbers sorted by size.

    Take the average over groups off afterwards: a difference of maxima is not the maximum of differences.

    Parameters
    ----------
    profile
        ``count`` (group, position) and ``mean`` (group, channel, position), as read with ``average="none"``.
    reduction
        ``mean`` and ``maximum`` over the positions that have instances, or all of them ``sorted``, the
        largest first. *(choice)* It is taken of the group's mean window: that of each window needs the
        windows themselves, which a pass does not keep. For the mean both are the same where no position is
        missing; the maximum of a mean window is at most the mean of the windows' maxima.

    Returns
    -------
    xarray.Dataset
        ``count`` and ``mean`` with the same axes, so that averages, distances and clusterings take it;
        ``position`` is 0, or the rank.

    Raises
    ------
    UsageError
        There is no such reduction.
    """
    if reduction not in get_args(Reduction):
        raise unknown_name("reduction", reduction, get_args(Reduction))
    data = profile[["count", "mean"]].transpose("group", ..., "position")
    known = data["count"] > 0
    means = data["mean"].where(known)
    if reduction == "sorted":
        ranks = np.arange(data.sizes["position"])
        values = -np.sort(-means.values, axis=-1)  # missing ones last
        present = ranks < known.sum("position").values[:, None]
        count = np.where(present, data["count"].max("position").values[:, None], 0)
    else:
        ranks = np.arange(1)
        reduced = means.mean("position") if reduction == "mean" else means.max("position")
        values = reduced.values[..., None]
        count = data["count"].max("position").values[:, None]
    return xarray.Dataset(
        {"count": (("group", "position"), count), "mean": (("group", "channel", "position"), values)},
        coords={"group": data["group"], "channel": data["channel"], "position": ranks},
        attrs={**profile.attrs, "reduction": reduction},
    )


def in_statistics(groups: Sequence[str], labels: str) -> np.ndarray:
    """Which groups statistics run over: of letters A to Z, of other labels all; no split groups."""
    if labels in ("letters", "letters-aligned"):
        return np.array([group in LETTERS for group in groups], bool)
    return np.array(["|" not in group for group in groups], bool)


def _opened(path: Path | str) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error}") from error
