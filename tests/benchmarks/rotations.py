"""The rotation threshold against the same statistics by matrix products, draw by draw.

    .venv/bin/python -m tests.benchmarks.rotations

Both do one position of the windows of 60 utterances of 166 instances, in processor seconds of one thread; the
last column is what 1,000 draws over all 206 positions take.
"""

from __future__ import annotations

import time

import numpy as np

from asr_introspect.introspection.pattern_errors import UtteranceWindows
from asr_introspect.introspection.rotations import largest_statistics

UTTERANCES, INSTANCES, GROUPS, BANDS, DRAWS, POSITIONS = 60, 166, 29, 128, 400, 206


def by_products(
    utterances: list[UtteranceWindows], turns: np.ndarray, inside: np.ndarray, position: int
) -> np.ndarray:
    """The definition with one-hot labels, in float32, for windows that all lie inside their utterance."""
    found = np.zeros((len(turns), len(inside)))
    windows = [spoken.rows[spoken.position + position] for spoken in utterances]
    for draw, turned in enumerate(turns):
        sums, counts = [], []
        for spoken, own, turn in zip(utterances, windows, turned, strict=True):
            hot = np.eye(len(inside), dtype=np.float32)[np.roll(spoken.group, -turn)]
            sums.append(hot.T @ own)
            counts.append(hot.sum(0))
        of, number = np.stack(sums), np.stack(counts)[..., None]
        total = number.sum(0)
        mean = of.sum(0) / total
        deviation = (of - number * mean) / total
        difference = deviation - deviation[:, inside].mean(1, keepdims=True)
        error = np.sqrt((difference**2).sum(0))
        found[draw] = (np.abs(mean - mean[inside].mean(0)) / error).max(1)
    return found


def main() -> None:
    """Prints both times and their ratio."""
    random = np.random.default_rng(0)
    frequency = random.dirichlet(np.full(GROUPS, 2.0))
    utterances = []
    for _ in range(UTTERANCES):
        rows = random.normal(size=(7 * INSTANCES, BANDS)).astype(np.float32)
        position = np.sort(random.choice(len(rows), INSTANCES, replace=False))
        utterances.append(UtteranceWindows(rows, position, random.choice(GROUPS, INSTANCES, p=frequency)))
    inside = np.arange(GROUPS) < 26
    some = np.arange(16) * INSTANCES // 16
    turns = some[random.integers(0, 16, (DRAWS, UTTERANCES))]
    largest_statistics(utterances, turns[:2], inside, 0, 1)  # compiles
    seconds, results = [], []
    for compute in (
        lambda: largest_statistics(utterances, turns, inside, 0, 1),
        lambda: by_products(utterances, turns, inside, 0),
    ):
        begin = time.process_time()
        results.append(compute())
        seconds.append(time.process_time() - begin)
    np.testing.assert_allclose(*results, rtol=1e-3)
    whole = seconds[0] * POSITIONS * 1000 / DRAWS
    print(
        f"rotations {seconds[0]:.3f} s, products {seconds[1]:.3f} s, {seconds[1] / seconds[0]:.1f} times",
        end="",
    )
    print(f"; 1,000 draws of a whole map {whole:.0f} s")


if __name__ == "__main__":
    main()
