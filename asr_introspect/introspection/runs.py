"""What a run folder holds, as arrays with named axes and units, for notebooks and analyses of your own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray

from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.features import FeatureConfig, mel_frequencies
from asr_introspect.files import read_json
from asr_introspect.introspection import patterns, profiles
from asr_introspect.introspection.profiles import MINIMUM, Average, Key
from asr_introspect.recogniser.passes import INPUT, layer_names

WHOLE = ("instance", "utterance", "step", "count", "of", "utterances", "control", "right", "frames", "steps")
"""Columns of whole numbers; -1 where a cell is empty."""


def read_profiles(
    run: Path | str,
    layer: str | int = "layer10",
    labels: str = "letters",
    offset: str = "gradient",
    weight: str = "activation",
    *,
    average: Average = "groups",
    minimum: int = MINIMUM,
) -> xarray.Dataset:
    """The profiles of one layer of a run.

    Parameters
    ----------
    run
        A run folder.
    layer
        ``input``, ``layer1`` to ``layer12``, or 0 to 12.
    labels, offset, weight
        Which profiles: ``letters`` or ``phonemes``, aligned by ``gradient`` or ``none``, ...;
        :func:`kinds_of_profiles` says what there is.
    average
        What is taken off: the mean over groups, each alike (``groups``) or weighted by ``counts``; ``none``.
    minimum
        Groups with fewer instances are left out.

    Returns
    -------
    xarray.Dataset
        ``count`` (group, position), ``mean`` and ``variance`` (group, channel, position), with coordinates
        ``milliseconds`` (position; after the position that the window is placed at) and, at the input,
        ``hertz`` (channel).

    Raises
    ------
    IntrospectError
        The folder is no run, or a file in it cannot be read.
    UsageError
        There are no such profiles or layers; the message says the near ones.
    """
    (name,) = layer_names([layer])
    data = profiles.read_profiles(
        _file(run, "profiles.h5"), Key(labels, offset, weight), name, average=average, minimum=minimum
    )
    features = _model(run)["features"]
    frame = features["hop"] / features["sample_rate"]
    data = data.assign_coords(
        milliseconds=("position", 1000 * frame * data.attrs["position_frames"] * data["position"].values)
    )
    if name == INPUT:
        data = data.assign_coords(hertz=("channel", _frequencies(features)))
    return data


def kinds_of_profiles(run: Path | str) -> dict[str, list[str]]:
    """Which profiles a run has: by ``labels/offset/weight`` the layers."""
    path = _file(run, "profiles.h5")
    return {key.path: profiles.layers_of(path, key) for key in profiles.keys_of(path)}


def read_patterns(
    run: Path | str, labels: str = "letters", *, average: Average = "groups", minimum: int = MINIMUM
) -> xarray.Dataset:
    """The average-subtracted spectrograms of a run, from its ``patterns.h5``; see
    :func:`asr_introspect.introspection.patterns.read_patterns`.
    """
    return patterns.read_patterns(_file(run, "patterns.h5"), labels, average=average, minimum=minimum)


def read_instances(run: Path | str, kind: str | None = None) -> xarray.Dataset:
    """The instances of a run along ``instance``: utterance, step, label, score, right, start, end (seconds),
    and the name and the speaker of the utterance.

    Parameters
    ----------
    kind
        ``letter``, ``phoneme``, ...; all if not given. ``right`` is 1, 0, or -1 where it is not known.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    rows = _table(run, "instances.csv")
    kinds = sorted({row["kind"] for row in rows})
    if kind is not None and kind not in kinds:
        raise unknown_name("kind", kind, kinds)
    data = _dataset([row for row in rows if kind in (None, row["kind"])], "instance")
    spoken = _table(run, "utterances.csv")
    for column, name in (("name", "utterance_name"), ("speaker", "speaker")):
        values = np.array([row[column] for row in spoken], object)
        data[name] = ("instance", values[data["utterance"].values])
    return data


def read_offsets(run: Path | str, method: str = "gradient") -> xarray.Dataset:
    """Where letters were found, by layer in its own positions, along ``instance`` (numbers of the instances).

    Raises
    ------
    UsageError
        No such method was kept.
    """
    rows = _table(run, "offsets.csv")
    methods = sorted({row["method"] for row in rows})
    if method not in methods:
        raise unknown_name("method", method, methods)
    own = [row for row in rows if row.pop("method") == method]
    data = _dataset([{name: row[name] for name in row if name != "instance"} for row in own], "instance")
    data = data.astype(np.int64)
    return data.assign_coords(instance=[int(row["instance"]) for row in own])


