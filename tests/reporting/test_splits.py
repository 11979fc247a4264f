"""The section on parts of groups: from the tables to the page."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from asr_introspect.experiments.run_splits import PAIR_COLUMNS, SPLIT_COLUMNS
from asr_introspect.reporting.page import render, views
from asr_introspect.reporting.run import read_run
from asr_introspect.reporting.splits import splits_views
from asr_introspect.reporting.text import render_text

LAYERS = ("layer12", "input", "layer9")


def with_splits(folder: Path) -> Path:
    """A run folder with nothing but two splits, one of them of a speaker with an awkward name."""
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 1, "parts": {"introspect": {"complete": true}}}')
    with (folder / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SPLIT_COLUMNS)
        for i, layer in enumerate(LAYERS):
            shares = (0.25, 0.2, 0.3, -0.01, 0.02, 0.0099, 0.8, 0.7, 0.9)
            writer.writerow(("letters", "gradient", "phone", layer, 4321, 40, 12, 7, "utterances", *shares))
            writer.writerow(
                ("letters", "gradient", "speaker", layer, 99, 4, 2, 0, "utterances", 0.1 * i, *("",) * 8)
            )
    with (folder / "split_pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(PAIR_COLUMNS)
        for layer in LAYERS:
            for group, first, second in (("C", "K", "S"), (" ", "<b>", "a|b")):
                row = ("letters", "gradient", "phone", layer, group, first, 120, second, 34, 0.5, 0.4, 0.6)
                writer.writerow(row)
    return folder


def test_shares_and_pairs_are_shown_with_their_counts(tmp_path: Path) -> None:
    run = read_run(with_splits(tmp_path / "run"))
    phone, speaker = splits_views(run)
    assert phone.title == "Letters, by the phone they spell"
    assert [row[0] for row in phone.rows] == [
        "input",
        "layer\N{NO-BREAK SPACE}9",
        "layer\N{NO-BREAK SPACE}12 (output)",
    ]
    assert phone.rows[0][1:4] == ("0.25", "0.20 to 0.30", "−0.01 to 0.02")
    assert "4,321 instances in 40 parts of 12 letters" in phone.rests_on
    assert "7 parts with fewer left out" in phone.rests_on
    assert phone.pairs[0][:3] == ("C", "K (120)", "S (34)")
    assert phone.pairs[0][3] == "0.50 ± 0.10"
    assert phone.pairs[1][0] == "space"
    assert phone.picture.count("<circle") == 3
    assert phone.picture.count('class="beyond"') == 3
    assert speaker.picture.count('class="beyond"') == 0
    assert speaker.rows[0][2] == "–"
    assert speaker.pairs == ()


def test_on_the_page_and_in_the_text(tmp_path: Path) -> None:
    seen = views(read_run(with_splits(tmp_path / "run")))
    page = render(seen)
    section = page[page.index('<section id="splits">') : page.index('<section id="skipped">')]
    assert 'href="#splits"' in page
    assert "K (120)" in section
    assert "&lt;b&gt; (120)" in section
    assert "<b>" not in section
    assert re.search(r'<svg class="chart"[^>]*aria-label="Letters, by the phone they spell', section)
    text = render_text(seen)
    assert "### Letters, by the phone they spell" in text
    assert "a\\|b (34)" in text


def test_a_run_without_splits_has_no_section(tmp_path: Path) -> None:
    folder = with_splits(tmp_path / "run")
    (folder / "splits.csv").unlink()
    page = render(views(read_run(folder)))
    assert 'id="splits"' not in page
    assert 'href="#splits"' not in page
