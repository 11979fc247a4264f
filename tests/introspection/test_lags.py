"""The bootstrap of a median and of a spread against doing it by hand."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.bootstrap import utterance_weights
from asr_introspect.introspection.lags import lag


def test_the_intervals_are_those_of_drawn_utterances() -> None:
    random = np.random.default_rng(0)
    utterance = np.repeat(np.arange(12), random.integers(1, 9, 12))
    speaker = np.array(["ann", "bob"])[utterance % 2]
    values = random.normal(20, 10, len(utterance)).round()
    found = lag(values, utterance, speaker, seed=4, draws=300)
    times = utterance_weights(["ann", "bob"] * 6, seed=4, draws=300)
    assert times is not None
    drawn = [np.repeat(values, weights[utterance]) for weights in times]
    assert (found.low, found.high) == tuple(np.quantile([np.median(x) for x in drawn], [0.025, 0.975]))
    spread = np.quantile([x.std() for x in drawn], [0.025, 0.975])
    assert (found.spread.low, found.spread.high) == pytest.approx(tuple(spread))
    assert found.spread.value == pytest.approx(values.std())
    assert found.median == np.median(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.count == len(values)


def test_rounding_noise_about_zero_is_zero() -> None:
    frames = np.random.default_rng(2).integers(-2, 3, 900)
    exact = frames * 10.0
    noisy = (frames * 0.01 + 7.35 - 7.35) * 1000
    assert not np.array_equal(noisy, exact)
    utterance = np.arange(900) % 30
    found, wanted = lag(noisy, utterance), lag(exact, utterance)
    assert (found.median, found.low, found.high) == (wanted.median, wanted.low, wanted.high)


def test_few_draws_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, utterance = np.random.default_rng(1).normal(size=400), np.arange(400) % 30
    whole = lag(values, utterance)
    monkeypatch.setattr("asr_introspect.introspection.lags.CELLS", 4000)
    assert lag(values, utterance) == whole


def test_nothing_and_one_utterance() -> None:
    assert lag(np.zeros(0), np.zeros(0, int)).count == 0
    one = lag(np.array([1.0, 2.0, 9.0]), np.zeros(3, int))
    assert one.median == 2.0
    assert np.isnan(one.low)
    assert np.isnan(one.spread.high)
