"""``asr-introspect report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Common
from asr_introspect.experiments.report import report as render_report


def report(
    run: Annotated[Path, Parameter(help="A run folder, as introspect writes it.")],
    *,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Render the page of a run again, from what its folder holds.

    Writes report.html (one file, to be opened in any browser or sent around), report.md (the same as text)
    and heatmaps/ (cluster heat maps as PNG) into RUN. Neither the recogniser nor the speech is needed. Parts
    that the run lacks are named on the page, with the command that adds them.

    Example: asr-introspect report runs/clean
    """
    print(render_report(run))
