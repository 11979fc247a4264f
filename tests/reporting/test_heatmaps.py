"""Static heat maps: one per layer, drawn once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from matplotlib.image import imread

from asr_introspect.reporting.heatmaps import primary, write_heat_maps
from asr_introspect.reporting.run import read_run
from tests.reporting.synthetic import LAYERS


def test_of_each_kind_one_offset_is_drawn(stored_run: Path) -> None:
    chosen = {(m.labels, m.offset) for m in primary(read_run(stored_run).clusters)}
    assert chosen == {("letters", "gradient"), ("phonemes", "none"), ("joint", "none")}
    assert len(primary(read_run(stored_run).clusters)) == 3 * len(LAYERS)


def test_a_picture_is_drawn_again_only_when_its_numbers_change(stored_run: Path, tmp_path: Path) -> None:
    m = next(m for m in read_run(stored_run).clusters if m.labels == "letters")
    (path,) = write_heat_maps([m], tmp_path)
    assert path.name == "letters-input.png"
    assert imread(path).shape[:2] == (675, 675)
    first = path.stat().st_mtime_ns
    write_heat_maps([m], tmp_path)
    assert path.stat().st_mtime_ns == first
    write_heat_maps([dataclasses.replace(m, distance=2 * m.distance)], tmp_path)
    assert path.stat().st_mtime_ns != first
