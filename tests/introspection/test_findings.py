"""Sentences from numbers: what holds is said, what does not is called no difference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr_introspect.introspection.clusters import class_evidence, distances
from asr_introspect.introspection.findings import (
    PatternPeak,
    Structure,
    alignment_finding,
    lag_finding,
    nearness_finding,
    pattern_finding,
    structure_finding,
)
from asr_introspect.introspection.lags import Lag, lag


def structure(groups: int, shuffled: bool, seed: int) -> Structure:
    """Classes of groups that differ, as they are or dealt out at random."""
    random = np.random.default_rng(seed)
    profiles = random.normal(size=(groups, 3, 8))
    profiles[: groups // 3] += 1.5
    classes = np.array(["vowel"] * (groups // 3) + ["consonant"] * (groups - groups // 3))
    if shuffled:
        classes = random.permutation(classes)
    found = class_evidence(distances(profiles), list(classes), draws=1000)
    return Structure(
        "letters",
        "vowel-consonant",
        "layer9",
        "euclidean",
        found.value,
        found.null_mean,
        found.low,
        found.high,
        found.p_value,
    )


def test_shuffled_classes_give_no_difference() -> None:
    real = [structure_finding(structure(26, False, seed)) for seed in range(20)]
    dealt = [structure_finding(structure(26, True, seed)) for seed in range(20)]
    assert all(finding.difference and "stand apart" in finding.sentence for finding in real)
    assert sum(finding.difference for finding in dealt) <= 2  # a null's interval of 95 %
    assert all(finding.sentence.startswith("No difference") for finding in dealt if not finding.difference)


def test_lags_of_shuffled_sounds_give_no_difference() -> None:
    random = np.random.default_rng(0)
    utterance = np.repeat(np.arange(40), 10)
    late = lag_finding(lag(random.normal(30, 50, 400), utterance), "the phone")
    assert late.difference
    assert "ms after the middle of the phone" in late.sentence
    early = lag_finding(lag(random.normal(-30, 50, 400), utterance), "the phone", "gradient")
    assert "ms before" in early.sentence
    none = lag_finding(lag(np.tile([-40.0, 0.0, 40.0, 0.0], 100), utterance), "the phone")
    assert not none.difference
    assert none.sentence.startswith("No difference")


def test_one_utterance_has_no_interval_and_so_no_difference() -> None:
    found = lag_finding(lag(np.full(5, 80.0), np.zeros(5, int)), "the phone")
    assert not found.difference
    assert found.record()["low"] is None
    assert "no interval" in found.sentence


@pytest.mark.parametrize(("shift", "difference"), [(0.2, True), (0.0, False), (-0.2, True)])
def test_relevance_near_the_letter_against_energy(shift: float, difference: bool) -> None:
    random = np.random.default_rng(2)
    utterance = np.repeat(np.arange(12), 20)
    energy = random.uniform(0, 0.5, 240)
    # As many letters with more as with less: no difference.
    near = energy + shift + np.tile([-0.1, 0.1], 120) + np.repeat(np.tile([-0.01, 0.01], 6), 20)
    found = nearness_finding(near, energy, utterance)
    assert found.difference is difference
    assert found.sentence.startswith("No difference") is not difference
    assert found.low <= found.value <= found.high
    if difference:
        assert ("is more than" if shift > 0 else "is less than") in found.sentence


def test_letters_without_relevance() -> None:
    found = nearness_finding(np.array([np.nan]), np.array([0.1]), np.array([0]))
    assert not found.difference
    one = nearness_finding(np.array([0.5]), np.array([0.1]), np.array([0]))
    assert not one.difference


def test_patterns() -> None:
    def peak(letter: str, strength: float) -> PatternPeak:
        return PatternPeak(letter, 50, strength, 0.1, 6400.0, -30.0, 1.5)

    found = pattern_finding([peak("A", 0.11), peak("S", 0.5), peak("F", 0.3)])
    assert found.difference
    assert found.value == pytest.approx(5)
    assert found.sentence.index("S (more energy at 6.4 kHz, 30 ms before") < found.sentence.index("F (")
    assert "A (" not in found.sentence
    none = pattern_finding([peak("A", 0.11)])
    assert none.sentence.startswith("No difference")
    assert not none.difference


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.03), (-0.01, 0.02), (-0.03, -0.01), (math.nan, math.nan)])
def test_alignments(low: float, high: float) -> None:
    found = alignment_finding("none", 0.2, 0.18, (low + high) / 2, low, high)
    assert found.difference is (low > 0 or high < 0)
    assert found.sentence.startswith("No difference") is not found.difference
    if found.difference:
        assert ("agree better" if low > 0 else "agree worse") in found.sentence


def test_records_are_json() -> None:
    record = lag_finding(Lag(3, 1.0, math.nan, math.nan, 1.0), "the phone").record()
    assert record["low"] is None
    assert record["null"] == 0.0
