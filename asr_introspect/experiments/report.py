"""Renders what a run folder holds: one page, the same as text, and static heat maps."""

from __future__ import annotations

from pathlib import Path

from asr_introspect.files import locked, write_text
from asr_introspect.progress import say
from asr_introspect.reporting.heatmaps import write_heat_maps
from asr_introspect.reporting.page import render, views
from asr_introspect.reporting.run import read_run
from asr_introspect.reporting.text import render_text

LARGE = 5_000_000
"""Bytes beyond which a page is awkward to send around; the user is told."""


def report(run: Path | str) -> Path:
    """Writes ``report.html``, ``report.md`` and ``heatmaps/`` into a run folder; returns the page.

    Needs nothing but the folder: neither the recogniser nor the speech, and never torch. The page is one
    file without outside requests.

    Raises
    ------
    IntrospectError
        The folder is missing, not of a run, damaged, of a newer version, in use by another run, or cannot be
        written to.
    """
    folder = Path(run)
    found = read_run(folder)
    page = folder / "report.html"
    with locked(folder):
        seen = views(found)
        html = render(seen)
        write_text(page, html)
        write_text(folder / "report.md", render_text(seen))
        write_heat_maps(found.clusters, folder / "heatmaps")  # last: a first time they take longest by far
    if len(html) > LARGE:
        say(f"{page} is large ({len(html) / 1e6:.1f} MB)")
    return page
