"""What is drawn for an interval, and that intervals are those of the draws."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.bootstrap import (
    Interval,
    by_utterance,
    drawn_over,
    interval,
    ratio_interval,
    utterance_weights,
)

FEW = ["ann"] * 4 + ["bob"] * 3 + ["cas"]
MANY = [f"speaker {n // 2}" for n in range(24)]


def test_few_speakers_utterances_are_drawn_within_each() -> None:
    weights = utterance_weights(FEW, seed=3, draws=400)
    assert weights is not None
    for name, count in (("ann", 4), ("bob", 3), ("cas", 1)):
        assert (weights[:, [who == name for who in FEW]].sum(1) == count).all()
    assert len(np.unique(weights[:, 0])) > 2
    assert drawn_over(FEW) == "utterances within speakers"


def test_ten_speakers_are_drawn_whole() -> None:
    weights = utterance_weights(MANY, seed=3, draws=400)
    assert weights is not None
    assert np.array_equal(weights[:, ::2], weights[:, 1::2])
    assert (weights.sum(1) == 24).all()
    assert (weights.sum(0) > 0).all()
    assert drawn_over(MANY) == "speakers"


def test_one_utterance_of_each_of_few_speakers_is_no_draw() -> None:
    assert utterance_weights(["ann", "bob", "cas"]) is None
    assert np.isnan(interval(1.0, None).low)
    assert interval(1.0, None).holds(0.0)


def test_clustered_intervals_are_wider_where_speakers_differ() -> None:
    """Twelve speakers who differ, alike within: drawing utterances would promise too much."""
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(size=12), 20) + 0.1 * random.normal(size=240)
    ones = np.ones(240)
    clustered = ratio_interval(values, ones, np.repeat([f"s{n}" for n in range(12)], 20))
    single = ratio_interval(values, ones, [""] * 240)
    assert clustered.value == single.value
    assert clustered.high - clustered.low > 2.5 * (single.high - single.low)
    # The standard error of twelve independent speakers, by the textbook.
    wanted = 1.96 * values.reshape(12, 20).mean(1).std(ddof=1) / np.sqrt(12)
    assert (clustered.high - clustered.low) / 2 == pytest.approx(wanted, rel=0.15)


def test_instances_by_utterance() -> None:
    rows, speakers = by_utterance(np.array([7, 7, 3, 9]), np.array(["a", "a", "b", "c"]))
    assert rows.tolist() == [1, 1, 0, 2]
    assert speakers.tolist() == ["b", "a", "c"]
    assert by_utterance(np.array([1, 2]), None)[1].tolist() == ["", ""]


def test_an_interval_holds_what_lies_in_it() -> None:
    assert Interval(2.0, 1.0, 3.0).holds(1.0)
    assert not Interval(2.0, 1.0, 3.0).holds(0.9)
    assert Interval(2.0, 1.0, 3.0).times(10) == Interval(20.0, 10.0, 30.0)