def read_offset_table(run: Path | str) -> xarray.Dataset:
    """Which alignment is right: the columns of ``offset_table.csv`` with the axes ``placed`` (the method) and
    ``layer``.
    """
    rows = _table(run, "offset_table.csv")
    for row in rows:
        row["placed"] = row.pop("method")
    return _indexed(rows, ("placed", "layer"), run, "offset_table.csv")


def read_lags(run: Path | str) -> xarray.Dataset:
    """By how much letters lag their sound, in ms: the columns of ``lags.csv`` with the axes ``placed``
    (``emission``, ``gradient input``, ...) and ``group``.
    """
    rows = _table(run, "lags.csv")
    for row in rows:
        row["placed"] = f"{row.pop('method')} {row.pop('layer')}".strip()
    return _indexed(rows, ("placed", "group"), run, "lags.csv")


def read_clusters(
    run: Path | str,
    layer: str | int = "layer10",
    labels: str = "letters",
    offset: str = "gradient",
    weight: str = "activation",
) -> xarray.Dataset:
    """The clustering of one layer of a run, as :func:`~asr_introspect.introspection.arrays.cluster` gives it.

    Raises
    ------
    UsageError
        There is none of these profiles; the message says the near ones.
    """
    (name,) = layer_names([layer])
    path = f"{labels}/{offset}/{weight}/{name}"
    try:
        with h5py.File(_file(run, "clusters.h5"), "r") as file:
            if path not in file:
                known: list[str] = []
                file.visititems(
                    lambda at, item: known.append(at.rpartition("/")[0]) if at.endswith("/order") else None
                )
                raise unknown_name("clustering", path, sorted(set(known)))
            group = file[path]
            names = [str(each) for each in group.attrs["groups"]]
            distance, linkage, order = (group[each][()] for each in ("distance", "linkage", "order"))
            metric = str(group.attrs.get("metric", ""))
    except OSError as error:
        raise IntrospectError(f"cannot read {run}/clusters.h5: {error}") from error
    found = xarray.DataArray(distance, dims=("group", "other"), coords={"group": names, "other": names})
    return xarray.Dataset(
        {
            "distance": found.isel(group=order, other=order),
            "linkage": (("merge", "column"), linkage),
        },
        attrs={"metric": metric},
    )


def _file(run: Path | str, name: str) -> Path:
    path = Path(run) / name
    if not (Path(run) / "run.json").is_file():
        raise IntrospectError(f"{run} is not a run; make one with: asr-introspect introspect --out {run}")
    if not path.is_file():
        raise IntrospectError(f"{run} holds no {name}; run introspect again on the folder")
    return path


def _model(run: Path | str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(_file(run, "model.json"))
    return found


def _frequencies(features: Mapping[str, Any]) -> np.ndarray:
    return mel_frequencies(FeatureConfig(**features))


def _table(run: Path | str, name: str) -> list[dict[str, str]]:
    with _file(run, name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _dataset(rows: list[dict[str, str]], axis: str) -> xarray.Dataset:
    columns = rows[0] if rows else {}
    return xarray.Dataset({name: (axis, _values(name, [row[name] for row in rows])) for name in columns})


def _values(name: str, cells: list[str]) -> np.ndarray:
    """A column as whole numbers, numbers (NaN where empty) or text."""
    try:
        if name in WHOLE:
            return np.array([int(cell) if cell else -1 for cell in cells], np.int64)
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return np.array(cells, object)


def _indexed(rows: list[dict[str, str]], axes: tuple[str, str], run: Path | str, name: str) -> xarray.Dataset:
    """A table with two named axes in place of two of its columns, in the order of their first appearance."""
    if not rows:
        raise UsageError(f"{run}/{name} is empty: there was nothing to compare")
    names = [list(dict.fromkeys(row[axis] for row in rows)) for axis in axes]
    data: dict[str, Any] = {}
    at = tuple(np.array([names[i].index(row[axis]) for row in rows]) for i, axis in enumerate(axes))
    for column in rows[0]:
        if column in axes:
            continue
        values = _values(column, [row[column] for row in rows])
        empty: Any = np.nan if values.dtype.kind == "f" else (-1 if values.dtype.kind == "i" else "")
        cells = np.full([len(each) for each in names], empty, values.dtype)
        cells[at] = values
        data[column] = (axes, cells)
    return xarray.Dataset(data, coords=dict(zip(axes, names, strict=True)))
