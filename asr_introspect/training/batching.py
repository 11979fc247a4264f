"""Batches of similar length, the same for the same seed, whatever the number of processes."""

from __future__ import annotations

import numpy as np

from asr_introspect.random import generator


def bucketed(lengths: np.ndarray, frames: int, draw: np.random.Generator) -> list[np.ndarray]:
    """One epoch: all items once, in batches of about ``frames`` frames with padding, in random order.

    Items are sorted by length with 10 % of random disturbance, cut into batches, and the batches shuffled.

    Parameters
    ----------
    lengths
        Frames of each item.
    frames
        Largest number of frames in a batch, padding included; a longer item makes a batch of its own.
    """
    order = np.argsort(lengths * draw.uniform(0.95, 1.05, len(lengths)), kind="stable")
    batches: list[list[int]] = []
    longest = 0
    for item in order:
        longest = max(longest, int(lengths[item]))
        if batches and longest * (len(batches[-1]) + 1) <= frames:
            batches[-1].append(int(item))
        else:
            batches.append([int(item)])
            longest = int(lengths[item])
    return [np.array(batches[i]) for i in draw.permutation(len(batches))]


class Batches:
    """The batch of each update: epochs one after another, short utterances first.

    Parameters
    ----------
    lengths
        Frames of each item.
    frames
        Largest number of frames in a batch, padding included.
    short_frames, short_updates
        Epochs that start before ``short_updates`` hold only items of at most ``short_frames`` frames.
    """

    def __init__(
        self, lengths: np.ndarray, frames: int, seed: int, short_frames: int = 0, short_updates: int = 0
    ) -> None:
        self._lengths = lengths
        self._frames = frames
        self._seed = seed
        short = np.flatnonzero(lengths <= short_frames)
        self._short = short if len(short) else np.arange(len(lengths))
        self._short_updates = short_updates
        self._starts = [0]
        self._epochs: dict[int, list[np.ndarray]] = {}

    def items(self, update: int) -> tuple[int, np.ndarray]:
        """The epoch and the items of an update, both counted from 0."""
        while self._starts[-1] <= update:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)))
        epoch = int(np.searchsorted(self._starts, update, side="right")) - 1
        return epoch, self._epoch(epoch)[update - self._starts[epoch]]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._epochs:
            self._epochs = {number: kept for number, kept in self._epochs.items() if number >= epoch - 1}
            draw = generator(self._seed, "batches", epoch)
            if self._starts[epoch] < self._short_updates:
                chosen = bucketed(self._lengths[self._short], self._frames, draw)
                self._epochs[epoch] = [self._short[batch] for batch in chosen]
            else:
                self._epochs[epoch] = bucketed(self._lengths, self._frames, draw)
        return self._epochs[epoch]
