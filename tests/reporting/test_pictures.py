"""Pictures and packed bytes against independent decoders."""

from __future__ import annotations

import base64
import io
import zlib

import matplotlib as mpl
import numpy as np
from matplotlib.image import imread

from asr_introspect.reporting.pictures import (
    LEVELS,
    limit_of,
    packed,
    palette,
    picture,
    quantised,
    signed_palette,
    signed_picture,
)


def decoded(address: str) -> np.ndarray:
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(imread(io.BytesIO(base64.b64decode(data)), format="png"))


def test_a_picture_shows_every_cell_in_its_colour() -> None:
    values = np.linspace(-2, 2, 12).reshape(3, 4)
    shown = decoded(picture(values, -2, 2, "RdBu_r"))
    expected = mpl.colormaps["RdBu_r"](0.06 + 0.88 * (values + 2) / 4)[..., :3]
    np.testing.assert_allclose(shown[..., :3], expected, atol=0.02)


def test_values_outside_and_missing_ones_have_a_colour() -> None:
    shown = decoded(picture(np.array([[-9.0, np.nan, 9.0, np.inf]]), -1, 1, "RdBu_r"))
    colours = palette("RdBu_r") / 255
    np.testing.assert_allclose(shown[0, 0, :3], colours[0], atol=0.01)
    np.testing.assert_allclose(shown[0, 1, :3], colours[127], atol=0.03)
    np.testing.assert_allclose(shown[0, 2:, :3], np.stack([colours[-1]] * 2), atol=0.01)


def test_a_constant_map_is_a_picture_all_the_same() -> None:
    assert decoded(picture(np.zeros((2, 3)), 0, 0, "Greys")).shape[:2] == (2, 3)


def test_signed_pictures_are_clear_at_zero_and_opaque_at_the_limit() -> None:
    shown = decoded(signed_picture(np.array([[-1.0, 0.0, 0.25, 1.0]]), 1.0))
    colours = signed_palette() / 255
    np.testing.assert_allclose(shown[0, 0], colours[0], atol=0.01)
    assert shown[0, 1, 3] == 0
    np.testing.assert_allclose(
        shown[0, 2, 3] / shown[0, 3, 3], 0.5, atol=0.05
    )  # the square root of a quarter


def test_quantised_is_odd_and_keeps_small_values() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7))
    levels = quantised(values, 2.0)
    np.testing.assert_array_equal(levels, -quantised(-values, 2.0))
    assert np.abs(levels).max() <= LEVELS
    back = np.sign(levels) * (np.abs(levels.astype(float)) / LEVELS) ** 2 * 2.0
    inside = np.abs(values) < 2
    assert np.abs(back - values)[inside].max() < 2 * 2.0 / LEVELS
    assert not quantised(values, 0.0).any()
    assert not quantised(np.array([[np.nan]]), 1.0).any()


def test_limits_ignore_what_is_not_finite() -> None:
    assert limit_of(np.array([np.nan, -3.0, np.inf, 1.0]), 1.0) == 3.0
    assert limit_of(np.array([np.nan])) == 0.0


def test_packed_bytes_come_back() -> None:
    values = np.arange(-10, 10, dtype=np.int8).reshape(4, 5)
    raw = zlib.decompress(base64.b64decode(packed(values)))
    np.testing.assert_array_equal(np.frombuffer(raw, np.int8).reshape(4, 5), values)
