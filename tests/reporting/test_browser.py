"""The page in a browser: it asks for nothing, moves as it should, and can be read with scripts off."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_introspect.reporting.page import render, views
from asr_introspect.reporting.patterns import patterns_views
from asr_introspect.reporting.run import read_run
from tests.reporting.synthetic import LAYERS

CHROMIUM = Path(os.environ.get("ASR_INTROSPECT_CHROMIUM", "/usr/bin/chromium"))
# Without these Chromium asks its maker's servers for updates at every start.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.speech
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; ASR_INTROSPECT_CHROMIUM names another place")
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser: playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(stored_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(views(read_run(stored_run))), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Opener]:
    """Opens the page and, when the test ends, insists that it neither complained nor asked for anything."""
    contexts, complaints, requests = [], [], []

    def opened(
        width: int = 1200,
        *,
        scripts: bool = True,
        scheme: str = "light",
        before: str = "",
        ready: bool = True,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        if before:
            page.add_init_script(before)
        page.goto(address)
        if scripts and ready:
            page.wait_for_selector("#utterance[data-ready]")
            page.wait_for_selector("#stepper[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url[:80] for url in requests if url != address and not url.startswith("data:")] == []


def overlay(page: Any) -> str:
    return str(page.eval_on_selector("#overlay", "canvas => canvas.toDataURL()"))


def test_pointing_at_a_letter_shows_its_relevance(open_page: Opener) -> None:
    page = open_page()
    empty = overlay(page)
    assert page.locator("#sentence").is_visible()
    letters = page.locator(".letter")
    letters.nth(5).hover()
    fifth = overlay(page)
    assert fifth != empty
    assert not page.locator("#sentence").is_visible()
    assert "written at" in page.locator("#readout").inner_text()
    letters.nth(9).hover()
    assert overlay(page) not in (empty, fifth)
    page.locator("h1").hover()
    assert overlay(page) == empty
    assert page.locator("#sentence").is_visible()


def test_the_overlay_is_the_stored_relevance(open_page: Opener, stored_run: Path) -> None:
    """Signs of the drawn pixels against the arrays of the run."""
    page = open_page()
    page.locator(".letter").nth(20).hover()
    drawn = page.evaluate(
        "() => { const c = document.querySelector('#overlay');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const out = []; for (let i = 0; i < d.length; i += 4)"
        "  out.push(d[i + 3] ? (d[i] > d[i + 2] ? 1 : -1) : 0);"
        "return out; }"
    )
    relevance = read_run(stored_run).relevance
    assert relevance is not None
    frames, start = relevance.spectrogram.shape[1], int(relevance.starts[20])
    window = relevance.windows[20].astype(float)
    strong = abs(window) > 0.1 * abs(window).max()
    assert strong.sum() > 100
    for band, frame in zip(*strong.nonzero(), strict=True):
        place = (window.shape[0] - 1 - band) * frames + start + frame  # low frequencies lie at the bottom
        assert drawn[place] == (1 if window[band, frame] > 0 else -1)


def test_pointing_at_the_picture_takes_the_nearest_letter(open_page: Opener) -> None:
    page = open_page()
    box = page.locator("#picture").bounding_box()
    page.locator("#picture").hover(position={"x": 0.5 * box["width"], "y": 40})
    current = page.locator(".letter.current")
    assert current.count() == 1
    middle = current.bounding_box()
    assert abs(middle["x"] + middle["width"] / 2 - box["x"] - box["width"] / 2) < 20


def test_the_keyboard_goes_from_letter_to_letter(open_page: Opener) -> None:
    page = open_page()
    page.locator(".letter").first.focus()
    first = overlay(page)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.index") == "1"
    assert overlay(page) != first
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.index") == str(page.locator(".letter").count() - 1)
    page.keyboard.press("Escape")
    assert page.locator("#sentence").is_visible()


def test_a_letter_can_be_heard(open_page: Opener) -> None:
    page = open_page()
    page.wait_for_function("document.querySelector('audio').readyState >= 1")
    assert abs(page.evaluate("document.querySelector('audio').duration") - 5.6) < 0.05
    page.locator(".letter").nth(30).click()
    page.wait_for_function("document.querySelector('audio').currentTime > 0.5")
    assert page.locator(".mark.play").is_visible()


def test_the_slider_changes_the_heat_map(open_page: Opener) -> None:
    page = open_page()
    shown = page.locator("#stepper figure:visible")
    assert shown.count() == 1
    assert shown.get_attribute("id") == "map-letters-gradient-9"
    before = shown.locator("image").get_attribute("href")
    page.locator("#layer").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#layer-name").inner_text().replace("\xa0", " ") == "layer 10"
    assert shown.get_attribute("id") == "map-letters-gradient-10"
    assert shown.locator("image").get_attribute("href") != before
    page.get_by_role("radio", name="Phonemes, at the step nearest their middle", exact=True).check()
    assert shown.get_attribute("id") == "map-phonemes-none-10"


def test_pointing_at_a_cell_names_its_distance(open_page: Opener) -> None:
    page = open_page()
    svg = page.locator("#stepper figure:visible svg")
    svg.hover(position={"x": 200, "y": 60})
    page.wait_for_timeout(100)
    svg.hover(position={"x": 201, "y": 60})
    assert "–" in page.locator("#stepper figure:visible .cell").inner_text()


def drawn(page: Any, name: str) -> list[int]:
    """The pixels of a letter's picture, red, green, blue, opacity."""
    found: list[int] = page.evaluate(
        """name => {
            const tile = [...document.querySelectorAll('.patternset:not([hidden]) li[data-index]')].find(
                item => item.querySelector('h4 span').textContent === name);
            const canvas = tile.querySelector('canvas');
            return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
        }""",
        name,
    )
    return found


