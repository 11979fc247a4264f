"""The page and its text: what must be on them, and what must never be."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from asr_introspect.reporting.page import render, views
from asr_introspect.reporting.patterns import LEVELS, patterns_views, veiled_palette
from asr_introspect.reporting.run import read_run
from asr_introspect.reporting.summary import command_line, summary_view
from asr_introspect.reporting.tables import read_table
from asr_introspect.reporting.text import escaped, render_text
from asr_introspect.reporting.timing import timing_view
from asr_introspect.reporting.utterance import utterance_view
from tests.reporting.synthetic import HOSTILE, write_run


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles, of a parsed page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data


@pytest.fixture(scope="module")
def html(stored_run: Path) -> str:
    return render(views(read_run(stored_run)))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def changed(stored_run: Path, place: Path, name: str, **values: Any) -> Path:
    """A copy of the run with other values in one of its JSON files."""
    folder = Path(shutil.copytree(stored_run, place / "run"))
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**record, **values}))
    return folder


def test_the_first_line_says_that_voices_are_synthetic(page: Page) -> None:
    assert (
        page.text.split("Skip to the findings")[1]
        .strip()
        .startswith("The voices in this report are synthetic")
    )


def test_nothing_of_the_run_becomes_markup(html: str, page: Page) -> None:
    assert HOSTILE in page.text
    assert "<script>alert(1)</script>.flac" in page.text
    assert "demo/<i>0</i>" in page.text
    assert "consonants & <others>" in page.text
    assert "<b>Ann" not in html
    assert "alert(1)</script>" not in html
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == 4  # three blocks of data and the page's own script


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "poster", "xlink:href"):
            address = attributes.get(name)
            if address is None:
                continue
            if tag == "a":
                assert re.fullmatch(r"#[\w-]+|[\w-]+\.(csv|h5|json|md)|heatmaps/|audio/patterns/", address), (
                    address
                )
            else:
                assert address.startswith("data:"), address[:60]
    assert "url(" not in page.text
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_everything_has_a_name(page: Page) -> None:
    """Pictures have alternatives, controls have labels, ids are unique, links of the page lead somewhere."""
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            assert attributes.get("aria-label")
        if tag == "a" and (attributes["href"] or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
        if tag == "button":
            assert attributes.get("aria-label")


def test_the_page_is_small_and_every_section_is_there(html: str, page: Page) -> None:
    assert len(html) < 5_000_000
    for words in (
        "26.2\N{NO-BREAK SPACE}%",
        "24.2 to 28.2",
        "Letters are emitted 24 ms after",
        "no difference",
        "median letter error among utterances of 4 to 8 seconds",
        "euclidean, average linkage",
        "asr-introspect introspect --corpus 'data/my demo' --out runs/demo",
        "torch 2.13.0",
        "c0ffee" * 10,
        "before subtraction",
        "Cells under a pale veil are no more than chance gives",
        "Mean cosine to gradient × input 0.83",
    ):
        assert words in page.text, words


@pytest.mark.parametrize(
    ("error", "training", "said"),
    [
        (0.20, {}, None),
        (0.262, {}, "26.2\N{NO-BREAK SPACE}% on this corpus"),
        (0.262, {"error": 0.18}, None),
        (0.10, {"error": 0.31}, "31.0\N{NO-BREAK SPACE}% on its development speakers"),
        (0.10, {"error": 0.31, "test_error": 0.2}, None),
    ],
)
def test_a_weak_recogniser_is_called_one(
    tmp_path: Path, error: float, training: dict[str, float], said: str | None
) -> None:
    write_run(tmp_path / "run", synthetic=False, letter_error=error, phonemes=False, utterances=1)
    record = json.loads((tmp_path / "run" / "model.json").read_text())
    (tmp_path / "run" / "model.json").write_text(json.dumps({**record, "training": training}))
    notices = summary_view(read_run(tmp_path / "run")).notices
    assert bool(notices) == (said is not None)
    if said:
        assert said in notices[0]


def test_a_stopped_run_says_so(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    record["parts"]["introspect"]["complete"] = False
    (folder / "run.json").write_text(json.dumps(record))
    assert "stopped before it was complete" in " ".join(summary_view(read_run(folder)).notices)


PARTS = {
    "findings.json": "holds no findings",
    "relevance.h5": "holds no relevance of an utterance",
    "patterns.h5": "no letter patterns",
    "lags.csv": "There are no lags in this run",
    "skipped.csv": "every item of the corpus was used",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_is_named_with_its_remedy(stored_run: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    (folder / name).unlink()
    seen = views(read_run(folder))
    assert PARTS[name] in Page(render(seen)).text
    assert render_text(seen)


def test_a_run_with_nothing_but_its_record_is_a_page(stored_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((stored_run / "run.json").read_text())
    seen = views(read_run(tmp_path))
    text = Page(render(seen)).text
    for words in ("no findings", "no error rates", "no relevance", "neither offsets nor lags", "no clusters"):
        assert words in text
    assert "does not hold this part" in render_text(seen)


def test_one_utterance_without_phonemes_is_a_page(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", utterances=1, phonemes=False))
    text = Page(render(views(run))).text
    assert "No phonemes in this run" in text
    assert "--alignments FOLDER" in text


def test_letters_stand_at_their_steps_and_do_not_overlap(stored_run: Path) -> None:
    run = read_run(stored_run)
    view = utterance_view(run)
    assert view is not None
    assert run.relevance is not None
    for letter, step in zip(view.letters, run.relevance.steps, strict=True):
        assert letter.seconds == pytest.approx((2 * step + 1.5) * 0.01)
        assert letter.left == pytest.approx(100 * (2 * step + 2) / view.frames, abs=1e-3)
    for row in range(view.rows):
        places = [letter.left * view.width / 100 for letter in view.letters if letter.row == row]
        assert np.diff(places).min(initial=99) >= 16.9


def test_a_long_utterance_is_cut_and_its_maps_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_introspect.reporting.utterance.SHOWN_SECONDS", 3)
    monkeypatch.setattr("asr_introspect.reporting.utterance.WINDOW_BUDGET", 40_000)
    view = utterance_view(read_run(write_run(tmp_path / "run", utterances=1)))
    assert view is not None
    assert (view.cut, view.frames) == (True, 300)
    assert all(letter.seconds < 3.03 for letter in view.letters)
    assert view.pooled > 1
    assert len(view.windows) <= 40_000
    assert view.window_shape == (len(view.letters), -(-128 // view.pooled), -(-206 // view.pooled))


def test_patterns_are_means_less_the_mean_over_letters(stored_run: Path) -> None:
    """Ratios against a direct computation; space and apostrophe stay outside the mean."""
    run = read_run(stored_run)
    (view, _) = patterns_views(run)
    stored = run.patterns["letters"]
    kept = [i for i, g in enumerate(stored.groups) if g.isalpha() and stored.count[i].max() >= 10]
    grand = sum(stored.mean[i] for i in kept) / len(kept)
    for shown in view.letters:
        at = stored.groups.index({"space": " ", "apostrophe": "'"}.get(shown.name, shown.name))
        ratio = np.linalg.norm(grand) / np.linalg.norm(stored.mean[at] - grand)
        assert float(shown.ratio) == pytest.approx(ratio, abs=0.051)
        assert shown.outside == (at not in kept)


def test_rare_letters_are_listed_not_drawn(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    with h5py.File(folder / "patterns.h5", "a") as file:
        count = file["letters/count"][()]
        count[2] = 3
        file["letters/count"][...] = count
    (view, _) = patterns_views(read_run(folder))
    assert "A (3)" in view.left_out
    assert "A" not in {shown.name for shown in view.letters}


def pixels(address: str) -> np.ndarray:
    """The palette indices of a picture in the page."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    at = data.index(b"IDAT")
    size = int.from_bytes(data[at - 4 : at])
    width, height = (int.from_bytes(data[i : i + 4]) for i in (16, 20))
    rows = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + size]), np.uint8)
    return rows.reshape(height, width + 1)[:, 1:]


