"""Parts of groups: how far apart they lie in a layer, beside how far apart different groups lie.

Is the C of CITY another thing than the C of CAT? A *cell* is a group with a part: the C that spells S. Pairs
of cells are of three kinds: one group and other parts (C|S, C|K), one part and other groups (C|K, Q|K), both
different (C|S, Q|K). The mean squared distance of the first two kinds over that of the third says what a
layer goes by. Near 0 for one group, parts make no difference; near 1, parts of one group are as far apart as
different groups. The second kind asks the same of the parts: where its curve crosses the first, a layer turns
from the sound to the letter.

Distances are squared, Euclidean, between means of sketches, and cross-validated between halves of the
utterances as in :mod:`~asr_introspect.introspection.distances`: unbiased, so that rare parts do not look far
from all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from asr_introspect.compiled import compiled
from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.distances import halves
from asr_introspect.random import generator
from asr_introspect.recogniser.scoring import ENOUGH_SPEAKERS

BLOCKS = 20
"""Utterances are dealt to so many blocks: halves are made of them, and intervals leave out one at a time."""
SPLITS = 10
ROTATIONS = 60
NULL_SPLITS = 4
"""Halves in a draw of the null: fewer than for the value, so that the null is rather too wide."""


@dataclass(frozen=True)
class Cells:
    """Sketches of instances with their cells, one group after the other, each in the order of the corpus.

    Parameters
    ----------
    values
        ``(N, D)`` float32.
    cell, block
        Of each instance its cell and the block of its utterance, ``(N,)``.
    group, part
        Of each cell, ``(C,)``.
    unit
        What blocks are dealt from, in words.
    utterance, of_utterance
        Of each instance its utterance, ``(N,)``; and of each utterance its part, -1 for none, where all of
        its instances have the same one (who speaks), else None.
    """

    values: np.ndarray
    cell: np.ndarray
    block: np.ndarray
    group: np.ndarray
    part: np.ndarray
    unit: str
    utterance: np.ndarray
    of_utterance: np.ndarray | None

    @property
    def counts(self) -> np.ndarray:
        """Instances of each cell, ``(C,)``."""
        return np.bincount(self.cell, minlength=len(self.group))


def cells(
    values: np.ndarray,
    group: np.ndarray,
    part: np.ndarray,
    utterance: np.ndarray,
    speaker: Sequence[str],
    *,
    minimum: int,
    by_utterance: bool = False,
    seed: int = 0,
) -> Cells:
    """The cells that have enough instances.

    Parameters
    ----------
    values, group, part, utterance
        Per instance its sketch ``(N, D)``, its group, its part (-1 for none), its utterance, ``(N,)``.
    speaker
        Who said each utterance, ``(U,)``. Of ten or more speakers whole ones are dealt to blocks.
    by_utterance
        Deal utterances whatever the number of speakers: where the parts are the speakers.
    """
    names, numbers = np.unique(np.asarray(speaker, object).astype(str), return_inverse=True)
    by_speaker = len(names) >= ENOUGH_SPEAKERS and not by_utterance
    owner = numbers if by_speaker else np.arange(len(numbers))
    dealt = generator(seed, "blocks of utterances", len(np.unique(owner))).permutation(
        owner.max(initial=0) + 1
    )
    pairs = group.astype(np.int64) * (part.max(initial=0) + 1) + part
    kept = part >= 0
    found, at, count = np.unique(pairs[kept], return_inverse=True, return_counts=True)
    often = count >= minimum
    number = np.where(often, np.cumsum(often) - 1, -1)
    rows = np.flatnonzero(kept)[number[at] >= 0]
    cell = number[at][number[at] >= 0]
    order = np.argsort(group[rows], kind="stable")
    rows, cell = rows[order], cell[order]
    width = part.max(initial=0) + 1
    used = np.ascontiguousarray(values[rows], np.float32)
    if len(used):
        used -= used.mean(0, dtype=np.float64).astype(np.float32)  # differences stay, rounding is smaller
    return Cells(
        used,
        cell,
        dealt[owner[utterance[rows]]] % BLOCKS,
        found[often] // width,
        found[often] % width,
        "speakers" if by_speaker else "utterances",
        utterance[rows],
        _whole(utterance[kept], part[kept], len(numbers)),
    )


def _whole(utterance: np.ndarray, part: np.ndarray, utterances: int) -> np.ndarray | None:
    """The part of each utterance, if parts never change within one."""
    found = np.full(utterances, -1, np.int64)
    found[utterance] = part
    return found if np.array_equal(found[utterance], part) else None


@dataclass(frozen=True)
class Apart:
    """How far apart the parts of a layer's groups are, as shares of how far apart other cells are.

    Parameters
    ----------
    same_group, same_part
        The mean squared distance of two cells of one group, of one part, over that of cells that share
        neither; NaN where there are no such pairs.
    null
        The middle 95 % of ``same_group`` when parts are dealt anew: those of each group's instances moved on
        by a random number of instances; parts of whole utterances permuted among utterances.
    p_value
        One-sided: how often the null is as high.
    pairs
        The same for the most frequent part of each group and its next two: ``pair_cells`` ``(M, 2)``.
    """

    same_group: Interval
    same_part: Interval
    null: tuple[float, float]
    p_value: float
    pairs: tuple[Interval, ...]
    pair_cells: np.ndarray


def apart(found: Cells, *, seed: int = 0, rotations: int = ROTATIONS) -> Apart | None:
    """How far apart parts are; None where no group has two parts, or all share a group or a part.

    Intervals are those of the jackknife over blocks, with Student's t.
    """
    pair_cells = frequent_pairs(found)
    kinds = _kinds(found)
    if len(pair_cells) == 0 or not (len(np.unique(found.group)) > 1 and len(np.unique(found.part)) > 1):
        return None
    first = halves(BLOCKS, seed, SPLITS).first
    sums, counts = _block_sums(found, found.cell)
    own = _ratios(sums, counts, first, kinds, pair_cells)
    left_out = np.empty((BLOCKS, len(own)))
    for block in range(BLOCKS):
        some = np.arange(BLOCKS) != block
        left_out[block] = _ratios(sums[some], counts[some], first[:, some], kinds, pair_cells)
    intervals = [_jackknifed(value, without) for value, without in zip(own, left_out.T, strict=True)]
    null = np.array([_dealt_anew(found, first[:NULL_SPLITS], kinds, seed, draw) for draw in range(rotations)])
    null = null[np.isfinite(null)]
    low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (np.nan, np.nan)
    p_value = (1 + int((null >= own[0]).sum())) / (1 + len(null)) if np.isfinite(own[0]) else np.nan
    return Apart(
        intervals[0],
        intervals[1],
        (float(low), float(high)),
        float(p_value),
        tuple(intervals[2:]),
        pair_cells,
    )


def frequent_pairs(found: Cells) -> np.ndarray:
    """The most frequent cell of each group beside each of its next two, ``(M, 2)``, the commonest first."""
    counts, pairs = found.counts, []
    for group in np.unique(found.group):
        own = np.flatnonzero(found.group == group)
        first, *others = own[np.argsort(-counts[own], kind="stable")[:3]].tolist()
        pairs += [(first, other) for other in others]
    pairs.sort(key=lambda pair: -int(counts[pair[1]]))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _kinds(found: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pairs in one group, in one part, and all: which set each cell is in, as ones ``(sets, C)``."""

    def ones(of: np.ndarray) -> np.ndarray:
        return np.asarray(np.unique(of)[:, None] == of[None], np.float32)

    return ones(found.group), ones(found.part), np.ones((1, len(found.group)), np.float32)


