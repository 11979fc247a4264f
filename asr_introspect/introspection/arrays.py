"""The main job step by step, on arrays with named axes; a step takes what the one before gives, or yours.

    activations = forward(recogniser, utterances, layers=["input", "layer9"])
    letters = emitted(activations["layer12"])
    found = offsets(recogniser, activations["input"], letters)
    profile = profiles(activations["layer9"], letters, found["layer9"])
    linked = cluster(distances(subtract_average(profile)))

Activations are a DataArray with the axes utterance, position, channel, NaN past the end of an utterance: of
any network, made by anything. Instances are a Dataset along the axis instance with at least ``utterance`` (a
row of the activations), ``step`` and ``label``. What does not fit into memory is the command ``introspect``'s
business: the same computations as one streaming pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray

from asr_introspect.corpus.records import Corpus, Utterance
from asr_introspect.errors import UsageError
from asr_introspect.features import mel_frequencies
from asr_introspect.introspection import clusters
from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.introspection.evaluation import HalfMeans, cut_windows, halves
from asr_introspect.introspection.moments import Activations, WindowSet, window_moments
from asr_introspect.introspection.offsets import gradient_offsets
from asr_introspect.introspection.profiles import MINIMUM, Average, averaged
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS
from asr_introspect.recogniser.passes import INPUT, Forward, forward_pass, layer_names

AXES = ("utterance", "position", "channel")


def forward(
    recogniser: Recogniser,
    utterances: Corpus | Sequence[Utterance],
    layers: Sequence[str | int] = (INPUT, "layer9", "layer10"),
) -> dict[str, xarray.DataArray]:
    """The activations of some layers, and the logits as ``layer12``, by layer.

    Each is ``(utterance, position, channel)`` float32 with the coordinates ``seconds`` (position), the names
    of the utterances, at the output the symbols as channels, at the input ``hertz`` (channel). Attributes:
    ``stride`` positions from one output step to the next; an output step sees the positions from
    ``stride * step + first`` on, ``positions`` of them.

    Raises
    ------
    IntrospectError, UsageError
        As :func:`~asr_introspect.recogniser.passes.forward_pass`.
    """
    spoken = utterances.utterances if isinstance(utterances, Corpus) else tuple(utterances)
    names = layer_names(list(dict.fromkeys([*layers, LAYERS[-1]])))
    rows: dict[str, dict[int, np.ndarray]] = {name: {} for name in names}
    for batch in forward_pass(recogniser, spoken, layers=names):
        for name in names:
            lengths = batch.frames if name == INPUT else batch.lengths
            for item, position in enumerate(batch.positions):
                values = batch.activations[name][item, :, : int(lengths[item])]
                rows[name][position] = values.T.cpu().numpy()
    layout = cones(recogniser.network)
    return {
        name: _named(recogniser, layout[name], [rows[name][i] for i in range(len(spoken))], spoken)
        for name in names
    }


def _named(
    recogniser: Recogniser, cone: Cone, rows: Sequence[np.ndarray], spoken: Sequence[Utterance]
) -> xarray.DataArray:
    frame = recogniser.features.frame_seconds
    data = as_activations(rows, [utterance.name for utterance in spoken])
    data = data.assign_coords(
        seconds=("position", (cone.frames * data["position"].values + cone.centre) * frame),
        speaker=("utterance", [utterance.speaker for utterance in spoken]),
    )
    if cone.layer == INPUT:
        data = data.assign_coords(hertz=("channel", mel_frequencies(recogniser.features)))
    elif cone.layer == LAYERS[-1]:
        data = data.assign_coords(channel=list(recogniser.symbols.symbols))
    return data.rename(cone.layer).assign_attrs(
        stride=cone.stride,
        first=cone.first,
        positions=cone.positions,
        position_seconds=cone.frames * frame,
        blank=recogniser.symbols.blank,
    )


def as_activations(rows: Sequence[np.ndarray], names: Sequence[str] | None = None) -> xarray.DataArray:
    """Your own activations, one array ``(positions, channels)`` per utterance, as one array with named axes.

    Raises
    ------
    UsageError
        There is none, or they have different numbers of channels.
    """
    if not rows or len({each.shape[1:] for each in rows}) != 1 or rows[0].ndim != 2:
        raise UsageError("activations are a list of arrays (positions, channels), of equally many channels")
    values = np.full((len(rows), max(map(len, rows)), rows[0].shape[1]), np.nan, np.float32)
    for target, each in zip(values, rows, strict=True):
        target[: len(each)] = each
    return xarray.DataArray(
        values,
        dims=AXES,
        coords={
            "utterance": list(names) if names is not None else np.arange(len(rows)),
            "position": np.arange(values.shape[1]),
            "channel": np.arange(values.shape[2]),
        },
        attrs={"stride": 1},
    )


def offsets(
    recogniser: Recogniser, spectrograms: xarray.DataArray, letters: xarray.Dataset
) -> xarray.Dataset:
    """Which position of each layer each letter is about, by that layer's own gradient, in its own positions.

    A step of your own in its place: any Dataset with a variable per layer along instance.

    Parameters
    ----------
    spectrograms
        The layer ``input`` of :func:`forward`.
    letters
        Labels are symbols of the recogniser.

    Raises
    ------
    IntrospectError
        A label is no symbol.
    """
    classes = np.array(recogniser.symbols.classes([str(each) for each in letters["label"].values]), np.int64)
    found: dict[str, np.ndarray] = {}
    for row, values in utterances_of(spectrograms):
        own = np.flatnonzero(letters["utterance"].values == row)
        frames = torch.tensor([len(values)])
        steps = frames // recogniser.step_frames
        inputs = torch.from_numpy(values.T[None].copy()).to(recogniser.device)
        nothing = inputs.new_zeros(1, len(recogniser.symbols), int(steps))
        batch = Forward((), (row,), steps, frames, nothing, {INPUT: inputs})
        item = np.zeros(len(own), np.int64)
        at = gradient_offsets(recogniser, batch, item, letters["step"].values[own], classes[own])
        for layer, positions in at.items():
            found.setdefault(layer, np.zeros(len(classes), np.int64))[own] = positions
    return xarray.Dataset({layer: ("instance", positions) for layer, positions in found.items()})


def windows(
    layer: xarray.DataArray,
    chosen: xarray.Dataset,
    at: xarray.DataArray | np.ndarray | None = None,
    *,
    first: int | None = None,
    positions: int | None = None,
) -> xarray.DataArray:
    """The windows around instances, ``(instance, position, channel)``; missing cells are NaN.

    Parameters
    ----------
    layer
        Activations.
    chosen
        Instances.
    at
        Where each window stands, in the layer's positions; if not given, at the instance's step.
    first, positions
        A window is the positions ``at + first`` and the next ones; if not given, what the layer knows of
        what an output step sees of it (:func:`forward`).

    Raises
    ------
    UsageError
        The layer does not know, and they are not given; an instance's utterance is not there.
    """
    begin, count = _extent(layer, first, positions)
    stands = _stands(layer, chosen, at)
    cut = np.full((len(stands), count, layer.sizes["channel"]), np.nan, np.float32)
    for row, values in utterances_of(layer):
        own = np.flatnonzero(chosen["utterance"].values == row)
        cut[own] = cut_windows(values, stands[own], begin, count)
    return xarray.DataArray(
        cut,
        dims=("instance", "position", "channel"),
        coords={
            "position": begin + np.arange(count),
            "channel": layer["channel"].values,
            "label": ("instance", chosen["label"].values),
            **_beside(layer, begin, count),
        },
        attrs=layer.attrs,
    )


def profiles(
    layer: xarray.DataArray,
    chosen: xarray.Dataset,
    at: xarray.DataArray | np.ndarray | None = None,
    *,
    first: int | None = None,
    positions: int | None = None,
    minimum: int = MINIMUM,
) -> xarray.Dataset:
    """Count, mean and variance of the windows of each label, without cutting them out.

    Parameters
    ----------
    layer, chosen, at, first, positions
        As for :func:`windows`.
    minimum
        Labels with fewer instances are left out.

    Returns
    -------
    xarray.Dataset
        ``count`` (group, position), ``mean`` and ``variance`` (group, channel, position): the form in which
        :func:`~asr_introspect.introspection.profiles.read_profiles` gives those of a run.
    """
    begin, count = _extent(layer, first, positions)
    stands = _stands(layer, chosen, at)
    names, group = np.unique([str(each) for each in chosen["label"].values], return_inverse=True)
    values = layer.transpose("utterance", "channel", "position").values
    lengths = np.isfinite(values[:, 0]).sum(1)
    item = np.asarray(chosen["utterance"].values, np.int64)
    (found,) = window_moments(
        [Activations(np.ascontiguousarray(values, np.float32), lengths)],
        [WindowSet(tuple(names.tolist()), np.zeros_like(item), item, stands, group.astype(np.int64))],
        begin,
        count,
        centre=np.asarray(np.nanmean(values, (0, 2), dtype=np.float64)),
    )
    data = xarray.Dataset(
        {
            "count": (("group", "position"), found.count),
            "mean": (("group", "channel", "position"), found.means()),
            "variance": (("group", "channel", "position"), found.variance),
        },
        coords={
            "group": names,
            "channel": layer["channel"].values,
            "position": begin + np.arange(count),
            **_beside(layer, begin, count),
        },
        attrs=layer.attrs,
    )
    return data.isel(group=np.flatnonzero(found.count.max(1, initial=0) >= minimum))


def subtract_average(
    profile: xarray.Dataset, over: Sequence[str] | None = None, average: Average = "groups"
) -> xarray.Dataset:
    """Profiles less their average over groups: what is a group's own.

    Parameters
    ----------
    over
        The groups that are averaged; all if not given. For letters give A to Z: space and apostrophe are no
        sound.
    average
        ``groups``: each alike; ``counts``: weighted by counts.

    Raises
    ------
    UsageError
        None of the groups is there, or the average is unknown.
    """
    names = [str(name) for name in profile["group"].values]
    inside = [i for i, name in enumerate(names) if over is None or name in over]
    taken = averaged(
        profile["mean"].values[inside],
        profile["count"].values[inside],
        [names[i] for i in inside],
        "groups",
        average,
    )
    return profile.assign(
        mean=profile["mean"] - taken, average=(("channel", "position"), taken)
    ).assign_attrs(average=average)


def distances(profile: xarray.Dataset, metric: clusters.Metric = "correlation") -> xarray.DataArray:
    """Distances between the groups' profiles, ``(group, other)``.

    The plain ones, biased by counts: rare groups look far from all. A run has cross-validated ones.
    """
    names = profile["group"].values
    return xarray.DataArray(
        clusters.distances(profile["mean"].transpose("group", "channel", "position").values, metric),
        dims=("group", "other"),
        coords={"group": names, "other": names},
        attrs={"metric": metric},
    )


def cluster(distance: xarray.DataArray, linkage: str = "average") -> xarray.Dataset:
    """A hierarchical clustering of ``(group, other)`` with optimal leaf order.

    Returns
    -------
    xarray.Dataset
        ``distance`` sorted by the leaves, so that it can be drawn as it is; ``linkage`` (merge, column) as in
        SciPy, counting in the order given; attribute ``cophenetic``.
    """
    tree = clusters.tree(distance.values, linkage)
    return xarray.Dataset(
        {
            "distance": distance.isel(group=tree.order, other=tree.order),
            "linkage": (("merge", "column"), tree.linkage),
        },
        attrs={"cophenetic": tree.cophenetic, "linkage": linkage, **distance.attrs},
    )


def compare_offsets(
    layer: xarray.DataArray,
    chosen: xarray.Dataset,
    methods: Mapping[str, xarray.DataArray | np.ndarray | None],
    *,
    first: int | None = None,
    positions: int | None = None,
    seed: int = 0,
) -> xarray.Dataset:
    """Which alignment is right: how well the windows of a label agree, placed by one method or another.

    Parameters
    ----------
    methods
        By name where each puts the windows; None: at the step.

    Returns
    -------
    xarray.Dataset
        Along placed: ``explained``, ``signal`` and ``correlation`` with ``_low`` and ``_high`` (95 %),
        ``average``; see
        :class:`~asr_introspect.introspection.evaluation.Agreement`.
    """
    begin, count = _extent(layer, first, positions)
    names, group = np.unique([str(each) for each in chosen["label"].values], return_inverse=True)
    speakers = layer["speaker"].values if "speaker" in layer.coords else np.full(len(layer), "")
    rows: dict[str, list[float]] = {}
    for at in methods.values():
        stands = _stands(layer, chosen, at)
        means = HalfMeans(len(names), halves(len(layer), seed), begin, count, layer.sizes["channel"])
        for take in (means.add, means.compare, means.correlate):
            for row, values in utterances_of(layer):
                own = np.flatnonzero(chosen["utterance"].values == row)
                take(values, stands[own], group[own], row)
        found = means.agreement(speakers, seed=seed)
        cells = {
            **_interval("explained", found.explained),
            **_interval("signal", found.signal),
            "average": found.average,
            **_interval("correlation", found.correlation),
        }
        for name, value in cells.items():
            rows.setdefault(name, []).append(value)
    return xarray.Dataset(
        {name: ("placed", values) for name, values in rows.items()}, coords={"placed": list(methods)}
    )


def _interval(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def utterances_of(layer: xarray.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """The row of each utterance and its valid activations ``(positions, channels)``, float32."""
    values = layer.transpose(*AXES).values
    for row, each in enumerate(values):
        length = int(np.isfinite(each[:, 0]).sum())
        yield row, np.ascontiguousarray(each[:length], np.float32)


def _extent(layer: xarray.DataArray, first: int | None, positions: int | None) -> tuple[int, int]:
    begin = layer.attrs.get("first") if first is None else first
    count = layer.attrs.get("positions") if positions is None else positions
    if begin is None or count is None:
        raise UsageError("say which positions make a window: first=-10, positions=21 is ten on either side")
    return int(begin), int(count)


def _stands(
    layer: xarray.DataArray, chosen: xarray.Dataset, at: xarray.DataArray | np.ndarray | None
) -> np.ndarray:
    if not np.isin(chosen["utterance"].values, np.arange(layer.sizes["utterance"])).all():
        raise UsageError("an instance's utterance is a row of the activations, counted from 0")
    if at is None:
        return np.asarray(int(layer.attrs.get("stride", 1)) * chosen["step"].values, np.int64)
    stands = np.asarray(at)
    if stands.shape != (chosen.sizes["instance"],):
        raise UsageError(f"there are {chosen.sizes['instance']} instances, but {stands.shape} positions")
    return stands.astype(np.int64)


def _beside(layer: xarray.DataArray, begin: int, count: int) -> dict[str, Any]:
    """Coordinates in units: Hz of the channels, milliseconds of the window's positions."""
    found: dict[str, Any] = {}
    if "hertz" in layer.coords:
        found["hertz"] = ("channel", layer["hertz"].values)
    if "position_seconds" in layer.attrs:
        relative = begin + np.arange(count)
        found["milliseconds"] = ("position", 1000 * relative * layer.attrs["position_seconds"])
    return found
