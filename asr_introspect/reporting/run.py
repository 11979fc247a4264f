"""Reads a run folder: each part as plain records and arrays, or None where the folder lacks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from asr_introspect.errors import IntrospectError
from asr_introspect.files import FORMAT, read_json
from asr_introspect.reporting.hdf5 import opened, texts
from asr_introspect.reporting.pattern_store import Patterns, read_patterns
from asr_introspect.reporting.tables import Instances, Row, read_instances, read_table

MOST_LETTERS = 1000
"""So many relevance windows are read at most: a page cannot carry more."""


@dataclass(frozen=True)
class LedgerRow:
    """What became of the relevance at one layer, means over letters: what came, what went on, what stayed."""

    layer: str
    rule: str
    outgoing: float
    incoming: float
    bias: float
    stabiliser: float


@dataclass(frozen=True)
class Relevance:
    """The relevance of every letter of the chosen utterance.

    ``windows`` ``(N, F, W)`` float16, a letter's map over its ``scale`` ``(N,)``; ``starts`` ``(N,)`` the
    first input frame of each window; ``spectrogram`` and ``sentence`` ``(F, T)``; ``attributes`` as the run
    stored them (composite, against, ...). Of very many letters the first ``MOST_LETTERS``.
    """

    windows: np.ndarray
    scale: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    symbols: tuple[str, ...]
    steps: np.ndarray
    instances: np.ndarray
    spectrogram: np.ndarray
    sentence: np.ndarray
    attributes: Mapping[str, Any]
    ledger: tuple[LedgerRow, ...] = ()


@dataclass(frozen=True)
class ClusterMap:
    """Distances between groups at one layer, in one metric ("" if not recorded), and their tree.

    ``distance`` ``(G, G)``, ``linkage`` ``(G - 1, 4)`` as SciPy writes it, ``order`` ``(G,)`` of the leaves.
    """

    labels: str
    offset: str
    weight: str
    layer: str
    groups: tuple[str, ...]
    distance: np.ndarray
    linkage: np.ndarray
    order: np.ndarray
    metric: str = ""


@dataclass(frozen=True)
class Run:
    """What a run folder holds. A part that the folder lacks is None (records) or empty (tables).

    ``patterns``: by set of labels; ``overshadowing``: by set and layer ``|grand mean| / |pattern|`` of each
    group; ``left_out``: by set what is too rare for profiles, with its counts.
    """

    folder: Path
    record: Mapping[str, Any]
    model: Mapping[str, Any]
    corpus: Mapping[str, Any]
    findings: list[dict[str, Any]]
    utterances: list[Row]
    instances: Instances
    lags: list[Row]
    methods: list[Row]
    skipped: list[Row]
    evidence: list[Row]
    controls: list[Row]
    splits: list[Row]
    split_pairs: list[Row]
    patterns: Mapping[str, Patterns]
    relevance: Relevance | None
    clusters: list[ClusterMap]
    overshadowing: Mapping[str, Mapping[str, np.ndarray]]
    left_out: Mapping[str, tuple[str, ...]]
    sound: Path | None

    @property
    def part(self) -> Mapping[str, Any]:
        """The record of ``introspect``: argv, settings, seed, versions, revision, complete."""
        found: Mapping[str, Any] = self.record.get("parts", {}).get("introspect", {})
        return found


LEDGER_NUMBERS = ("outgoing", "incoming", "bias", "stabiliser")


def read_run(folder: Path | str) -> Run:
    """The parts of a run folder that ``introspect`` wrote.

    Raises
    ------
    IntrospectError
        The folder is missing or not of a run, it was written by a newer version, or a file in it is damaged.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        what = "is not a run (it has no run.json)" if folder.is_dir() else "does not exist"
        raise IntrospectError(f"{folder} {what}; make one with: asr-introspect introspect --out {folder}")
    record = _mapping(folder / "run.json")
    if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
        raise IntrospectError(f"{folder} was written by a newer asr-introspect; update it to read the run")
    if not isinstance(record.get("parts"), dict) or "introspect" not in record["parts"]:
        raise IntrospectError(
            f"{folder} holds no introspection; add it with: asr-introspect introspect --out {folder}"
        )
    corpus = _mapping(folder / "corpus.json")
    findings = read_json(folder / "findings.json") if (folder / "findings.json").exists() else []
    overshadowing, left_out = _overshadowing(folder / "profiles.h5")
    chosen = int(corpus.get("chosen") or 0)
    sound = folder / "audio" / f"{chosen:05d}.flac"
    return Run(
        folder=folder,
        record=record,
        model=_mapping(folder / "model.json"),
        corpus=corpus,
        findings=[finding for finding in findings if isinstance(finding, dict)],
        utterances=read_table(folder / "utterances.csv"),
        instances=read_instances(folder / "instances.csv", folder / "offsets.csv", chosen),
        lags=read_table(folder / "lags.csv"),
        methods=read_table(folder / "offset_table.csv"),
        skipped=read_table(folder / "skipped.csv"),
        evidence=read_table(folder / "clusters.csv"),
        controls=read_table(folder / "controls.csv"),
        splits=read_table(folder / "splits.csv"),
        split_pairs=read_table(folder / "split_pairs.csv"),
        patterns=read_patterns(folder),
        relevance=_relevance(folder / "relevance.h5"),
        clusters=_clusters(folder / "clusters.h5"),
        overshadowing=overshadowing,
        left_out=left_out,
        sound=sound if sound.is_file() else None,
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """A JSON object, empty where the file does not exist."""
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise IntrospectError(f"{path} is damaged: it should hold a JSON object")
    return value


def _relevance(path: Path) -> Relevance | None:
    if not path.exists():
        return None
    with opened(path) as file:
        if "lrp" not in file:
            return None
        group = file["lrp"]

        def array(name: str) -> np.ndarray:
            return np.asarray((group if name in group else file)[name][()])

        return Relevance(
            windows=np.asarray(group["windows"][:MOST_LETTERS]),
            scale=array("scale").astype(float) if "scale" in group else np.ones(len(group["starts"])),
            starts=array("starts").astype(int),
            scores=array("scores").astype(float),
            symbols=texts(array("symbol")),
            steps=array("step").astype(int),
            instances=array("instance").astype(int),
            spectrogram=array("spectrogram").astype(float),
            sentence=array("sentence").astype(float),
            attributes={**file.attrs, **group.attrs},
            ledger=_ledger(array("ledger")) if "ledger" in group else (),
        )


def _ledger(rows: np.ndarray) -> tuple[LedgerRow, ...]:
    """The rows of the stored table, from the output down."""
    found = []
    for row in rows:
        layer, rule = texts((row["layer"], row["rule"]))
        outgoing, incoming, bias, stabiliser = (float(row[name]) for name in LEDGER_NUMBERS)
        found.append(LedgerRow(layer, rule, outgoing, incoming, bias, stabiliser))
    return tuple(found)


def _overshadowing(path: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, tuple[str, ...]]]:
    """By set of labels: per layer the length of the grand mean over that of each group's pattern; who is left
    out.
    """
    ratios: dict[str, dict[str, np.ndarray]] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    if not path.exists():
        return ratios, left_out
    with opened(path) as file:
        for labels in file:
            offset = next(
                (name for name in ("gradient", *file[labels]) if f"{name}/activation" in file[labels]), ""
            )
            place = file[labels].get(f"{offset}/activation", ())
            own = ratios.setdefault(labels, {})
            for layer in sorted(place, key=depth):
                group = place[layer]
                names = texts(group["group"][()])
                left_out[labels] = texts(group.attrs.get("left_out", ()))
                inside = [i for i, name in enumerate(names) if name not in (" ", "'") and "|" not in name]
                if len(inside) > 1:
                    own[layer] = overshadowed(group["mean"][()][inside])
    return ratios, left_out


