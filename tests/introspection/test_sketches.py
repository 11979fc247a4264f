"""Sketches against windows cut out and folded cell by cell, against exact inner products, and in float16."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.sketches import BINS, Fold, encoded, fold

CONES = {
    "input": (Cone("input", 2, -11, 24, 1, 0.0), 16),
    "inner": (Cone("layer4", 1, -20, 41, 2, 0.5), 30),
    "one position": (Cone("layer10", 1, 0, 1, 2, 0.5), 700),
    "whole": (Cone("layer9", 1, -3, 8, 2, 0.5), 32),
}


def by_hand(folded: Fold, activations: np.ndarray, at: int) -> np.ndarray:
    """The sketch of one window, cell by cell in float64."""
    found = np.zeros(len(folded.edges) - 1)
    for b in range(len(found)):
        for k in range(folded.edges[b], folded.edges[b + 1]):
            position = at + folded.first + folded.position[k]
            row = activations[folded.channel[k]].astype(np.float64)
            value = row[position] if 0 <= position < len(row) else row.mean()
            found[b] += folded.sign[k] * value
    return found


@pytest.mark.parametrize("name", CONES)
def test_sketches_are_windows_folded_cell_by_cell(name: str) -> None:
    cone, channels = CONES[name]
    folded = fold(cone, channels, 3)
    activations = np.random.default_rng(0).normal(1.0, 2.0, (channels, 57)).astype(np.float32)
    found, means = folded.at_all_positions(activations)
    assert found.shape == (57, min(BINS, cone.positions * channels))
    for at in (0, 1, 25, 55, 56):
        np.testing.assert_allclose(found[at], by_hand(folded, activations, at), atol=1e-4)
        window = np.full((channels, cone.positions), activations.mean(1, dtype=np.float64)[:, None])
        for j in range(cone.positions):
            if 0 <= at + cone.first + j < 57:
                window[:, j] = activations[:, at + cone.first + j]
        assert means[at] == pytest.approx(window.mean(), abs=1e-6)


def test_every_cell_lies_in_one_bin_and_small_layers_stay_whole() -> None:
    for cone, channels in CONES.values():
        folded = fold(cone, channels, 0)
        cells = set(zip(folded.channel.tolist(), folded.position.tolist(), strict=True))
        assert len(cells) == folded.cells == cone.positions * channels
        np.testing.assert_allclose(folded.ones, by_hand(folded, np.ones((channels, 300)), 150))
    whole = fold(*CONES["whole"], 0)
    activations = np.random.default_rng(1).normal(size=(32, 40)).astype(np.float32)
    found, _ = whole.at_all_positions(activations)
    assert np.array_equal(found[10], activations[:, 7:15].reshape(-1))


def test_other_seeds_fold_otherwise_and_the_same_alike() -> None:
    cone, channels = CONES["inner"]
    one, again, other = fold(cone, channels, 0), fold(cone, channels, 0), fold(cone, channels, 1)
    assert all(np.array_equal(getattr(one, n), getattr(again, n)) for n in ("channel", "position", "sign"))
    assert not np.array_equal(one.sign, other.sign)


def test_an_utterance_folds_to_the_same_bits_whatever_its_length_in_blocks() -> None:
    """Positions beyond a block of the loop are those of the utterance cut in two, away from its edges."""
    cone, channels = CONES["inner"]
    folded = fold(cone, channels, 0)
    activations = np.random.default_rng(0).normal(size=(channels, 1100)).astype(np.float32)
    whole, _ = folded.at_all_positions(activations)
    part, _ = folded.at_all_positions(activations[:, 400:])
    assert np.array_equal(whole[450:1050], part[50:650])


def test_inner_products_are_unbiased_with_the_stated_spread() -> None:
    random = np.random.default_rng(0)
    cone, channels = Cone("inner", 1, -20, 41, 2, 0.5), 60
    x, y = (
        np.repeat(random.normal(size=(channels, 1)), 41, 1) + random.normal(size=(channels, 41)) for _ in "xy"
    )
    exact = np.square(x - y).sum()
    estimates = []
    for seed in range(300):
        folded = fold(cone, channels, seed)
        difference = (x - y)[folded.channel, folded.position] * folded.sign
        sketch = np.add.reduceat(difference, folded.edges[:-1])
        estimates.append(sketch @ sketch / exact)
    assert np.mean(estimates) == pytest.approx(1.0, abs=4 * np.std(estimates) / np.sqrt(300))
    assert np.std(estimates) == pytest.approx(np.sqrt(2 / BINS), rel=0.25)


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e6, 1e30])
def test_float16_neither_overflows_nor_loses_more_than_its_last_bit(size: float) -> None:
    folded = (np.random.default_rng(0).normal(size=(50, BINS)) * size).astype(np.float32)
    folded[3] = 0
    stored = encoded(folded, folded.mean(1))
    assert stored.values.dtype == np.float16
    assert np.isfinite(stored.values).all()
    np.testing.assert_allclose(stored.decoded(), folded, rtol=2**-11, atol=np.abs(folded).max() * 2**-28)
    assert (stored.decoded()[3] == 0).all()
    assert len(stored) == 50