def test_patterns_switch_between_averages_and_what_is_shown(open_page: Opener, stored_run: Path) -> None:
    page = open_page()
    wait = "#patterns[data-drawn='{}']".format
    page.wait_for_selector(wait("letters groups all"))
    (view, _) = patterns_views(read_run(stored_run))
    first = drawn(page, "A")
    # The canvas starts as the very picture that stands in the page without scripts.
    colours = view.data["colours"]
    data = base64.b64decode(view.letters[0].pattern.partition(",")[2])
    at = data.index(b"IDAT")
    size = int.from_bytes(data[at - 4 : at])
    indices = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + size]), np.uint8).reshape(128, 207)[:, 1:]
    wanted = np.array(colours)[indices]
    np.testing.assert_array_equal(np.array(first).reshape(128, 206, 4)[..., :3], wanted)
    seen = {"groups": first}
    page.check("#pattern-only")
    page.wait_for_selector(wait("letters groups only"))
    seen["only"] = drawn(page, "A")
    middle = colours[(view.data["levels"] - 1) // 2]
    veiled = np.array(seen["only"]).reshape(128, 206, 4)[..., :3][indices >= view.data["levels"]]
    assert (veiled == middle).all()
    page.uncheck("#pattern-only")
    page.check("input[name=pattern-average][value=counts]")
    page.wait_for_selector(wait("letters counts all"))
    seen["counts"] = drawn(page, "A")
    page.check("input[name=pattern-shown][value=mean]")
    page.wait_for_selector(wait("letters mean all"))
    seen["mean"] = drawn(page, "A")
    assert page.locator("#pattern-only").is_disabled()
    assert page.locator(".patternset:visible .low").inner_text() == f"−{view.mean_limit}"
    assert len({tuple(pixels) for pixels in seen.values()}) == 4
    page.check("input[name=pattern-labels][value=phonemes]")
    page.wait_for_selector(wait("phonemes mean all"))
    assert page.locator(".patternset:visible li[data-index] h4 span").first.inner_text() == "AA"


def test_a_cell_of_a_pattern_is_read_under_the_cursor(open_page: Opener, stored_run: Path) -> None:
    page = open_page()
    page.wait_for_selector("#patterns[data-drawn]")
    run = read_run(stored_run)
    stored = run.patterns["letters"]
    canvas = page.locator(".patternset:visible li[data-index] canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    frame, band = 101, 60
    place = {"x": box["width"] * (frame + 0.5) / 206, "y": box["height"] * (127.5 - band) / 128}
    canvas.hover(position=place)
    kept = [i for i, g in enumerate(stored.groups) if g.isalpha() and stored.count[i].max() >= 10]
    a = stored.groups.index("A")
    value = stored.mean[a, band, frame] - stored.mean[kept].mean(0)[band, frame]
    said = page.locator("#pattern-readout").inner_text()
    assert said.startswith(f"A at {round(stored.frequencies[band]):,} Hz, 0 ms: ")
    shown = float(said.split(": ")[1].split(",")[0].replace("−", "-"))
    (view, _) = patterns_views(run)
    assert shown == pytest.approx(value, abs=view.data["limit"] / 48 + 0.006)
    assert "chance" in said


def test_a_pattern_is_heard(open_page: Opener) -> None:
    page = open_page()
    page.wait_for_selector("#patterns[data-drawn]")
    assert page.locator("#patterns audio:visible").count() == 0
    button = page.locator("#patterns .hear:visible").first
    button.click()
    assert button.inner_text() == "■"
    page.wait_for_selector("#patterns:not(:has(.playing))", timeout=10_000)
    assert button.inner_text() == "▶"


def test_scripts_off_it_can_be_read(open_page: Opener) -> None:
    page = open_page(scripts=False)
    assert page.locator("#sentence").is_visible()
    assert page.locator("#stepper figure:visible").count() == 4 * len(LAYERS)
    assert not page.locator("#layer").is_visible()
    assert page.locator(".patterns li:visible").count() > 50  # letters and phonemes, one after the other
    assert page.locator(".patternset > h3:visible").count() == 2
    assert page.locator("#patterns audio:visible").count() == 4
    assert not page.locator("#pattern-controls").is_visible()
    assert page.locator("#curves svg:visible").count() > 3
    assert page.locator("noscript").first.is_visible()
    assert page.locator(".findings li:visible").count() == 2


def test_an_old_browser_shows_the_sum_and_says_so(open_page: Opener) -> None:
    page = open_page(before="delete window.DecompressionStream", ready=False)
    page.wait_for_selector("#stepper[data-ready]")
    assert page.locator("#sentence").is_visible()
    assert "a newer one can" in page.locator("#readout").inner_text()
    page.wait_for_selector("#pattern-controls", state="hidden")
    assert page.locator(".patterns img:visible").count() > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 800, 1600])
def test_nothing_sticks_out(open_page: Opener, width: int, scheme: str) -> None:
    page = open_page(width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(open_page: Opener, scheme: str) -> None:
    """Contrast of every text colour with both grounds: at least 4.5 to 1 (WCAG AA)."""
    page = open_page(scheme=scheme)
    names = ("--paper", "--raised", "--ink", "--soft", "--accent", "--warm")
    text = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
    colours = dict(zip(names, page.evaluate(text, list(names)), strict=True))
    for ground in ("--paper", "--raised"):
        for ink in ("--ink", "--soft", "--accent", "--warm"):
            assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
