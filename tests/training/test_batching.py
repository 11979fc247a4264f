"""Batches: every item once an epoch, bounded size, same for the same seed."""

from __future__ import annotations

import numpy as np

from asr_introspect.random import generator
from asr_introspect.training.batching import Batches, bucketed

LENGTHS = generator(5, "lengths").integers(50, 1600, size=400)


def test_an_epoch_holds_every_item_once_in_bounded_batches() -> None:
    batches = bucketed(LENGTHS, 4000, generator(0, "batches"))
    assert sorted(np.concatenate(batches).tolist()) == list(range(400))
    assert max(LENGTHS[batch].max() * len(batch) for batch in batches) <= 4000
    padding = 1 - LENGTHS.sum() / sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert padding < 0.1


def test_an_item_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    batches = bucketed(np.array([100, 9000, 120]), 4000, generator(0, "batches"))
    assert [1] in [batch.tolist() for batch in batches]


def test_any_update_can_be_asked_for_first() -> None:
    forward = Batches(LENGTHS, 4000, seed=1, short_frames=800, short_updates=60)
    wanted = [forward.items(update) for update in range(250)]
    for update in (249, 100, 0, 63):
        epoch, items = Batches(LENGTHS, 4000, seed=1, short_frames=800, short_updates=60).items(update)
        assert epoch == wanted[update][0]
        np.testing.assert_array_equal(items, wanted[update][1])


def test_short_utterances_come_first() -> None:
    batches = Batches(LENGTHS, 4000, seed=1, short_frames=800, short_updates=60)
    early = np.concatenate([batches.items(update)[1] for update in range(60)])
    late = np.concatenate([batches.items(update)[1] for update in range(200, 300)])
    assert LENGTHS[early].max() <= 800
    assert LENGTHS[late].max() > 1500
