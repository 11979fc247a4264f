"""Profiles written and read again; averages; wrong names."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import Activations, Moments, WindowSet, window_moments
from asr_introspect.introspection.phonetics import MANNERS, classes_of, phone_class
from asr_introspect.introspection.profiles import (
    Key,
    averaged,
    keys_of,
    layers_of,
    read_exact,
    read_profiles,
    time_independent,
    write_moments,
)
from asr_introspect.recogniser.symbols import PHONEMES

GROUPS = ("A", "B", "C", " ", "Q")
CONE = Cone("layer9", 1, -2, 5, 2, 0.5)
KEY = Key("letters", "gradient")


def moments(channels: int = 3) -> Moments:
    """40 windows of A, 15 of B, 25 of C, 12 spaces, 9 Qs; the first ones reach over the start."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(1, 200, channels)).astype(np.float32)
    group = np.repeat(np.arange(5), [40, 15, 25, 12, 9])
    at = random.integers(0, 200, len(group))
    at[0] = 0
    batch = Activations(rows.transpose(0, 2, 1).copy(), np.array([200]))
    windows = WindowSet(GROUPS, np.zeros_like(at), np.zeros_like(at), at, group)
    return window_moments([batch], [windows], CONE.first, CONE.positions)[0]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.h5"
    with h5py.File(path, "w") as file:
        write_moments(file, KEY, CONE, moments())
        write_moments(file, Key("phonemes", "none"), CONE, moments())
    return path


def test_what_is_written_is_read(stored: Path) -> None:
    found, wanted = read_profiles(stored, KEY, "layer9", average="none"), moments()
    assert list(found["group"].values) == ["A", "B", "C", " "]  # nine instances are too few
    assert found["mean"].dims == ("group", "channel", "position")
    assert found["position"].values.tolist() == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(found["mean"], wanted.mean[:4], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["variance"], wanted.variance[:4], rtol=1e-6)
    assert np.array_equal(found["count"], wanted.count[:4])
    assert found.attrs["layer"] == "layer9"
    assert found.attrs["step_frames"] == 2
    with h5py.File(stored) as file:
        place = file["letters/gradient/activation/layer9"]
        assert list(place.attrs["left_out"]) == ["Q (9)"]
        assert [place["mean"].dims[i].keys()[0] for i in range(3)] == ["group", "channel", "position"]
    assert keys_of(stored) == [KEY, Key("phonemes", "none")]
    assert layers_of(stored, KEY) == ["layer9"]


def test_exact_moments_come_back_bit_for_bit(tmp_path: Path) -> None:
    wanted = moments()
    with h5py.File(tmp_path / "exact.h5", "w") as file:
        write_moments(file, KEY, CONE, wanted, exact=True)
        found = read_exact(file, KEY, "layer9")
    assert found.groups == wanted.groups
    for name in ("count", "mean", "m2"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))


def test_averages_over_letters_and_not_over_space(stored: Path) -> None:
    plain = read_profiles(stored, KEY, "layer9", average="none")
    means, counts = plain["mean"].values, plain["count"].values
    even = read_profiles(stored, KEY, "layer9")["mean"].values
    np.testing.assert_allclose(even, means - means[:3].mean(0), atol=1e-6)
    weighted = read_profiles(stored, KEY, "layer9", average="counts")["mean"].values
    share = counts[:3, None] / counts[:3, None].sum(0)
    np.testing.assert_allclose(weighted, means - (means[:3] * share).sum(0), atol=1e-6)
    phones = read_profiles(stored, Key("phonemes", "none"), "layer9")["mean"].values
    np.testing.assert_allclose(phones, means - means.mean(0), atol=1e-6)


def test_missing_cells_do_not_count_in_averages() -> None:
    means = np.array([[[1.0, 2.0]], [[3.0, np.nan]], [[8.0, np.nan]]])
    counts = np.array([[1, 5], [1, 0], [2, 0]])
    assert averaged(means, counts, ["A", "B", "C"], "letters").tolist() == [[4.0, 2.0]]
    assert averaged(means, counts, ["A", "B", "C"], "letters", "counts").tolist() == [[5.0, 2.0]]
    with pytest.raises(UsageError, match="no group"):
        averaged(means, counts, [" ", "'", "C|right"], "letters")


def test_unknown_names_say_the_near_ones(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'letters/gradient/activation'"):
        read_profiles(stored, Key("letters", "gradients"), "layer9")
    with pytest.raises(UsageError, match="did you mean 'layer9'"):
        read_profiles(stored, KEY, "layer8")
    with pytest.raises(IntrospectError, match="cannot read"):
        read_profiles(tmp_path / "none.h5", KEY, "layer9")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(IntrospectError, match="cannot read"):
        keys_of(tmp_path / "text.h5")


def test_every_phone_has_its_classes() -> None:
    assert sorted(phone for phones in MANNERS.values() for phone in phones) == sorted(PHONEMES)
    assert [phone_class(phone, "voicing") for phone in ("AA", "P", "B", "SH")] == [
        *("voiced", "unvoiced", "voiced", "unvoiced")
    ]
    assert classes_of("joint", ["letter A", "phone T", "phone ?"], "vowel-consonant") == [
        *("vowel", "consonant", None)
    ]
    with pytest.raises(UsageError, match="did you mean 'manner'"):
        phone_class("AA", "maner")


def test_time_independent_profiles(stored: Path) -> None:
    data = read_profiles(stored, KEY, "layer9", average="none")
    data["count"][1, 0] = 0  # as if B had never reached the first position
    means = data["mean"].values
    for reduction in ("mean", "maximum", "sorted"):
        found = time_independent(data, reduction)
        assert found.attrs["reduction"] == reduction
        assert found["mean"].dims == ("group", "channel", "position")
        for group, channel in np.ndindex(4, 3):
            own = [float(means[group, channel, p]) for p in range(5) if (group, p) != (1, 0)]
            wanted = {"mean": [sum(own) / len(own)], "maximum": [max(own)], "sorted": sorted(own)[::-1]}[
                reduction
            ]
            values = found["mean"].values[group, channel]
            np.testing.assert_allclose(values[: len(own)], wanted, rtol=1e-6)
            assert np.isnan(values[len(wanted) :]).all()
        assert found["count"].values.max(1).tolist() == data["count"].values.max(1).tolist()
    assert time_independent(data, "sorted")["count"].values[1].tolist()[-1] == 0
    with pytest.raises(UsageError, match="maximum"):
        time_independent(data, "maximun")  # type: ignore[arg-type]


def test_the_mean_over_positions_is_that_of_the_windows() -> None:
    """From moments alone: the mean of each window's mean, where no position is missing."""
    random = np.random.default_rng(2)
    rows = random.normal(size=(300, 4))
    at = random.integers(2, 297, 50)
    batch = Activations(rows.T[None].copy(), np.array([300]))
    windows = WindowSet(("A",), np.zeros_like(at), np.zeros_like(at), at, np.zeros_like(at))
    (found,) = window_moments([batch], [windows], CONE.first, CONE.positions)
    axes = ("group", "channel", "position")
    data = xarray.Dataset({"mean": (axes, found.means()), "count": (("group", "position"), found.count)})
    data = data.assign_coords(group=["A"], channel=range(4), position=range(-2, 3))
    cut = np.stack([rows[position - 2 : position + 3].mean(0) for position in at])
    np.testing.assert_allclose(
        time_independent(data, "mean")["mean"].values[0, :, 0], cut.mean(0), rtol=1e-12
    )