def _block_sums(found: Cells, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums ``(blocks, C, D)`` and counts ``(blocks, C)`` of the instances of each cell; -1 is none."""
    size = len(found.group)
    sums = np.zeros((BLOCKS * size, found.values.shape[1]), np.float32)
    row = np.where(cell >= 0, found.block * size + cell, -1)
    _add_rows(found.values, row, sums)
    counts = np.bincount(row[row >= 0], minlength=BLOCKS * size).astype(np.float32)
    return sums.reshape(BLOCKS, size, -1), counts.reshape(BLOCKS, size)


def _ratios(
    sums: np.ndarray,
    counts: np.ndarray,
    first: np.ndarray,
    kinds: tuple[np.ndarray, np.ndarray, np.ndarray],
    pair_cells: np.ndarray,
) -> np.ndarray:
    """Mean squared distances of pairs in one group, in one part, and of each named pair, over those of pairs
    that share neither, ``(2 + M,)``.

    Parameters
    ----------
    first
        Which blocks are in the first half of each split, ``(S, blocks)`` of 0 and 1.
    """
    splits, blocks, size = len(first), len(sums), sums.shape[1]
    one = (first @ sums.reshape(blocks, -1)).reshape(splits, size, -1)
    two = sums.sum(0) - one
    n_one = first @ counts
    n_two = counts.sum(0) - n_one
    inside = ((n_one > 0) & (n_two > 0)).astype(np.float32)
    one *= (inside / np.maximum(n_one, 1))[..., None]
    two *= (inside / np.maximum(n_two, 1))[..., None]
    own = np.einsum("scd,scd->sc", one, two)
    total, number = np.zeros(3), np.zeros(3)
    for kind, sets in enumerate(kinds):
        members = inside @ sets.T
        crossed = np.einsum("skd,skd->sk", sets @ one, sets @ two)
        total[kind] = 2 * (members * (own @ sets.T) - crossed).sum(dtype=np.float64)
        number[kind] = (members * (members - 1)).sum(dtype=np.float64)
    p, q = pair_cells.T
    both = (inside[:, p] > 0) & (inside[:, q] > 0)
    between = np.einsum("smd,smd->sm", one[:, p] - one[:, q], two[:, p] - two[:, q])
    named, known = np.where(both, between, 0.0).sum(0), both.sum(0)
    # A pair shares a group, a part, or neither: what remains of all pairs.
    total[2] -= total[0] + total[1]
    number[2] -= number[0] + number[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(number > 0, total / number, np.nan)
        other = means[2] if means[2] > 0 else np.nan
        shares = np.concatenate([means[:2], np.where(known > 0, named / known, np.nan)]) / other
    return np.asarray(shares)


def _dealt_anew(
    found: Cells, first: np.ndarray, kinds: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int, draw: int
) -> float:
    """The share of pairs in one group when parts are dealt anew."""
    random = generator(seed, "parts dealt anew", draw)
    cell = _moved_on(found, random) if found.of_utterance is None else _permuted(found, random)
    return float(_ratios(*_block_sums(found, cell), first, kinds, np.zeros((0, 2), np.int64))[0])


def _moved_on(found: Cells, random: np.random.Generator) -> np.ndarray:
    """Cells when the parts of each group's instances are moved on by a random number of instances."""
    of = found.group[found.cell]
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    sizes = np.diff(starts, append=len(of))
    start, size, by = (np.repeat(each, sizes) for each in (starts, sizes, random.integers(0, sizes)))
    return np.asarray(found.cell[start + (np.arange(len(of)) - start + by) % size])


def _permuted(found: Cells, random: np.random.Generator) -> np.ndarray:
    """Cells when the parts of utterances are permuted among them; -1 where there is no such cell."""
    assert found.of_utterance is not None
    part = found.of_utterance.copy()
    known = np.flatnonzero(part >= 0)
    part[known] = random.permutation(part[known])
    number = np.full((found.group.max() + 1, part.max() + 1), -1, np.int64)
    number[found.group, found.part] = np.arange(len(found.group))
    return np.asarray(number[found.group[found.cell], part[found.utterance]])


def _jackknifed(value: float, without: np.ndarray) -> Interval:
    """A value with the 95 % interval of the jackknife (Tukey 1958); none where a block decides whether it is
    known.
    """
    if not np.isfinite(value) or not np.isfinite(without).all():
        return Interval(float(value), float("nan"), float("nan"))
    blocks = len(without)
    error = np.sqrt((blocks - 1) / blocks * np.square(without - without.mean()).sum())
    reach = float(stats.t.ppf(0.975, blocks - 1) * error)
    return Interval(float(value), float(value) - reach, float(value) + reach)


def _rows_added(values: np.ndarray, row: np.ndarray, sums: np.ndarray) -> None:
    for i in range(len(row)):
        if row[i] < 0:
            continue
        target = sums[row[i]]
        own = values[i]
        for column in range(len(own)):
            target[column] += own[column]


_add_rows = compiled(_rows_added)
