"""Emissions against greedy decoding, phonemes against a search over all steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_introspect.corpus.records import Segment
from asr_introspect.introspection.instances import emissions, nearest, spoken_phonemes, together
from asr_introspect.recogniser.decoding import greedy
from asr_introspect.recogniser.scoring import right
from tests.experiments.recognisers import tiny_recogniser


def test_emissions_are_what_greedy_decoding_says(tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    random = torch.Generator().manual_seed(0)
    for steps in (1, 2, 7, 200):
        logits = 3 * torch.randn(29, steps, generator=random)
        logits = logits.repeat_interleave(2, dim=1)[:, :steps]  # runs
        reference = torch.randint(1, 29, (steps,), generator=random).tolist()
        found = emissions(recogniser, logits, 4, 100.0, reference)
        hypothesis = greedy(logits)
        assert found["label"].tolist() == hypothesis
        assert found["right"].tolist() == right(hypothesis, reference).astype(int).tolist()
        at = found["reference"]
        assert all(reference[j] == label for j, label in zip(at, found["label"], strict=True) if j >= 0)
        assert (found["utterance"] == 4).all()


def test_an_emission_stands_at_the_highest_posterior_of_its_run(tmp_path: Path) -> None:
    recogniser = tiny_recogniser(tmp_path)
    logits = torch.zeros(29, 8)
    for step, (symbol, height) in enumerate([(3, 1), (3, 4), (3, 2), (0, 9), (3, 2), (3, 2), (5, 1), (5, 3)]):
        logits[symbol, step] = height
    found = emissions(recogniser, logits, 0, 0.12)
    assert found["label"].tolist() == [3, 3, 5]
    assert found["step"].tolist() == [1, 4, 7]  # of equals the first
    assert found["right"].tolist() == [-1, -1, -1]
    # Steps a to b span (2a + 0.5) to (2b + 2.5) frames of 10 ms, cut at the end of the utterance.
    np.testing.assert_allclose(found["start"], [0.005, 0.085, 0.12])
    np.testing.assert_allclose(found["end"], [0.065, 0.12, 0.12])
    np.testing.assert_allclose(found["score"], logits.double().softmax(0)[[3, 3, 5], [1, 4, 7]])


def test_silence_emits_nothing(tmp_path: Path) -> None:
    logits = torch.zeros(29, 5)
    logits[0] = 1
    found = emissions(tiny_recogniser(tmp_path), logits, 0, 0.1, [3, 4])
    assert all(len(column) == 0 for column in found.values())
    assert len(together("letter", ("a",), [found])) == 0
    assert len(emissions(tiny_recogniser(tmp_path), torch.zeros(29, 0), 0, 0.0, [])["step"]) == 0


@settings(max_examples=50)
@given(st.lists(st.floats(0, 3), max_size=20), st.integers(1, 120))
def test_phonemes_stand_at_the_nearest_step(middles: list[float], steps: int) -> None:
    times = (2 * np.arange(steps) + 1.5) * 0.01
    found = nearest(times, np.array(middles))
    for step, middle in zip(found, middles, strict=True):
        assert abs(times[step] - middle) <= np.abs(times - middle).min() + 1e-8


def test_of_two_nearest_steps_the_earlier_is_taken() -> None:
    assert nearest(np.array([0.015, 0.035, 0.055]), np.array([0.025, 0.045, 9.0, 0.0])).tolist() == [
        0,
        1,
        2,
        0,
    ]


def test_phonemes_without_stress_and_only_those_asked_for(tmp_path: Path) -> None:
    spans = [
        Segment("AH0", 0.0, 0.1),
        Segment("XX", 0.1, 0.2),
        Segment("t", 0.2, 0.3),
        Segment("T", 5.0, 5.1),
    ]
    found = spoken_phonemes(tiny_recogniser(tmp_path), spans, ("AH", "T"), 2, 30)
    assert found["label"].tolist() == [0, 1]
    assert found["step"].tolist() == [2, 12]
    assert np.isnan(found["score"]).all()
