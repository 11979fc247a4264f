"""Every draw has its own seeded stream; the global ones are left alone."""

from __future__ import annotations

import numpy as np
import torch

from asr_introspect.random import generator, torch_generator


def test_the_same_name_gives_the_same_stream_and_another_an_independent_one() -> None:
    drawn = generator(0, "noise", 3, 7).normal(size=1000)
    np.testing.assert_array_equal(drawn, generator(0, "noise", 3, 7).normal(size=1000))
    for other in (
        generator(1, "noise", 3, 7),
        generator(0, "tempo", 3, 7),
        generator(0, "noise", 7, 3),
        generator(0, "noise", 3),
    ):
        assert abs(np.corrcoef(drawn, other.normal(size=1000))[0, 1]) < 0.15


def test_the_numbers_do_not_change_between_machines_and_versions() -> None:
    assert generator(0, "noise", 1).integers(0, 1000, 5).tolist() == [573, 84, 540, 23, 519]


def test_torch_alike() -> None:
    first, second = (torch.rand(100, generator=torch_generator(0, "weights")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(100, generator=torch_generator(1, "weights")))


def test_global_states_are_left_alone() -> None:
    numpy_before, torch_before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    torch.rand(3, generator=torch_generator(0, "x"))
    generator(0, "x").normal()
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
