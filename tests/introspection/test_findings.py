"""Sentences from numbers: what holds is said, what does not is called no difference."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.clusters import class_evidence, distances
from asr_introspect.introspection.findings import (
    PatternPeak,
    Structure,
    nearness_finding,
    pattern_finding,
    structure_finding,
)
from asr_introspect.introspection.lags import Lag, lag
from asr_introspect.introspection.offset_findings import (
    alignment_finding,
    lag_finding,
    layers_finding,
    trusted_finding,
)


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


def test_a_cross_validated_silhouette_is_called_one_and_has_its_interval() -> None:
    plain = structure(26, False, 0)
    crossed = dataclasses.replace(plain, cross_validated=True, own=Interval(plain.value, -0.021, 0.4))
    assert structure_finding(plain).unit == "silhouette"
    assert f"(silhouette {plain.value:.2f}, euclidean" in structure_finding(plain).sentence
    told = structure_finding(crossed)
    assert told.unit == "cross-validated silhouette"
    assert f"(cross-validated silhouette {plain.value:.2f} (−0.02 to 0.40), euclidean" in told.sentence


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
    found = alignment_finding("none", 0.2, 0.18, Interval((low + high) / 2, low, high))
    assert found.difference is (low > 0 or high < 0)
    assert found.sentence.startswith("No difference") is not found.difference
    if found.difference:
        assert ("agree better" if low > 0 else "agree worse") in found.sentence


def made_lag(median: float, low: float, high: float) -> Lag:
    return Lag(3, median, low, high, median, Interval(1.0, math.nan, math.nan))


def test_layers_that_find_letters_at_other_times() -> None:
    found = {"input": made_lag(-5, -8, -2), "layer1": made_lag(25, 20, 30), "layer2": made_lag(20, 18, 22)}
    apart = layers_finding(found, "the phone")
    assert apart.difference
    assert apart.value == 30
    assert "from −5 ms at the input (95 % interval −8 to −2 ms) to 25 ms at layer 1" in apart.sentence
    near = layers_finding({"input": made_lag(0, -5, 5), "layer1": made_lag(4, -1, 9)}, "the phone")
    assert not near.difference
    assert near.sentence.startswith("No difference between the layers")


def test_which_alignment_is_to_be_trusted() -> None:
    clear = {"none": "best", "gradient": "worse", "ctc": "no worse", "random": "worse"}
    other = {"none": "worse", "gradient": "best", "ctc": "worse", "random": "worse"}
    lost = {"none": "best", "gradient": "worse", "ctc": "worse", "random": "no worse"}
    found = trusted_finding(
        {"input": clear, "layer1": clear, "layer2": clear, "layer3": other, "layer4": lost}, ["random"], 1234
    )
    assert found.difference
    assert found.value == 4
    assert found.sentence == (
        "A letter's windows agree best when they are placed at the step itself at the input and layers 1 and "
        "2 (no worse: at the forced alignment's likeliest step); where the gradient is largest at layer 3; "
        "at layer 4 a control does no worse, and none is to be trusted "
        "(1,234 letters, variance explained across halves of the utterances)."
    )
    nothing = trusted_finding({"input": lost}, ["random"], 12)
    assert not nothing.difference
    assert nothing.sentence.startswith("No difference between alignments and controls")


def test_records_are_json() -> None:
    record = lag_finding(made_lag(1.0, math.nan, math.nan), "the phone").record()
    assert record["low"] is None
    assert record["null"] == 0.0
