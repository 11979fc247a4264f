"""Moments of windows against brute force: each window cut out, stacked, averaged."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_introspect.errors import UsageError
from asr_introspect.introspection import moments
from asr_introspect.introspection.moments import Activations, Moments, WindowSet, empty, merge, window_moments

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


def summed(
    rows: np.ndarray,
    item: np.ndarray,
    at: np.ndarray,
    lengths: np.ndarray,
    group: np.ndarray,
    first: int,
    positions: int,
    centre: np.ndarray | None = None,
    groups: tuple[str, ...] = GROUPS,
    threads: int = 1,
) -> Moments:
    """The same by the module, from one batch of rows ``(B, T, C)``."""
    batch = Activations(np.ascontiguousarray(rows.transpose(0, 2, 1)), lengths)
    windows = WindowSet(groups, np.zeros_like(item), item, at, group)
    (found,) = window_moments([batch], [windows], first, positions, centre=centre, threads=threads)
    return found


def assert_equal(found: Moments, wanted: Moments, rtol: float = 1e-12) -> None:
    assert np.array_equal(found.count, wanted.count)
    scale = np.abs(wanted.mean).max(initial=1e-300)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(
        found.m2, wanted.m2, rtol=1e-9, atol=rtol * max(wanted.m2.max(initial=0), 1e-300)
    )


def drawn(seed: int, dtype: type = np.float32, windows: int = 40) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    rows: np.ndarray = random.normal(size=(3, 30, 5)).astype(dtype)
    lengths = np.array([30, 17, 1])
    item = random.integers(0, 3, windows)
    at = random.integers(-12, 42, windows)  # beyond both ends too
    group = random.integers(0, 3, windows)
    return rows, item, at, lengths, group


@pytest.mark.parametrize(("first", "positions"), [(-4, 9), (0, 1), (-20, 45), (3, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_to_stored_windows(first: int, positions: int, dtype: type) -> None:
    rows, item, at, lengths, group = drawn(abs(first), dtype)
    found = summed(rows, item, at, lengths, group, first, positions)
    assert_equal(found, brute(rows, item, at, lengths, group, first, positions))


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_parts_merge_to_the_whole(parts: int) -> None:
    rows, item, at, lengths, group = drawn(3, windows=90)
    shares = np.array_split(np.arange(90), parts)
    found = []
    for number, share in enumerate(shares):
        centre = rows.mean((0, 1)) + number  # each part has a constant of its own
        found.append(summed(rows, item[share], at[share], lengths, group[share], -4, 9, centre))
    whole = brute(rows, item, at, lengths, group, -4, 9)
    assert_equal(functools.reduce(merge, found), whole)
    assert_equal(functools.reduce(merge, reversed(found)), whole)


def test_the_same_bits_at_any_number_of_threads() -> None:
    rows, item, at, lengths, group = drawn(5)
    rows = np.tile(rows, 9)  # several tiles of channels, the last one not full
    found = [summed(rows, item, at, lengths, group, -4, 9, threads=threads) for threads in (1, 3)]
    assert found[0].mean.tobytes() == found[1].mean.tobytes()
    assert found[0].m2.tobytes() == found[1].m2.tobytes()


def test_a_unit_of_mean_100_and_deviation_a_hundredth() -> None:
    random = np.random.default_rng(0)
    rows = np.stack([100 + 0.01 * random.normal(size=4000), np.full(4000, 7.0), random.normal(size=4000)], -1)
    rows = rows.astype(np.float32)[None]
    batches = [
        Activations(part.T[None].copy(), np.array([len(part)])) for part in np.array_split(rows[0], 13)
    ]
    number = np.repeat(np.arange(13), [len(batch.values[0, 0]) for batch in batches])
    at = np.concatenate([np.arange(batch.values.shape[2]) for batch in batches])
    zeros = np.zeros(4000, np.int64)
    (found,) = window_moments(batches, [WindowSet(("A",), number, zeros, at, zeros)], 0, 1)
    exact = rows[0].astype(np.float64)
    np.testing.assert_allclose(found.variance[0, :, 0], exact.var(0), rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(found.mean[0, :, 0], exact.mean(0), rtol=1e-14, atol=1e-14)
    assert (found.m2 >= 0).all()


def test_a_group_of_one_and_groups_of_none() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(1, 12, 2)
    item, at, lengths, group = (np.array([each]) for each in (0, 0, 12, 1))
    found = summed(rows, item, at, lengths, group, -1, 3)
    assert found.count.tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(found.mean[1], [[0, 0, 2], [0, 1, 3]])
    assert (found.m2 == 0).all()
    assert np.isnan(found.means()[1, :, 0]).all()
    assert np.isnan(found.variance[0]).all()
    assert (found.variance[1, :, 1:] == 0).all()


def test_nothing_added_is_the_neutral_element() -> None:
    rows, item, at, lengths, group = drawn(9)
    nothing = summed(rows, item[:0], at[:0], lengths, group[:0], -4, 9)
    assert not nothing.count.any()
    assert not nothing.mean.any()
    something = summed(rows, item, at, lengths, group, -4, 9)
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
    found = summed(rows, item, at, lengths, group, first, positions, np.full(5, constant))
    wanted = brute(rows, item, at, lengths, group, first, positions)
    assert np.array_equal(found.count, wanted.count)
    size = 1 + abs(constant)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-13 * size)
    np.testing.assert_allclose(found.m2, wanted.m2, atol=1e-13 * size**2 * max(windows, 1))


def test_batches_blocks_and_sets_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "ROWS", 70)  # some three blocks, one item longer than a block
    random = np.random.default_rng(11)
    lengths = [np.array(each) for each in ([30, 17, 1], [90], [12, 0, 25])]
    rows = [random.normal(size=(len(n), n.max() + 2, 21)).astype(np.float32) for n in lengths]
    batches = [Activations(r.transpose(0, 2, 1).copy(), n) for r, n in zip(rows, lengths, strict=True)]
    sets, wanted = [], []
    for count in (300, 0, 57):
        batch = random.integers(0, 3, count)
        item = np.array([random.integers(0, len(lengths[b])) for b in batch], np.int64)
        at, group = random.integers(-20, 110, count), random.integers(0, 3, count)
        sets.append(WindowSet(GROUPS, batch, item, at, group))
        parts = [
            brute(rows[b], item[batch == b], at[batch == b], lengths[b], group[batch == b], -4, 9)
            for b in range(3)
        ]
        wanted.append(functools.reduce(merge, parts))
    for found, each in zip(window_moments(batches, sets, -4, 9), wanted, strict=True):
        assert_equal(found, each)
