"""Tables of a run: small ones whole, the long ones (a row per letter) in a few bytes a row."""

from __future__ import annotations

import csv
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_introspect.errors import IntrospectError

Row = dict[str, str]


@dataclass(frozen=True)
class Instances:
    """What the report needs of ``instances.csv`` and ``offsets.csv``.

    Parameters
    ----------
    chosen
        The rows of one utterance by instance number.
    found
        The input frames that a method found, for the instances in ``chosen`` (the first method listed).
    steps, positions
        Per method the steps of all letters, ``(N,)``, and by layer the positions found for them.
    """

    chosen: Mapping[int, Row]
    found: Mapping[int, float]
    steps: Mapping[str, np.ndarray]
    positions: Mapping[str, Mapping[str, np.ndarray]]


def number(text: Any) -> float:
    """The number in a cell of a table or a JSON value; NaN where there is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV with a header, empty where the file does not exist."""
    return list(_rows(path))


def read_instances(instances: Path, offsets: Path, utterance: int) -> Instances:
    """The instances of one utterance, and the offsets of all letters as arrays."""
    steps = array("q")
    chosen: dict[int, Row] = {}
    for at, row in enumerate(_rows(instances)):
        step = number(row.get("step"))
        steps.append(int(step) if np.isfinite(step) else -1)
        if row.get("utterance") == str(utterance):
            chosen[at] = row
    found: dict[int, float] = {}
    of_method: dict[str, array[int]] = defaultdict(lambda: array("q"))
    by_method: dict[str, dict[str, array[float]]] = defaultdict(lambda: defaultdict(lambda: array("d")))
    for row in _rows(offsets):
        instance, frame = number(row.pop("instance", "")), number(row.get("input"))
        method = row.pop("method", "")
        if 0 <= instance < len(steps) and np.isfinite(frame):
            at = int(instance)
            if at in chosen:
                found.setdefault(at, frame)
            of_method[method].append(steps[at])
            for layer, position in row.items():
                by_method[method][layer].append(number(position))
    return Instances(
        chosen,
        found,
        {method: np.array(each) for method, each in of_method.items()},
        {
            method: {layer: np.array(each) for layer, each in layers.items()}
            for method, layers in by_method.items()
        },
    )


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV with a header, none where the file does not exist."""
    if not path.exists():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield {name: value or "" for name, value in row.items() if name}
    except (OSError, ValueError, csv.Error) as error:
        raise IntrospectError(f"cannot read {path}: {error}") from error
