"""Axes, intervals and trees against what they must show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import dendrogram, leaves_list, linkage

from asr_introspect.reporting.charts import DepthPoint, Whisker, depth_curve, histogram, nice_ticks, whiskers
from asr_introspect.reporting.clusters import CELL, TREE, clusters_view, tree_path
from asr_introspect.reporting.labels import class_of, short
from asr_introspect.reporting.run import read_run
from asr_introspect.reporting.words import fixed, hertz, milliseconds, percent, significance


@given(st.floats(-1e6, 1e6, allow_subnormal=False), st.floats(1e-6, 1e6))
def test_ticks_hold_what_they_must(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= low + span - 1e-9 * abs(low + span)
    assert 2 <= len(ticks) <= 9


def test_whiskers_place_values_in_proportion() -> None:
    rows = [Whisker("a", 0.2, 0.1, 0.3, 5), Whisker("b", 0.4, float("nan"), float("nan"), 1)]
    chart = whiskers(rows, percent, percent, reference=0.0)
    first, second = chart.rows
    assert chart.reference == 0.0
    assert second.at == pytest.approx(2 * first.at)
    assert (second.low, second.interval) == (None, "no interval")
    assert first.interval == "10.0 to 30.0\N{NO-BREAK SPACE}%"


def test_a_chart_without_rows_is_no_error() -> None:
    assert whiskers([], percent, percent).rows == ()


def test_a_histogram_draws_each_count() -> None:
    svg = histogram([0, 4, 2, 0], -20, 10, "ms", "four < five")
    heights = [float(h) for h in re.findall(r'class="bar"[^>]* height="([\d.]+)"', svg)]
    assert heights[0] == pytest.approx(2 * heights[1])
    assert "four &lt; five" in svg


def test_a_depth_curve_marks_what_lies_beyond_chance() -> None:
    nan = float("nan")
    points = [DepthPoint("input", 0.0, -0.1, 0.1, False), DepthPoint("layer1", 0.3, nan, nan, True)]
    points.append(DepthPoint("layer2", nan, nan, nan, False))
    svg = depth_curve(points, (-0.2, 0.4), ["in", "1", "2"], "label")
    assert svg.count('class="beyond"') == 1
    assert svg.count('class="chance"') == 1
    assert "interval" not in svg
    assert "other-null" not in svg


def test_a_depth_curve_shows_intervals_and_the_limits_of_another_null() -> None:
    points = [
        DepthPoint(
            name, 0.1, -0.1, 0.05, True, interval_low=0.0, interval_high=0.2, other_low=-0.2, other_high=0.4
        )
        for name in ("input", "layer1")
    ]
    svg = depth_curve(points, (-0.2, 0.4), ["in", "1"], "label")
    assert svg.count('class="interval"') == 2
    assert svg.count('class="other-null"') == 2
    # From 0.0 to 0.2 of a scale from -0.2 to 0.4, 170 high and 10 from the top.
    assert 'd="M44.0 123.3V66.7"' in svg
    assert 'points="44.0,180.0 410.0,180.0"' in svg
    assert 'points="44.0,10.0 410.0,10.0"' in svg


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_has_the_heights_of_scipy(seed: int) -> None:
    """Each bracket of the path spans the same leaves at the same height as in SciPy's own dendrogram."""
    tree = linkage(np.random.default_rng(seed).normal(size=(9, 3)), "average")
    order = leaves_list(tree)
    ours = set()
    for _, y0, x, y1, _ in re.findall(
        r"M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)H([\d.]+)", tree_path(tree, order)
    ):
        height = (TREE - 4 - float(x)) / (TREE - 8) * tree[:, 2].max()
        ours.add((round(height, 0), *sorted((round(float(y0), 1), round(float(y1), 1)))))
    drawn = dendrogram(tree, no_plot=True)
    scipys = set()
    for heights, places in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        leaves = [round(place / 10 * CELL, 1) for place in (places[0], places[2])]
        scipys.add((round(heights[1], 0), *sorted(leaves)))
    assert ours == scipys


def test_evidence_says_where_there_is_no_difference(stored_run: Path) -> None:
    view = clusters_view(read_run(stored_run))
    assert view is not None
    sentences = [text for m in view.maps for picture in m.pictures for text in picture.evidence]
    chance = [text for text in sentences if "no difference from chance" in text]
    assert chance
    assert all("p 0.500" in text for text in chance)
    assert all("p 0.004" in text for text in sentences if text not in chance)
    assert view.has_phonemes
    assert [m.title.split(",")[0] for m in view.maps] == [
        "Letters",
        "Letters",
        "Phonemes",
        "Letters and phonemes together",
    ]


def test_classes_and_short_names() -> None:
    assert class_of("letter A", "joint") == "vowel letter"
    assert class_of("phone B", "joint") == "stop"
    assert class_of("B", "phonemes") == "stop"
    assert class_of("B", "letters") == "consonant letter"
    assert class_of(" ", "letters") == ""
    assert (short("phone AA"), short("letter A"), short(" ")) == ("/AA/", "A", "␣")


def test_words_for_numbers() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert fixed(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert fixed(-0.001, 2, sign=True) == "0.00"
    assert fixed(float("nan")) == "–"
    assert milliseconds(24.4) == f"+24{space}ms"
    assert hertz(2800) == f"2.8{space}kHz"
    assert hertz(230) == f"230{space}Hz"
    assert significance(1e-5) == "< 0.001"


def test_an_axis_of_one_value_has_a_length() -> None:
    for value in (0.0, 3.0, -0.25):
        chart = whiskers([Whisker("one", value, value, value, 1)], str, str, reference=value)
        assert len(chart.ticks) >= 2
        assert chart.reference == chart.rows[0].at
