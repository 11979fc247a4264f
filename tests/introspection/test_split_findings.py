"""Sentences on parts of groups follow the numbers."""

from __future__ import annotations

import numpy as np

from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.split_findings import SplitLayer, split_finding

NAN = float("nan")


def layers(*shares: tuple[float, float]) -> list[SplitLayer]:
    """Of (one group, one part) at each layer, with intervals of 0.1 to both sides."""
    return [
        SplitLayer(
            f"layer{i}", Interval(g, g - 0.1, g + 0.1), Interval(p, p - 0.1, p + 0.1), (-0.02, 0.03), 0.0099
        )
        for i, (g, p) in enumerate(shares, 1)
    ]


def test_from_the_sound_to_the_letter() -> None:
    found = split_finding("letters", "phone", layers((0.9, 0.2), (0.8, 0.3), (0.4, 0.7), (0.3, 0.9)))
    assert found.difference
    assert found.id == "split-letters-phone"
    assert (found.value, found.low, found.high) == (0.9, 0.8, 1.0)
    assert "farthest apart at layer1, 0.90 [0.80, 1.00]" in found.sentence
    assert "least at layer4, 0.30" in found.sentence
    assert "From layer3 on the phones of one letter lie nearer together" in found.sentence


def test_no_turn_is_claimed_where_there_is_none() -> None:
    back = split_finding("letters", "phone", layers((0.2, 0.9), (0.8, 0.3), (0.4, 0.7)))
    assert "From" not in back.sentence
    touching = split_finding("letters", "phone", layers((0.9, 0.2), (0.7, 0.7), (0.6, 0.75), (0.4, 0.7)))
    assert "From layer4 on" in touching.sentence
    never = split_finding("letters", "phone", layers((0.9, 0.2), (0.8, 0.3)))
    assert "In every layer what shares its phone lies nearer" in never.sentence
    always = split_finding("letters", "phone", layers((0.1, 0.5), (0.2, 0.6)))
    assert "In every layer what shares its letter lies nearer" in always.sentence
    last = split_finding("letters", "phone", layers((0.1, 0.2), (0.5, 0.3)))
    assert "From" not in last.sentence


def test_a_clear_layer_is_not_hidden_by_a_noisy_one() -> None:
    noisy = SplitLayer("layer1", Interval(0.9, -0.5, 2.3), Interval(1.0, 0.9, 1.1), (-0.5, 0.6), 0.3)
    clear = SplitLayer("layer9", Interval(0.4, 0.3, 0.5), Interval(1.0, 0.9, 1.1), (-0.05, 0.05), 0.02)
    found = split_finding("letters", "sex", [noisy, clear])
    assert found.difference
    assert found.value == 0.4
    assert "farthest apart at layer9" in found.sentence


def test_no_difference_and_nothing_known() -> None:
    found = split_finding("phonemes", "sex", layers((0.05, 0.9), (-0.01, 1.0)))
    assert not found.difference
    assert "no difference at any layer; at most 0.05 [−0.05, 0.15]".replace("−", "-") in found.sentence
    unknown = [SplitLayer("input", Interval(NAN, NAN, NAN), Interval(NAN, NAN, NAN), (NAN, NAN), NAN)]
    nothing = split_finding("letters", "right", unknown)
    assert not nothing.difference
    assert np.isnan(nothing.value)
    assert nothing.record()["value"] is None
    wide = [SplitLayer("input", Interval(0.5, NAN, NAN), Interval(NAN, NAN, NAN), (0.0, 0.1), 0.0099)]
    assert not split_finding("letters", "right", wide).difference
