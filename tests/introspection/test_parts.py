"""Parts of groups against plain loops over all pairs, and on planted structure."""

from __future__ import annotations

import numpy as np
import pytest

from asr_introspect.introspection.distances import halves
from asr_introspect.introspection.parts import BLOCKS, Apart, Cells, _ratios, apart, cells, frequent_pairs


def planted(
    by_group: float, by_part: float, *, seed: int = 0, inside: float = 0.0, count: int = 4000
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Instances whose means are a vector of their group plus one of their part (and one of both)."""
    random = np.random.default_rng(seed)
    group, part = random.integers(0, 6, count), random.integers(0, 4, count)
    parts = random.normal(size=(4, 64)) * by_part
    groups = random.normal(size=(6, 64)) * by_group
    both = random.normal(size=(6, 4, 64)) * inside
    values = groups[group] + parts[part] + both[group, part] + random.normal(size=(count, 64))
    return values.astype(np.float32), group, part, np.arange(count) // 40


def seen(values: np.ndarray, group: np.ndarray, part: np.ndarray, utterance: np.ndarray) -> Apart:
    speaker = [f"{i % 3}" for i in range(utterance.max() + 1)]
    found = apart(cells(values, group, part, utterance, speaker, minimum=20), rotations=40)
    assert found is not None
    return found


def test_ratios_are_means_over_all_pairs() -> None:
    values, group, part, utterance = planted(1.0, 0.5, count=900)
    part[(group == 2) & (part > 0)] = 0
    part[group == 5] = -1
    found = cells(values, group, part, utterance, ["a"] * 23, minimum=5)
    split = halves(BLOCKS, 3)
    total = {"group": [], "part": [], "neither": []}  # type: ignore[var-annotated]
    named = []
    for first in split.first:
        one = first[found.block] > 0
        means = [
            [found.values[(found.cell == c) & side].mean(0, dtype=np.float64) for side in (one, ~one)]
            for c in range(len(found.group))
        ]
        for p in range(len(found.group)):
            for q in range(len(found.group)):
                if p == q:
                    continue
                distance = float((means[p][0] - means[q][0]) @ (means[p][1] - means[q][1]))
                kind = "group" if found.group[p] == found.group[q] else "part"
                if found.group[p] != found.group[q] and found.part[p] != found.part[q]:
                    kind = "neither"
                total[kind].append(distance)
                if [p, q] == frequent_pairs(found)[0].tolist():
                    named.append(distance)
    kinds = [
        (np.unique(of)[:, None] == of).astype(np.float32)
        for of in (found.group, found.part, np.zeros(len(found.group)))
    ]
    counts = np.zeros((BLOCKS, len(found.group)), np.float32)
    sums = np.zeros((BLOCKS, len(found.group), 64), np.float32)
    np.add.at(counts, (found.block, found.cell), 1)
    np.add.at(sums, (found.block, found.cell), found.values)
    ours = _ratios(sums, counts, split.first, tuple(kinds), frequent_pairs(found))  # type: ignore[arg-type]
    other = np.mean(total["neither"])
    np.testing.assert_allclose(
        ours[:3],
        [np.mean(total["group"]) / other, np.mean(total["part"]) / other, np.mean(named) / other],
        rtol=1e-4,
    )


def test_what_is_planted_is_found() -> None:
    """Means of |a_p - a_q|^2 and |g_i - g_j|^2 add up: the shares are known."""
    for by_group, by_part in ((1.0, 0.0), (1.0, 1.0), (0.3, 1.0)):
        found = seen(*planted(by_group, by_part))
        expected = by_part**2 / (by_group**2 + by_part**2)
        assert found.same_group.value == pytest.approx(expected, abs=0.12)
        assert found.same_part.value == pytest.approx(1 - expected, abs=0.12)
        assert found.same_group.low <= found.same_group.value <= found.same_group.high
        assert (found.p_value < 0.05) == (by_part > 0)
        assert found.null[0] < 0.02
        assert found.null[1] < 0.05


def test_rare_parts_do_not_look_far_apart() -> None:
    """A hundredth of the instances has another part that says nothing: the plain distance would be noise."""
    values, group, part, utterance = planted(1.0, 0.0, count=6000)
    part = (np.random.default_rng(1).random(6000) < 0.03).astype(np.int64)
    found = seen(values, group, part, utterance)
    assert abs(found.same_group.value) < 0.1
    assert found.same_group.low < 0 < found.same_group.high
    assert found.p_value > 0.05


@pytest.mark.parametrize("tells", [False, True])
def test_parts_of_whole_utterances_are_permuted_among_them(tells: bool) -> None:
    """Utterances differ from each other; only where they do so by speaker do speakers differ."""
    speaker = np.arange(50) // 13
    p_values = []
    for seed in range(5):
        values, group, _, utterance = planted(1.0, 0.0, seed=seed, count=2000)
        random = np.random.default_rng(seed)
        own = random.normal(size=(4, 64))[speaker] if tells else random.normal(size=(50, 64))
        values = values + own[utterance].astype(np.float32) * 0.7
        p_values.append(seen(values, group, speaker[utterance], utterance).p_value)
    assert (max(p_values) < 0.05) if tells else (np.median(p_values) > 0.1), p_values


def test_pairs_are_of_the_commonest_part() -> None:
    values, group, part, utterance = planted(1.0, 1.0, count=600)
    part[(group == 1) & (part > 0)] = 0
    found = cells(values, group, part, utterance, ["a"] * 15, minimum=5)
    pairs, counts = frequent_pairs(found), found.counts
    assert len(pairs) == 5 * 2  # one group has a single part
    for first, second in pairs:
        assert found.group[first] == found.group[second]
        own = np.sort(counts[found.group == found.group[first]])[::-1]
        assert counts[first] == own[0]
        assert counts[second] in own[1:3]
    assert (np.diff(counts[pairs[:, 1]]) <= 0).all()


def test_nothing_to_compare() -> None:
    values, group, part, utterance = planted(1.0, 1.0, count=500)
    speaker = ["a"] * 13
    assert apart(cells(values, group, np.full(500, -1), utterance, speaker, minimum=1)) is None
    assert apart(cells(values, group, part * 0, utterance, speaker, minimum=1)) is None
    assert apart(cells(values, group * 0, part, utterance, speaker, minimum=1)) is None
    assert apart(cells(values, group, part, utterance, speaker, minimum=501)) is None
    nothing = cells(values[:0], group[:0], part[:0], utterance[:0], [], minimum=1)
    assert apart(nothing) is None


def test_blocks_hold_whole_speakers_where_there_are_ten() -> None:
    values, group, part, utterance = planted(1.0, 1.0)
    speaker = [f"{i % 12}" for i in range(100)]
    found = cells(values, group, part, utterance, speaker, minimum=20)
    assert found.unit == "speakers"
    order = np.argsort(group, kind="stable")
    own = np.array(speaker)[utterance[order]]
    assert all(len(set(found.block[own == name])) == 1 for name in set(speaker))
    alone = cells(values, group, part, utterance, speaker, minimum=20, by_utterance=True)
    assert alone.unit == "utterances"
    assert isinstance(alone, Cells)
    assert len(set(alone.block[own == "3"])) > 1
