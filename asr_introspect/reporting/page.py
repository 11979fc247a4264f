"""The page: everything a run holds as one offline HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asr_introspect.reporting import words
from asr_introspect.reporting.clusters import CELL, TREE, ClustersView, clusters_view
from asr_introspect.reporting.patterns import ENOUGH, PatternsView, patterns_views
from asr_introspect.reporting.pictures import LEVELS, NEGATIVE, POSITIVE
from asr_introspect.reporting.run import Run
from asr_introspect.reporting.splits import SplitView, splits_views
from asr_introspect.reporting.summary import SummaryView, summary_view
from asr_introspect.reporting.timing import TimingView, timing_view
from asr_introspect.reporting.utterance import UtteranceView, utterance_view


@dataclass(frozen=True)
class Views:
    """What page and text are written from; a part that the run lacks is None."""

    summary: SummaryView
    utterance: UtteranceView | None
    timing: TimingView | None
    patterns: tuple[PatternsView, ...]
    clusters: ClustersView | None
    splits: tuple[SplitView, ...] = ()


def views(run: Run) -> Views:
    """All views of a run."""
    return Views(
        summary_view(run),
        utterance_view(run),
        timing_view(run),
        patterns_views(run),
        clusters_view(run),
        splits_views(run),
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    loader = PackageLoader("asr_introspect.reporting", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(fixed=words.fixed, percent=words.percent)
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def render(seen: Views) -> str:
    """The page as HTML.

    Everything from the run is escaped; the page's own script is the only one that its content security policy
    lets run, and nothing may be loaded from elsewhere.
    """
    script = _source("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            summary=seen.summary,
            utterance=seen.utterance,
            timing=seen.timing,
            patterns=seen.patterns,
            enough=ENOUGH,
            clusters=seen.clusters,
            splits=seen.splits,
            relevance_data=_relevance_data(seen.utterance) if seen.utterance else None,
            pattern_data=_pattern_data(seen.patterns),
            distance_data=_distance_data(seen.clusters) if seen.clusters else None,
            style=Markup(_source("style.css")),  # our own files, not the run's
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def _relevance_data(utterance: UtteranceView) -> dict[str, Any]:
    """What the script needs to show each letter's map."""
    return {
        "windows": utterance.windows,
        "shape": utterance.window_shape,
        "window": utterance.window,
        "pooled": utterance.pooled,
        "starts": utterance.starts,
        "limits": utterance.limits,
        "levels": LEVELS,
        "positive": POSITIVE,
        "negative": NEGATIVE,
        "seconds": utterance.seconds,
        "letters": [
            {
                "name": letter.name,
                "step": letter.step,
                "seconds": letter.seconds,
                "left": letter.left,
                "verdict": letter.verdict,
                "score": letter.score,
                "offset": letter.offset,
                "found": letter.found,
            }
            for letter in utterance.letters
        ],
    }


def _pattern_data(seen: Sequence[PatternsView]) -> dict[str, Any]:
    """What the script needs to draw patterns with another average, and before subtraction."""
    return {
        view.labels: {
            **view.data,
            "names": [letter.name for letter in view.letters],
            "masks": [letter.mask for letter in view.letters],
        }
        for view in seen
    }


def _distance_data(clusters: ClustersView) -> dict[str, Any]:
    """What the script needs to name the cell under the cursor."""
    return {
        "layers": clusters.layers,
        "tree": TREE,
        "cell": CELL,
        "maps": {
            f"map-{seen.key}-{picture.index}": {
                "cells": picture.cells,
                "top": picture.top,
                "groups": picture.groups,
            }
            for seen in clusters.maps
            for picture in seen.pictures
        },
    }