def test_cells_that_chance_gives_are_veiled(stored_run: Path) -> None:
    run = read_run(stored_run)
    (view, _) = patterns_views(run)
    stored = run.patterns["letters"]
    kept = [i for i, g in enumerate(stored.groups) if g.isalpha() and stored.count[i].max() >= 10]
    grand = stored.mean[kept].mean(0)
    for shown in view.letters[:5]:
        at = stored.groups.index(shown.name)
        pattern = stored.mean[at] - grand
        beyond = (np.abs(pattern) > 4.5 * stored.error["groups"][at])[::-1]
        found = pixels(shown.pattern)
        np.testing.assert_array_equal(found < LEVELS, beyond)
        assert 0.001 < beyond.mean() < 0.99
        assert float(shown.share.split("\N{NO-BREAK SPACE}")[0]) == pytest.approx(
            100 * beyond.mean(), abs=0.051
        )
        limit = view.data["limit"]
        level = (LEVELS - 1) * (np.clip(pattern, -limit, limit)[::-1] / limit + 1) / 2
        np.testing.assert_allclose(found % LEVELS, level, atol=0.501)
    palette = veiled_palette().astype(int)
    assert (palette[LEVELS:] >= palette[:LEVELS]).all()


def test_by_counts_the_average_is_another(stored_run: Path) -> None:
    run = read_run(stored_run)
    (view, _) = patterns_views(run)
    stored = run.patterns["letters"]
    kept = [i for i, g in enumerate(stored.groups) if g.isalpha() and stored.count[i].max() >= 10]
    weights = stored.count[kept, 0].astype(float)
    shift = stored.mean[kept].mean(0) - np.average(stored.mean[kept], axis=0, weights=weights)
    packed = np.frombuffer(zlib.decompress(base64.b64decode(view.data["shift"])), np.uint8)
    limit = view.data["shift_limit"]
    found = (packed.reshape(shift.shape)[::-1].astype(float) - 128) / 127 * limit
    np.testing.assert_allclose(found, shift, atol=limit / 127)
    at = stored.groups.index(view.letters[0].name)
    mask = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(view.letters[0].mask)), np.uint8))
    pattern = stored.mean[at] - stored.mean[kept].mean(0) + shift
    beyond = np.abs(pattern) > 4.5 * stored.error["counts"][at]
    np.testing.assert_array_equal(mask.reshape(beyond.shape)[::-1].astype(bool), beyond)


