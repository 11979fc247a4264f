"""Moments of windows by cross-spectra against direct sums, one layer, in processor seconds of one thread.

``python tests/benchmarks/cross_spectra.py``

Cross-spectra: transform activations, their squares and each group's train of instances along time, add up
``conj(train) * activation`` over a batch per frequency, transform back once per batch, keep the wanted lags.
Random activations of batches of 20 and 60 s, 14 instances a second (letters or phonemes of read speech).
"""

from __future__ import annotations

import time

import numpy as np
import scipy.fft

from asr_introspect.introspection.moments import Activations, WindowSet, window_moments
from asr_introspect.random import generator

GROUPS, CHANNELS = 29, 128


def cross_spectra(
    values: np.ndarray, item: np.ndarray, at: np.ndarray, group: np.ndarray, first: int, positions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sums of squares ``(P, G, C)``, in the type of the values."""
    batch, _, length = values.shape
    size = scipy.fft.next_fast_len(length + positions, real=True)
    trains = np.zeros((batch, GROUPS, length), values.dtype)
    np.add.at(trains, (item, group, at), 1)
    labels = scipy.fft.rfft(trains, size).conj().transpose(2, 1, 0)
    lags = (first + np.arange(positions)) % size
    found = []
    for signal in (values, np.square(values)):
        spectra = scipy.fft.rfft(signal, size).transpose(2, 0, 1)
        found.append(scipy.fft.irfft(labels @ spectra, size, axis=0)[lags])
    return found[0], found[1]


def main() -> None:
    print(f"{'layer':>10}{'batch':>8}{'direct ms':>11}{'float64 ms':>12}{'float32 ms':>12}{'deviation':>11}")
    random = generator(0, "cross-spectra")
    for name, rate, positions in (
        ("layer1", 50, 80),
        ("layer5", 50, 56),
        ("layer9", 50, 32),
        ("input", 100, 206),
    ):
        for items in (2, 6):
            length, count = 10 * rate, 10 * items * 14
            values = np.maximum(random.normal(size=(items, CHANNELS, length)), 0).astype(np.float32)
            item, group = random.integers(0, items, count), random.integers(0, GROUPS, count)
            at = random.integers(0, length, count)
            centre = values.mean((0, 2), dtype=np.float64)
            batches = [Activations(values, np.full(items, length))]
            windows = WindowSet(tuple(map(str, range(GROUPS))), np.zeros_like(item), item, at, group)
            first, seconds = -(positions // 2), {}
            for kind in ("direct", "float64", "float32"):
                centred = (values - centre[:, None]).astype(kind if kind != "direct" else np.float32)
                spent = []
                for _ in range(4):
                    started = time.process_time()
                    if kind == "direct":
                        (moments,) = window_moments(batches, [windows], first, positions, centre=centre)
                    else:
                        sums, _squares = cross_spectra(centred, item, at, group, first, positions)
                    spent.append(time.process_time() - started)
                seconds[kind] = 1000 * min(spent)
                if kind == "float64":
                    means = centre + sums.transpose(1, 0, 2) / np.maximum(moments.count, 1)[:, :, None]
                    known = moments.count > 0
                    deviation = np.abs(means - moments.mean.transpose(0, 2, 1))[known].max()
            print(
                f"{name:>10}{10 * items:6} s{seconds['direct']:11.1f}{seconds['float64']:12.1f}"
                f"{seconds['float32']:12.1f}{deviation:11.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