def overshadowed(means: np.ndarray) -> np.ndarray:
    """``|grand mean| / |pattern|`` of each group, ``(G,)``: how far what all share outweighs what is its own.

    Parameters
    ----------
    means
        ``(G, ...)``; cells that a group lacks (NaN) are left out of all lengths. A pattern of length 0 has
        the ratio NaN.
    """
    flat = means.reshape(len(means), -1).astype(np.float64)
    known = np.isfinite(flat).all(axis=0)
    grand = flat[:, known].mean(axis=0)
    sizes = np.linalg.norm(flat[:, known] - grand, axis=1)
    return np.asarray(np.linalg.norm(grand) / np.where(sizes > 0, sizes, np.nan))


def _clusters(path: Path) -> list[ClusterMap]:
    """Every map of ``/LABELS/OFFSET/WEIGHT/LAYER``, layers in the order of the network."""
    if not path.exists():
        return []
    found = []
    with opened(path) as file:
        for labels in file:
            for offset in file[labels]:
                for weight in file[labels][offset]:
                    for layer, group in file[labels][offset][weight].items():
                        if isinstance(group, h5py.Group):
                            found.append(_cluster(group, labels, offset, weight, layer))
    return sorted(found, key=lambda it: (it.labels, it.offset, it.weight, depth(it.layer)))


def _cluster(group: h5py.Group, labels: str, offset: str, weight: str, layer: str) -> ClusterMap:
    names = group["groups"][()] if "groups" in group else group.attrs["groups"]
    return ClusterMap(
        labels=labels,
        offset=offset,
        weight=weight,
        layer=layer,
        groups=texts(names),
        distance=group["distance"][()].astype(np.float64),
        linkage=group["linkage"][()].astype(np.float64),
        order=group["order"][()].astype(int),
        metric=str(group.attrs.get("metric", "")),
    )


def depth(layer: str) -> int:
    """The place of a layer: 0 for ``input``, n for ``layern``; foreign names come last."""
    if layer == "input":
        return 0
    digits = layer.removeprefix("layer")
    return int(digits) if digits.isdigit() else 1000
