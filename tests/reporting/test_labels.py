"""Classes that labels are marked with on the page."""

from __future__ import annotations

import pytest

from asr_introspect.reporting.clusters import view_title
from asr_introspect.reporting.labels import class_of


@pytest.mark.parametrize(
    ("label", "kind", "expected"),
    [
        ("A", "letters", "vowel letter"),
        ("C", "letters-aligned", "consonant letter"),
        (" ", "letters", ""),
        ("AA", "phonemes", "vowel"),
        ("AA1", "phonemes-stressed", "vowel"),
        ("T", "phonemes-stressed", "stop"),
        ("T", "phonemes", "stop"),
        ("letter T", "joint", "consonant letter"),
        ("phone T", "joint", "stop"),
        ("x", "my own labels", ""),
        ("AA", "my own labels", ""),
    ],
)
def test_classes(label: str, kind: str, expected: str) -> None:
    assert class_of(label, kind) == expected


def test_titles_of_maps() -> None:
    assert view_title("letters", "gradient") == "Letters, aligned by gradient"
    assert view_title("letters-aligned", "none") == (
        "Letters by forced alignment, at the likeliest step of their span"
    )
    assert view_title("breaths & pauses", "none") == "breaths & pauses, at the step nearest their time"
