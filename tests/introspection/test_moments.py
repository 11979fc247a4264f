"""Moments of windows against brute force: each window cut out, stacked, averaged."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_introspect.errors import UsageError
from asr_introspect.introspection.moments import Moments, Sums, empty, merge

GROUPS = ("A", "B", "C", "none of these")


def brute(
    rows: np.ndarray,
    item: np.ndarray,
    at: np.ndarray,
    lengths: np.ndarray,
    group: np.ndarray,
    first: int,
    p: int,
) -> Moments:
    """Two passes over stored windows in float64, missing cells as NaN."""
    channels = rows.shape[2]
    windows = np.full((len(item), channels, p), np.nan)
    for n in range(len(item)):
        for j in range(p):
            position = at[n] + first + j
            if 0 <= position < lengths[item[n]]:
                windows[n, :, j] = rows[item[n], position]
    count = np.zeros((len(GROUPS), p), np.int64)
    mean, m2 = np.zeros((len(GROUPS), channels, p)), np.zeros((len(GROUPS), channels, p))
    for g in range(len(GROUPS)):
        own = windows[group == g]
        count[g] = np.isfinite(own[:, 0]).sum(0)
        some = np.flatnonzero(count[g])
        mean[g][:, some] = np.nanmean(own[:, :, some], axis=0)
        m2[g][:, some] = np.nansum(np.square(own[:, :, some] - mean[g][:, some]), axis=0)
    return Moments(GROUPS, count, mean, m2)


def assert_equal(found: Moments, wanted: Moments, rtol: float = 1e-12) -> None:
    assert np.array_equal(found.count, wanted.count)
    scale = np.abs(wanted.mean).max(initial=1e-300)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(
        found.m2, wanted.m2, rtol=1e-9, atol=rtol * max(wanted.m2.max(initial=0), 1e-300)
    )


def drawn(seed: int, dtype: type = np.float32, windows: int = 40) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(3, 30, 5)).astype(dtype)
    lengths = np.array([30, 17, 1])
    item = random.integers(0, 3, windows)
    at = random.integers(-12, 42, windows)  # beyond both ends too
    group = random.integers(0, 3, windows)
    return rows, item, at, lengths, group


@pytest.mark.parametrize(("first", "positions"), [(-4, 9), (0, 1), (-20, 45), (3, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_to_stored_windows(first: int, positions: int, dtype: type) -> None:
    rows, item, at, lengths, group = drawn(abs(first), dtype)
    sums = Sums(GROUPS, rows.mean((0, 1)), first, positions)
    sums.add(rows, item, at, lengths, group)
    assert_equal(sums.moments(), brute(rows, item, at, lengths, group, first, positions))


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_parts_merge_to_the_whole(parts: int) -> None:
    rows, item, at, lengths, group = drawn(3, windows=90)
    shares = np.array_split(np.arange(90), parts)
    found = []
    for number, share in enumerate(shares):
        sums = Sums(GROUPS, rows.mean((0, 1)) + number, -4, 9)  # each part has a constant of its own
        sums.add(rows, item[share], at[share], lengths, group[share])
        found.append(sums.moments())
    whole = brute(rows, item, at, lengths, group, -4, 9)
    assert_equal(functools.reduce(merge, found), whole)
    assert_equal(functools.reduce(merge, reversed(found)), whole)


def test_the_same_order_gives_the_same_bits() -> None:
    rows, item, at, lengths, group = drawn(5)
    found = []
    for _ in range(2):
        sums = Sums(GROUPS, np.zeros(5), -4, 9)
        sums.add(rows, item, at, lengths, group)
        found.append(sums.moments())
    assert found[0].mean.tobytes() == found[1].mean.tobytes()
    assert found[0].m2.tobytes() == found[1].m2.tobytes()


def test_a_unit_of_mean_100_and_deviation_a_hundredth() -> None:
    random = np.random.default_rng(0)
    rows = np.stack([100 + 0.01 * random.normal(size=4000), np.full(4000, 7.0), random.normal(size=4000)], -1)
    rows = rows.astype(np.float32)[None]
    at = np.arange(4000)
    zeros = np.zeros(4000, np.int64)
    sums = Sums(("A",), rows[0, :100].mean(0, dtype=np.float64), 0, 1)
    for some in np.array_split(at, 13):
        sums.add(rows, zeros[some], some, np.array([4000]), zeros[some])
    found = sums.moments()
    exact = rows[0].astype(np.float64)
    np.testing.assert_allclose(found.variance[0, :, 0], exact.var(0), rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(found.mean[0, :, 0], exact.mean(0), rtol=1e-14, atol=1e-14)
    assert (found.m2 >= 0).all()


def test_a_group_of_one_and_groups_of_none() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(1, 12, 2)
    sums = Sums(GROUPS, np.zeros(2), -1, 3)
    sums.add(rows, np.array([0]), np.array([0]), np.array([12]), np.array([1]))
    found = sums.moments()
    assert found.count.tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(found.mean[1], [[0, 0, 2], [0, 1, 3]])
    assert (found.m2 == 0).all()
    assert np.isnan(found.means()[1, :, 0]).all()
    assert np.isnan(found.variance[0]).all()
    assert (found.variance[1, :, 1:] == 0).all()


def test_nothing_added_is_the_neutral_element() -> None:
    rows, item, at, lengths, group = drawn(9)
    sums = Sums(GROUPS, rows.mean((0, 1)), -4, 9)
    sums.add(rows, item[:0], at[:0], lengths, group[:0])
    nothing = sums.moments()
    assert not nothing.count.any()
    assert not nothing.mean.any()
    sums = Sums(GROUPS, rows.mean((0, 1)), -4, 9)
    sums.add(rows, item, at, lengths, group)
    something = sums.moments()
    for both in (merge(nothing, something), merge(something, empty(GROUPS, 5, 9))):
        assert both.mean.tobytes() == np.ascontiguousarray(something.mean).tobytes()
        assert np.array_equal(both.m2, something.m2)


def test_other_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="different groups"):
        merge(empty(("A",), 2, 3), empty(("B",), 2, 3))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(-15, 5),
    st.integers(1, 20),
    st.integers(0, 25),
    st.floats(-1e4, 1e4),
)
def test_any_windows_with_any_constant(
    seed: int, first: int, positions: int, windows: int, constant: float
) -> None:
    rows, item, at, lengths, group = drawn(seed, np.float64, windows)
    sums = Sums(GROUPS, np.full(5, constant), first, positions)
    sums.add(rows, item, at, lengths, group)
    wanted = brute(rows, item, at, lengths, group, first, positions)
    found = sums.moments()
    assert np.array_equal(found.count, wanted.count)
    size = 1 + abs(constant)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-13 * size)
    np.testing.assert_allclose(found.m2, wanted.m2, atol=1e-13 * size**2 * max(windows, 1))
