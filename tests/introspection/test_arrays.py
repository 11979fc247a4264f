"""Each step on arrays of one's own against doing it by hand; the recogniser's own steps on a tiny net."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.records import Segment, Utterance
from asr_introspect.errors import UsageError
from asr_introspect.introspection.array_instances import as_instances, emitted, middles_of_sounds, spoken
from asr_introspect.introspection.arrays import (
    as_activations,
    cluster,
    compare_offsets,
    distances,
    profiles,
    subtract_average,
    windows,
)


def own() -> tuple[xarray.DataArray, xarray.Dataset]:
    """Activations of three utterances from anywhere, and instances of three labels in them."""
    random = np.random.default_rng(0)
    layer = as_activations([random.normal(size=(length, 5)) for length in (40, 60, 50)], ["a", "b", "c"])
    utterance = np.repeat([0, 1, 2], 12)
    step = np.concatenate([random.integers(0, length, 12) for length in (40, 60, 50)])
    return layer, as_instances(utterance, step, np.array(list("XYZ"))[random.integers(0, 3, 36)])


def test_activations_of_different_lengths() -> None:
    layer, _ = own()
    assert layer.dims == ("utterance", "position", "channel")
    assert layer.sizes["position"] == 60
    assert int(layer.sel(utterance="a")[:, 0].notnull().sum()) == 40
    with pytest.raises(UsageError, match="equally many channels"):
        as_activations([np.zeros((3, 2)), np.zeros((3, 4))])
    with pytest.raises(UsageError, match="equally many channels"):
        as_activations([])


def test_profiles_are_the_moments_of_windows() -> None:
    layer, chosen = own()
    at = chosen["step"] + 1
    cut = windows(layer, chosen, at, first=-3, positions=7)
    assert cut.dims == ("instance", "position", "channel")
    found = profiles(layer, chosen, at, first=-3, positions=7, minimum=1)
    for name in "XYZ":
        mine = cut.values[chosen["label"].values == name]
        row = found.sel(group=name)
        assert np.array_equal(row["count"], np.isfinite(mine[:, :, 0]).sum(0))
        np.testing.assert_allclose(row["mean"], np.nanmean(mine, 0).T, atol=1e-6)
        np.testing.assert_allclose(row["variance"], np.nanvar(mine, 0).T, atol=1e-6)
    assert list(found["position"].values) == list(range(-3, 4))
    few = profiles(layer, chosen, first=0, positions=1, minimum=37)
    assert few.sizes["group"] == 0


def test_what_is_a_groups_own_and_how_far_apart_groups_are() -> None:
    layer, chosen = own()
    found = profiles(layer, chosen, first=-1, positions=3, minimum=1)
    less = subtract_average(found)
    np.testing.assert_allclose(less["mean"].mean("group"), 0, atol=1e-12)
    np.testing.assert_allclose(less["average"], found["mean"].mean("group"))
    over = subtract_average(found, over=["X"])
    np.testing.assert_allclose(over["mean"].sel(group="X"), 0, atol=1e-12)
    weights = found["count"]
    weighted = subtract_average(found, average="counts")["average"]
    np.testing.assert_allclose(weighted, (found["mean"] * weights).sum("group") / weights.sum("group"))
    distance = distances(less, "euclidean")
    x, y = (less["mean"].sel(group=name).values for name in "XY")
    assert float(distance.sel(group="X", other="Y")) == pytest.approx(np.linalg.norm(x - y))
    linked = cluster(distance)
    assert sorted(linked["group"].values) == ["X", "Y", "Z"]
    np.testing.assert_allclose(linked["distance"], linked["distance"].T)
    assert linked["linkage"].shape == (2, 4)
    with pytest.raises(UsageError, match="average"):
        subtract_average(found, over=["Q"])


def test_a_step_of_ones_own_is_compared_with_others() -> None:
    """Each label has a shape three positions after its step: offsets that know it agree, others do not."""
    random = np.random.default_rng(1)
    shapes = {name: random.normal(size=(5, 4)) * 4 for name in "XY"}
    rows, utterance, step, label = [], [], [], []
    for u in range(8):
        values = random.normal(size=(200, 4))
        for at in range(10, 190, 12):
            name = str(random.choice(["X", "Y"]))
            values[at + 1 : at + 6] += shapes[name]
            utterance.append(u), step.append(at), label.append(name)
        rows.append(values)
    chosen = as_instances(utterance, step, label)
    found = compare_offsets(
        as_activations(rows),
        chosen,
        {"none": None, "mine": chosen["step"] + 3, "late": chosen["step"] + 8},
        first=-2,
        positions=5,
    )
    assert list(found["placed"].values) == ["none", "mine", "late"]
    assert float(found["explained"].sel(placed="mine")) > 0.8
    assert float(found["explained_high"].sel(placed="none")) < float(
        found["explained_low"].sel(placed="mine")
    )
    assert float(found["correlation"].sel(placed="late")) < 0.1


def test_wrong_calls_say_what_is_wrong() -> None:
    layer, chosen = own()
    with pytest.raises(UsageError, match="first=-10"):
        windows(layer, chosen)
    with pytest.raises(UsageError, match="36 instances"):
        windows(layer, chosen, np.zeros(3), first=0, positions=1)
    with pytest.raises(UsageError, match="row of the activations"):
        profiles(layer, as_instances([5], [0], ["X"]), first=0, positions=1)


def logits() -> xarray.DataArray:
    """Two utterances that say C, A, A, T and nothing."""
    path = [0, 1, 1, 0, 2, 0, 2, 2, 3, 0]
    values = np.full((10, 4), -3.0)
    values[np.arange(10), path] = 3.0
    values[2, 1] = 4.0
    silent = np.full((6, 4), -3.0)
    silent[:, 0] = 3.0
    layer = as_activations([values, silent], ["one", "two"])
    return layer.assign_coords(
        channel=["<blank>", "C", "A", "T"], seconds=("position", 0.015 + 0.02 * np.arange(10))
    )


def test_what_is_emitted() -> None:
    found = emitted(logits())
    assert "".join(found["label"].values) == "CAAT"
    assert found["step"].values.tolist() == [2, 4, 6, 8]
    assert found["utterance"].values.tolist() == [0, 0, 0, 0]
    assert float(found["score"][0]) == pytest.approx(np.exp(4) / (np.exp(4) + 3 * np.exp(-3)))


def test_what_was_spoken_and_when() -> None:
    phones = tuple(
        Segment(name, start, start + 0.06)
        for name, start in (("K", 0.0), ("AE1", 0.06), ("T", 0.12), ("Z", 0.9))
    )
    aligned = {"one": Alignment((Segment("CAT", 0.0, 0.18),), phones)}
    found = spoken(logits(), aligned)
    assert found["label"].values.tolist() == ["K", "AE", "T"]
    assert found["step"].values.tolist() == [1, 4, 7]
    utterances = [Utterance(name, "", "CAT", "s", "", 0.2) for name in ("one", "two")]
    middle = middles_of_sounds(emitted(logits()), utterances, aligned).values
    known = middle[np.isfinite(middle)]
    np.testing.assert_allclose(known, [0.03, 0.09, 0.15])
    assert np.isnan(middle).sum() == 1
