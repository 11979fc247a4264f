"""Errors say the near names."""

from __future__ import annotations

import pytest

from asr_introspect.errors import UsageError, known_names, unknown_name


def test_near_names_and_known_names_are_said() -> None:
    error = unknown_name("layer", "layr9", [f"layer{i}" for i in range(8, 11)])
    assert isinstance(error, UsageError)
    assert str(error).startswith("unknown layer 'layr9'; did you mean 'layer9'")
    assert str(error).endswith("(known: layer8, layer9, layer10)")


def test_a_name_like_none_of_them() -> None:
    assert "did you mean" not in str(unknown_name("method", "zzz", ["gradient", "lrp"]))


def test_long_lists_are_cut() -> None:
    message = str(unknown_name("unit", "x", range(1000)))
    assert message.endswith(", ...)")
    assert len(message) < 400


def test_known_names_are_kept_once_in_their_order_and_others_are_refused() -> None:
    assert known_names("split", ["sex", "right", "sex"], ("right", "sex")) == ("sex", "right")
    with pytest.raises(UsageError, match="unknown split 'rigth'; did you mean 'right'"):
        known_names("split", ["sex", "rigth"], ("right", "sex"))
