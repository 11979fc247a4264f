"""Static cluster heat maps by seaborn, one PNG per kind of labels and layer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_introspect.files import writing
from asr_introspect.progress import track
from asr_introspect.reporting.clusters import COLOURMAP, view_title
from asr_introspect.reporting.labels import COLOURS, class_of, short
from asr_introspect.reporting.run import ClusterMap
from asr_introspect.reporting.words import layer_name

DRAWING = 2
"""Counts changes to how the pictures are drawn, so that old ones are drawn again."""


def primary(maps: Sequence[ClusterMap]) -> list[ClusterMap]:
    """Of each kind of labels the maps at one offset: by gradient if there is one, else the first."""
    chosen: dict[str, str] = {}
    for m in maps:
        if m.weight == "activation" and (m.labels not in chosen or m.offset == "gradient"):
            chosen[m.labels] = m.offset
    return [m for m in maps if m.weight == "activation" and chosen.get(m.labels) == m.offset]


def write_heat_maps(maps: Sequence[ClusterMap], folder: Path) -> list[Path]:
    """Writes ``LABELS-LAYER.png`` for every map of :func:`primary`; returns the paths.

    Drawing takes half a second a picture, so one that is there already and was drawn from the same distances
    is kept: its description holds their hash.
    """
    paths = []
    wanted = [(m, folder / f"{m.labels}-{m.layer}.png", _fingerprint(m)) for m in primary(maps)]
    for m, path, mark in track(wanted, "heat maps", unit="picture"):
        if not (path.exists() and mark.encode() in path.read_bytes()[:1000]):
            with writing(path) as temporary:
                _draw(m, temporary, mark)
        paths.append(path)
    return paths


def _fingerprint(m: ClusterMap) -> str:
    digest = hashlib.sha256(
        json.dumps([DRAWING, m.labels, m.offset, m.layer, m.metric, list(m.groups)]).encode()
    )
    for array in (m.distance, m.linkage, m.order):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _draw(m: ClusterMap, path: Path, mark: str) -> None:
    """One seaborn clustermap with its given tree, classes in a strip beside it."""
    import matplotlib as mpl  # here, not above: a second that a page without new maps need not wait

    mpl.use("agg")
    import matplotlib.pyplot as plt
    import seaborn

    count = len(m.groups)
    order = m.order.tolist()
    marks = [COLOURS.get(class_of(group, m.labels), "#ffffff") for group in m.groups]
    drawn = seaborn.clustermap(
        m.distance[:, order],
        row_linkage=m.linkage,
        col_cluster=False,  # the same tree once more would take a third of the time
        row_colors=marks,
        cmap=COLOURMAP,
        xticklabels=False,
        yticklabels=False,
        figsize=(7.5, 7.5),
        dendrogram_ratio=(0.16, 0.02),
        cbar_pos=(0.05, 0.035, 0.1, 0.015),
        cbar_kws={"orientation": "horizontal"},
    )
    # Set by hand: seaborn draws the figure twice more to find out whether its own labels overlap.
    names = [short(m.groups[i]) for i in order]
    size = min(9.0, 330 / count)
    axes = drawn.ax_heatmap
    axes.set_xticks(np.arange(count) + 0.5, names, fontsize=size, rotation=90 if count > 30 else 0)
    axes.set_yticks(np.arange(count) + 0.5, names, fontsize=size)
    axes.tick_params(length=0)
    drawn.gs.update(left=0.02, right=0.93, top=0.955, bottom=0.07)
    drawn.ax_cbar.tick_params(labelsize=7)
    title = f"{view_title(m.labels, m.offset)}, {layer_name(m.layer)}; {m.metric} distance"
    drawn.figure.suptitle(title, fontsize=11, y=0.985)
    drawn.figure.savefig(
        path, dpi=90, format="png", metadata={"Description": mark, "Software": "asr-introspect"}
    )
    plt.close(drawn.figure)