def test_patterns_without_standard_errors_are_shown_and_say_why(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    with h5py.File(folder / "patterns.h5", "a") as file:
        for name in ("error", "threshold"):
            del file["letters"][name]
        file["letters"].attrs["errors_missing"] = "x.flac is <gone>"
    seen = views(read_run(folder))
    text = Page(render(seen)).text
    assert "x.flac is <gone>" in text
    assert "there are no standard errors" in text
    assert seen.patterns[0].share == "" == seen.patterns[0].letters[0].share
    assert (pixels(seen.patterns[0].letters[0].pattern) < LEVELS).all()
    assert "No standard errors" in render_text(seen)


def test_sounds_of_patterns_are_in_the_page(stored_run: Path) -> None:
    (view, _) = patterns_views(read_run(stored_run))
    for address in (view.average_sound, next(shown.sound for shown in view.letters if shown.sound)):
        kind, _, data = address.partition(",")
        assert kind == "data:audio/mpeg;base64"
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate == 16000
        assert abs(len(sound) - 8000) < 2500
        assert len(data) < 12_000


def test_a_sound_outside_the_run_is_not_read(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    shutil.copyfile(folder / "audio/patterns/letters-00.flac", tmp_path / "other.flac")
    with h5py.File(folder / "patterns.h5", "a") as file:
        file["letters"].attrs["average_sound"] = "../other.flac"
    assert read_run(folder).patterns["letters"].average_sound is None


def test_what_the_page_has_no_room_for_is_named(stored_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr_introspect.reporting.patterns.MOST_DRAWN", 40)
    seen = views(read_run(stored_run))
    assert [view.labels for view in seen.patterns] == ["letters"]
    assert "Not drawn, to keep the page small: phonemes" in Page(render(seen)).text


def test_parts_of_groups_are_not_drawn(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    before = [shown.name for shown in patterns_views(read_run(folder))[0].letters]
    with h5py.File(folder / "patterns.h5", "a") as file:
        names = file["letters/group"].asstr()[:].tolist()
        last = names.index(before[-1]) if before[-1] in names else 0
        names[last] = "B|right"
        file["letters/group"][...] = names
    after = [shown.name for shown in patterns_views(read_run(folder))[0].letters]
    assert len(after) == len(before) - 1
    assert not any("|" in name for name in after)


def test_offsets_are_told_from_the_centre_of_the_step(stored_run: Path) -> None:
    run = read_run(stored_run)
    view = timing_view(run)
    assert view is not None
    steps = {row["instance"]: int(row["step"]) for row in read_table(stored_run / "instances.csv")}
    offsets = [
        10 * (float(row["input"]) - 2 * steps[row["instance"]] - 1.5)
        for row in read_table(stored_run / "offsets.csv")
    ]
    median = f"{np.median(offsets):.0f}".replace("-", "\N{MINUS SIGN}")
    assert f"median {median}\N{NO-BREAK SPACE}ms" in view.histograms[0].summary
    assert view.rows[0].what.startswith("emission")


def test_the_text_holds_the_same_and_escapes(stored_run: Path) -> None:
    seen = views(read_run(stored_run))
    text = render_text(seen)
    assert "Letters are emitted 24 ms after" in text
    assert "&lt;script>alert(1)&lt;/script>.flac" in text
    assert text.startswith("> The voices in this report are synthetic")
    for curve in seen.clusters.curves if seen.clusters else ():
        assert curve.rows[0][2] in text
    assert escaped("a|b*\nc") == r"a\|b\* c"


def test_no_torch_is_imported(stored_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stored_run, tmp_path / "run")
    code = (
        "import sys; from asr_introspect.reporting.page import render, views;"
        "from asr_introspect.reporting.run import read_run; import asr_introspect.experiments.report;"
        f"render(views(read_run({str(folder)!r}))); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_is_shown_as_it_is_typed() -> None:
    assert command_line(["/home/me/.venv/bin/asr-introspect", "demo", "--out", "my run"]) == (
        "asr-introspect demo --out 'my run'"
    )
    assert command_line(["/x/asr_introspect/__main__.py", "demo"]) == "python -m asr_introspect demo"
    assert command_line([]) == ""


def test_settings_are_told_in_words(stored_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stored_run, tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    record["parts"]["introspect"]["settings"] = {"fold": 0, "quiet": False, "device": None, "layers": [1, 2]}
    (folder / "run.json").write_text(json.dumps(record))
    made = dict(summary_view(read_run(folder)).made)
    assert made["Settings"] == "fold 0, quiet no, device none, layers [1, 2]"


def test_the_ledger_says_what_stayed_where(stored_run: Path) -> None:
    view = utterance_view(read_run(stored_run))
    assert view is not None
    space = "\N{NO-BREAK SPACE}"
    assert view.ledger == (
        (f"layer{space}12 (output)", "epsilon", "8.00", "0.50", "1.50", "6.00", f"25.0{space}%"),
        (f"layer{space}1", "flat", "6.00", "4.00", "0.00", "2.00", f"50.0{space}%"),
    )


def test_alignment_methods_stand_in_order_with_their_controls(stored_run: Path) -> None:
    view = timing_view(read_run(stored_run))
    assert view is not None
    assert [table.layer.replace("\N{NO-BREAK SPACE}", " ") for table in view.methods] == ["input", "layer 9"]
    space = "\N{NO-BREAK SPACE}"
    first, last = view.methods
    assert [row[0] for row in first.rows] == [
        *("gradient, largest", "forced alignment, likeliest step", "gradient on scrambled phases (control)"),
        *("the step itself", "random place (control)"),
    ]
    assert first.rows[0] == (
        *("gradient, largest", "12.0 (11.0 to 13.0)", "+4.0 (+3.0 to +5.0)", "14.0 (12.0 to 16.0)"),
        f"3.0{space}%",
        *("0.200 (0.190 to 0.210)", f"\N{MINUS SIGN}5{space}ms (\N{MINUS SIGN}10 to 0{space}ms)"),
        *("41 (38 to 45)", f"2.0{space}%"),
    )
    assert first.rows[3][2] == "–"
    assert first.verdict == (
        "Windows agree best at gradient, largest: correlation of two of a letter 0.200 (0.190 to 0.210); the "
        f"letter's mean, less its noise, is 14.0{space}% of their variance, and 3.0{space}% are explained by "
        "the mean over all letters alone; no worse within the interval: forced alignment, likeliest step. "
        "All controls do worse."
    )
    assert last.verdict.endswith(
        "But gradient on scrambled phases, a control, does no worse: trust no alignment here."
    )
    assert view.rests_on.startswith(
        f"On 700 of 2,100{space}letters whose sound is known, in 40{space}utterances"
    )


def test_offsets_have_a_histogram_for_each_layer(stored_run: Path) -> None:
    view = timing_view(read_run(stored_run))
    assert view is not None
    assert [h.layer.replace("\N{NO-BREAK SPACE}", " ") for h in view.histograms] == [
        "input",
        *(f"layer {n}" for n in range(1, 10)),
    ]
    steps = {row["instance"]: int(row["step"]) for row in read_table(stored_run / "instances.csv")}
    # A layer's position i is 10 ms before step i: frames 2i + 0.5 and 2i + 1.5.
    offsets = [
        20 * (float(row["layer9"]) - steps[row["instance"]]) - 10
        for row in read_table(stored_run / "offsets.csv")
    ]
    median = f"{np.median(offsets):.0f}".replace("-", "\N{MINUS SIGN}")
    assert f"median {median}\N{NO-BREAK SPACE}ms" in view.histograms[-1].summary.replace("+", "")
    assert view.by_layer is not None
    names = [row.name.replace("\N{NO-BREAK SPACE}", " ") for row in view.by_layer.rows]
    assert names == ["written", "input", "layer 9"]
