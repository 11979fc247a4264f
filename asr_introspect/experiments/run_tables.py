"""The tables of a run folder: model.json, corpus.json and the CSV files of utterances, instances, offsets."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.files import writing
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.instances import Instances
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.scoring import ENOUGH_SPEAKERS, ErrorRate, error_rate

SHORTEST_SHOWN, LONGEST_SHOWN = 4.0, 8.0
CHOSEN_RULE = (
    f"median letter error among the utterances of {SHORTEST_SHOWN:g} to {LONGEST_SHOWN:g} seconds; "
    "if there are none, the one nearest in length"
)

UTTERANCE_COLUMNS = (
    *("name", "speaker", "sex", "duration", "frames", "steps", "reference", "hypothesis"),
    *("letter_edits", "letter_length", "word_edits", "word_length"),
)


def part(gathered: Gathered) -> list[Finding]:
    """Writes what was said, recognised and found: ``utterances.csv``, ``instances.csv``, ``offsets.csv``."""
    rows = gathered.rows
    write_utterances(gathered.folder / "utterances.csv", rows.utterances)
    write_instances(gathered.folder / "instances.csv", list(rows.instances.values()))
    write_offsets(gathered.folder / "offsets.csv", {"gradient": rows.found})
    return []


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV atomically: floats with 6 significant digits, missing values (None, NaN) empty."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{float(value):.6g}"
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    return value


def write_utterances(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """``utterances.csv``: what was said and what was recognised."""
    rows = ([number, *(record[name] for name in UTTERANCE_COLUMNS)] for number, record in enumerate(records))
    write_csv(path, ("utterance", *UTTERANCE_COLUMNS), rows)


def write_instances(path: Path, tables: Sequence[Instances]) -> None:
    """``instances.csv``: letters first, then phonemes, numbered through."""
    columns = ("instance", "kind", "utterance", "step", "label", "score", "right", "start", "end")

    def rows() -> Iterable[Sequence[Any]]:
        number = 0
        for table in tables:
            cells = zip(
                *(table.utterance.tolist(), table.step.tolist(), table.names(), table.score.tolist()),
                *(table.right.tolist(), table.start.tolist(), table.end.tolist()),
                strict=True,
            )
            for utterance, step, label, score, right, start, end in cells:
                verdict = None if right < 0 else right
                yield number, table.kind, utterance, step, label, score, verdict, start, end
                number += 1

    write_csv(path, columns, rows())


def write_offsets(path: Path, methods: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """``offsets.csv``: the position found for each letter at each layer, by method."""
    layers = list(next(iter(methods.values())))

    def rows() -> Iterable[Sequence[Any]]:
        for method, found in methods.items():
            for instance, positions in enumerate(
                zip(*(found[name].tolist() for name in layers), strict=True)
            ):
                yield instance, method, *positions

    write_csv(path, ("instance", "method", *layers), rows())


def model_record(recogniser: Recogniser, path: Path | None, sha256: str, bundled: bool) -> dict[str, Any]:
    """``model.json``; ``cones`` says by layer which positions a step sees, and when they are."""
    network = recogniser.network
    return {
        "name": "reference" if bundled else (path.stem if path is not None else ""),
        "path": None if path is None else str(path),
        "sha256": sha256,
        "bundled": bundled,
        "network": dataclasses.asdict(network.config),
        "cones": [dataclasses.asdict(cone) for cone in cones(network).values()],
        "features": dataclasses.asdict(recogniser.features),
        "symbols": list(recogniser.symbols.symbols),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": dict(recogniser.training),
    }


def corpus_record(
    corpus: Corpus,
    path: Path | None,
    synthetic: bool,
    records: Sequence[Mapping[str, Any]],
    skipped: Sequence[Skipped],
    seed: int,
) -> dict[str, Any]:
    """``corpus.json``: size and error rates, for all and per speaker, and which utterance is shown."""
    speakers = sorted({str(record["speaker"]) for record in records})
    over = "speakers" if len(speakers) >= ENOUGH_SPEAKERS else "utterances within speakers"
    per_speaker = []
    for speaker in speakers:
        own = [record for record in records if record["speaker"] == speaker]
        rate = _rate(own, "letter", seed)
        per_speaker.append(
            {
                "speaker": speaker,
                "sex": own[0]["sex"],
                "utterances": len(own),
                "seconds": sum(record["duration"] for record in own),
                "letter_error": None if rate is None else rate.rate,
                "low": None if rate is None else _number(rate.low),
                "high": None if rate is None else _number(rate.high),
            }
        )
    return {
        "path": None if path is None else str(path),
        "utterances": len(records),
        "seconds": sum(record["duration"] for record in records),
        "speakers": len(speakers),
        "synthetic": synthetic,
        "skipped": len(skipped),
        "letter_error": _rate_record(_rate(records, "letter", seed), over),
        "word_error": _rate_record(_rate(records, "word", seed), over),
        "per_speaker": per_speaker,
        "chosen": chosen(records),
        "chosen_rule": CHOSEN_RULE,
    }


def _rate(records: Sequence[Mapping[str, Any]], unit: str, seed: int) -> ErrorRate | None:
    """The error rate of some utterances; None where there is no reference to score against."""
    lengths = [record[f"{unit}_length"] for record in records]
    if not sum(lengths):
        return None
    edits = [record[f"{unit}_edits"] for record in records]
    return error_rate(edits, lengths, [record["speaker"] for record in records], seed=seed)


def _rate_record(rate: ErrorRate | None, over: str) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "rate": rate.rate,
        "low": _number(rate.low),
        "high": _number(rate.high),
        "edits": rate.edits,
        "length": rate.length,
        "over": over,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def chosen(records: Sequence[Mapping[str, Any]]) -> int:
    """The utterance that the report shows, by rule: see :data:`CHOSEN_RULE`; of equals the first."""
    fitting = [i for i, r in enumerate(records) if SHORTEST_SHOWN <= r["duration"] <= LONGEST_SHOWN]
    if not fitting:
        away = [
            max(SHORTEST_SHOWN - record["duration"], record["duration"] - LONGEST_SHOWN) for record in records
        ]
        return int(np.argmin(away))
    errors = [records[i]["letter_edits"] / max(records[i]["letter_length"], 1) for i in fitting]
    order = np.argsort(errors, kind="stable")
    return fitting[int(order[(len(order) - 1) // 2])]
