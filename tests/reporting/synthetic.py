"""A small run folder in the format of `introspect`, made of seeded noise with some structure in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform

LEDGER_NUMBERS = ("outgoing", "incoming", "bias", "stabiliser")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# fmt: off
PHONEMES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH",
    "UH", "UW", "V", "W", "Y", "Z", "ZH",
)
# fmt: on
LAYERS = ("input", *(f"layer{i}" for i in range(1, 13)))
WINDOW, ANCHOR, BINS = 206, 101, 128
HOSTILE = '<b>Ann & "Bo"</b>'
"""A speaker's name that would be markup if it were not escaped."""


def write_run(
    folder: Path,
    *,
    seconds: float = 5.6,
    utterances: int = 6,
    synthetic: bool = True,
    letter_error: float = 0.262,
    phonemes: bool = True,
    seed: int = 0,
) -> Path:
    """Writes a whole run folder and returns it."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _records(folder, utterances, synthetic, letter_error, phonemes)
    rows = _utterances(folder, random, utterances, seconds)
    instances = _instances(folder, random, rows, phonemes)
    _offsets(folder, random, instances)
    _lags(folder, random)
    _methods(folder)
    _patterns(folder, random, phonemes)
    _relevance(folder, random, rows[0], [row for row in instances if row["utterance"] == 0])
    _clusters(folder, random, phonemes)
    _findings(folder)
    (folder / "audio").mkdir(exist_ok=True)
    clock = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(folder / "audio" / "00000.flac", 0.2 * np.sin(2 * np.pi * 220 * clock), 16_000)
    return folder


def _records(folder: Path, utterances: int, synthetic: bool, letter_error: float, phonemes: bool) -> None:
    alignments = "data/demo/alignments" if phonemes else None
    _json(
        folder / "run.json",
        {
            "format": 1,
            "identity": {"checkpoint": "c0ffee" * 10 + "c0ff", "corpus": "ab12" * 16},
            "parts": {
                "introspect": {
                    "argv": [
                        "asr-introspect",
                        "introspect",
                        "--corpus",
                        "data/my demo",
                        "--out",
                        "runs/demo",
                    ],
                    "settings": {"corpus": "data/my demo", "alignments": alignments, "device": "cpu"},
                    "seed": 0,
                    "versions": {
                        "python": "3.11.7",
                        "machine": "x86_64",
                        "torch": "2.13.0",
                        "numpy": "2.4.6",
                    },
                    "revision": "874af77",
                    "complete": True,
                }
            },
        },
    )
    _json(
        folder / "model.json",
        {
            "name": "reference",
            "path": "data/models/reference.safetensors",
            "sha256": "c0ffee" * 10 + "c0ff",
            "bundled": True,
            "network": {"mels": BINS, "narrow": 256, "wide": 512, "activation": "relu"},
            "features": {"sample_rate": 16000, "hop": 160, "mels": BINS, "normalise": "bin"},
            "symbols": ["<blank>", " ", "'", *LETTERS],
            "parameters": 9_700_000,
            "training": {"hours": 15.78, "updates": 16000},
        },
    )
    speakers = [("woman", "F", 0.21), ("man", "M", 0.31), (HOSTILE, "", 0.28)]
    _json(
        folder / "corpus.json",
        {
            "path": "data/my demo",
            "utterances": utterances,
            "seconds": 5.6 * utterances,
            "speakers": len(speakers),
            "synthetic": synthetic,
            "skipped": 2,
            "letter_error": {
                "rate": letter_error,
                "low": letter_error - 0.02,
                "high": letter_error + 0.02,
                "edits": int(1000 * letter_error),
                "length": 1000,
                "over": "utterances within speakers",
            },
            "word_error": {
                "rate": 0.61,
                "low": 0.57,
                "high": 0.65,
                "edits": 122,
                "length": 200,
                "over": "utterances within speakers",
            },
            "per_speaker": [
                {
                    "speaker": name,
                    "sex": sex,
                    "utterances": 2,
                    "seconds": 11.2,
                    "letter_error": rate,
                    "low": rate - 0.03 if sex else None,
                    "high": rate + 0.04 if sex else None,
                }
                for name, sex, rate in speakers
            ],
            "chosen": 0,
            "chosen_rule": "median letter error among utterances of 4 to 8 seconds",
        },
    )
    _csv(
        folder / "skipped.csv",
        ("item", "reason"),
        [("<script>alert(1)</script>.flac", "empty file"), ("b/0007.flac", "unknown symbols: '<', 'é'")],
    )


def _utterances(
    folder: Path, random: np.random.Generator, count: int, seconds: float
) -> list[dict[str, Any]]:
    sentence = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG BEFORE NINE"
    frames = int(seconds * 100) + 1
    rows = [
        {
            "utterance": i,
            "name": f"demo/<i>{i}</i>",
            "speaker": ("woman", "man", HOSTILE)[i % 3],
            "sex": ("F", "M", "")[i % 3],
            "duration": seconds,
            "frames": frames,
            "steps": frames // 2,
            "reference": sentence,
            "hypothesis": sentence.replace("QUICK", "KWICK").replace("NINE", "NIN"),
            "letter_edits": 3,
            "letter_length": len(sentence),
            "word_edits": 2,
            "word_length": 11,
        }
        for i in range(count)
    ]
    _csv(folder / "utterances.csv", tuple(rows[0]), [tuple(row.values()) for row in rows])
    return rows


def _instances(
    folder: Path, random: np.random.Generator, rows: Sequence[dict[str, Any]], phonemes: bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        text = row["hypothesis"]
        steps = np.linspace(12, row["steps"] - 12, len(text)).astype(int)
        for step, letter in zip(steps, text, strict=True):
            start = (2 * step + 0.5) / 100
            found.append(
                _instance(
                    len(found),
                    "letter",
                    row["utterance"],
                    step,
                    letter,
                    int(random.random() > 0.2),
                    start,
                    0.02,
                )
            )
        if phonemes:
            for step in steps[::2]:
                phone = PHONEMES[random.integers(len(PHONEMES))]
                found.append(
                    _instance(len(found), "phoneme", row["utterance"], step, phone, "", 2 * step / 100, 0.08)
                )
    _csv(folder / "instances.csv", tuple(found[0]), [tuple(row.values()) for row in found])
    return found


def _instance(
    number: int,
    kind: str,
    utterance: int,
    step: int,
    label: str,
    right: int | str,
    start: float,
    length: float,
) -> dict[str, Any]:
    return {
        "instance": number,
        "kind": kind,
        "utterance": utterance,
        "step": int(step),
        "label": label,
        "score": 0.9 if kind == "letter" else "",
        "right": right,
        "start": start,
        "end": start + length,
    }


def _offsets(folder: Path, random: np.random.Generator, instances: Sequence[dict[str, Any]]) -> None:
    rows = []
    for row in instances:
        if row["kind"] == "letter":
            inner = [row["step"] + int(random.normal(0, 4)) for _ in range(9)]
            rows.append((row["instance"], "gradient", 2 * row["step"] + int(random.normal(-5, 8)), *inner))
    _csv(folder / "offsets.csv", ("instance", "method", *LAYERS[:10]), rows)


def _lags(folder: Path, random: np.random.Generator) -> None:
    rows = []
    for method in ("emission", "gradient"):
        for layer in ("input", "layer9") if method == "gradient" else ("",):
            for group in ("all", *LETTERS):
                median = float(random.normal(20, 12))
                numbers = (median, median - 6, median + 6, median + 2)
                rows.append((method, layer, group, 400, *numbers, "phone", 41.0, 38.0, 44.0))
    header = "method,layer,group,count,median_ms,low_ms,high_ms,mean_ms,sound,spread_ms,spread_low_ms"
    _csv(folder / "lags.csv", (*header.split(","), "spread_high_ms"), rows)


def _methods(folder: Path) -> None:
    """At the input two methods hold their own, at layer 9 a control does no worse."""
    rows = []
    for layer in ("input", "layer9"):
        for method, share, verdict in (
            *(("random", 0.01, "worse"), ("gradient", 0.12, "best"), ("none", 0.08, "worse")),
            *(("ctc", 0.11, "no worse"), ("scrambled", 0.11, "worse" if layer == "input" else "no worse")),
        ):
            control = int(method in ("random", "scrambled"))
            rest = (*(share - 0.08, share - 0.09, share - 0.07), -5, -10, 0, 41, 38, 45, 0.02)
            rows.append(
                (
                    *(method, layer, control, verdict, 700, 2100, 40),
                    *(
                        share,
                        share - 0.01,
                        share + 0.01,
                        share + 0.02,
                        share,
                        share + 0.04,
                        0.03,
                        0.2,
                        0.19,
                        0.21,
                        *rest,
                    ),
                )
            )
    header = (
        "method,layer,control,verdict,count,of,utterances,explained,explained_low,explained_high,signal,"
        "signal_low,signal_high,average,"
        "correlation,correlation_low,correlation_high,over_none,over_none_low,over_none_high,median_ms,low_ms,"
        "high_ms,spread_ms,spread_low_ms,spread_high_ms,unseen"
    )
    _csv(folder / "offset_table.csv", tuple(header.split(",")), rows)


def _patterns(folder: Path, random: np.random.Generator, phonemes: bool) -> None:
    time, band = np.arange(WINDOW), np.arange(BINS)[:, None]
    with h5py.File(folder / "patterns.h5", "w") as file:
        frequencies = 700 * (10 ** (np.linspace(60, 2800, BINS) / 2595) - 1)
        for name, labels in (("letters", (" ", "'", *LETTERS)), ("phonemes", PHONEMES)):
            if name == "phonemes" and not phonemes:
                continue
            group = file.create_group(name)
            mean = np.stack(
                [
                    np.exp(-(((time - ANCHOR) / 30) ** 2)) * np.exp(-(((band - 60) / 50) ** 2))
                    + np.exp(-(((time - ANCHOR) / 9) ** 2))
                    * np.exp(-(((band - random.integers(10, 120)) / 12) ** 2))
                    * random.choice([-0.8, 0.8])
                    for _ in labels
                ]
            )
            count = np.repeat(random.integers(4, 300, len(labels))[:, None], WINDOW, axis=1)
            group["group"], group["frequency"] = list(labels), frequencies
            group["time"] = 10.0 * (time - ANCHOR)
            group["mean"], group["count"] = mean.astype(np.float32), count
            group["variance"] = np.ones_like(mean, np.float32)
            error = (0.06 + 0.5 / np.sqrt(count[:, None])) * np.ones_like(mean)
            group["error/groups"] = group["error/counts"] = error.astype(np.float32)
            group["threshold"] = np.full(len(labels), 4.5)
            group["threshold"].attrs["draws"] = 1000
            sounds = [f"audio/patterns/{name}-{i:02}.flac" for i in range(2)]
            group["sound"] = sounds[1:] + [""] * (len(labels) - 1)
            group.attrs.update(
                anchor=ANCHOR, frame_seconds=0.01, step_frames=2, first_position=-ANCHOR, errors_missing=""
            )
            group.attrs.update(average_sound=sounds[0], offset="gradient" if name == "letters" else "none")
            (folder / "audio" / "patterns").mkdir(parents=True, exist_ok=True)
            for path in sounds:
                soundfile.write(folder / path, random.normal(0, 0.1, 8000), 16000)


def _relevance(
    folder: Path, random: np.random.Generator, row: dict[str, Any], instances: Iterable[dict[str, Any]]
) -> None:
    letters = [found for found in instances if found["kind"] == "letter"]
    frames = row["frames"]
    time, band = np.arange(frames), np.arange(BINS)[:, None]
    spectrogram = random.normal(0, 0.4, (BINS, frames)) + 1.5 * np.sin(time / 9) * np.cos(band / 17)
    starts = np.array([2 * found["step"] - 101 for found in letters])
    window = np.arange(WINDOW)
    windows = np.stack(
        [
            np.exp(-(((window - ANCHOR) / 8) ** 2))
            * np.exp(-(((band - random.integers(10, 118)) / 14) ** 2))
            * random.normal(1, 0.6, (BINS, WINDOW))
            for _ in letters
        ]
    )
    frame = starts[:, None] + window
    windows *= ((frame >= 0) & (frame < frames))[:, None]
    sentence = np.zeros((BINS, frames))
    for start, values in zip(starts, windows, strict=True):
        first, last = max(start, 0), min(start + WINDOW, frames)
        sentence[:, first:last] += values[:, first - start : last - start]
    with h5py.File(folder / "relevance.h5", "w") as file:
        group = file.create_group("lrp")
        group["windows"] = windows.astype(np.float16)
        group["starts"], group["scale"] = starts, np.ones(len(starts), np.float32)
        group["scores"] = windows.sum((1, 2))
        group["symbol"] = [found["label"] for found in letters]
        group["step"] = [found["step"] for found in letters]
        group["instance"] = [found["instance"] for found in letters]
        group["ledger"] = np.array(
            [
                (b"layer12.convolution", b"epsilon", 8.0, 6.0, 0.5, 1.5),
                (b"layer1.convolution", b"flat", 6, 2, 4, 0),
            ],
            dtype=[("layer", "S40"), ("rule", "S24"), *((name, "f8") for name in LEDGER_NUMBERS)],
        )
        group["spectrogram"], group["sentence"] = spectrogram.astype(np.float32), sentence.astype(np.float32)
        group.attrs.update(
            composite="epsilon-relative", against="mean", cosine_to_gradient_x_input=0.83, leak=0.12
        )


def _clusters(folder: Path, random: np.random.Generator, phonemes: bool) -> None:
    kinds = {
        "letters": LETTERS,
        "phonemes": PHONEMES,
        "joint": (*(f"letter {name}" for name in LETTERS), *(f"phone {name}" for name in PHONEMES)),
    }
    views = [("letters", "gradient"), ("letters", "none")]
    views += [("phonemes", "none"), ("joint", "none")] if phonemes else []
    rows = []
    with h5py.File(folder / "clusters.h5", "w") as file:
        for labels, offset in views:
            groups = kinds[labels]
            for depth, layer in enumerate(LAYERS):
                points = random.normal(size=(len(groups), 12))
                points[: len(groups) // 3, 0] += depth / 3
                distances = pdist(points)
                tree = linkage(distances, "average", optimal_ordering=True)
                place = file.create_group(f"{labels}/{offset}/activation/{layer}")
                place["distance"] = squareform(distances).astype(np.float32)
                place["linkage"], place["order"] = tree, leaves_list(tree)
                place.attrs.update(groups=list(groups), metric="euclidean")
                classes = {
                    "letters": ["vowel-consonant"],
                    "phonemes": ["vowel-consonant", "manner", "voicing"],
                }
                for kind in classes.get(labels, ["vowel-consonant"]):
                    value = 0.02 * depth + random.normal(0, 0.02)
                    numbers = (len(groups), value, 0.0, -0.05, 0.06, 0.5 if value < 0.06 else 0.004, 0.8, 0.1)
                    rows.append((labels, offset, "activation", layer, "euclidean", "average", kind, *numbers))
    header = (
        "labels,offset,weight,layer,metric,linkage,classes,groups,silhouette,null_mean,null_low,null_high"
    )
    _csv(folder / "clusters.csv", (*header.split(","), "p_value", "cophenetic", "adjusted_rand"), rows)


def _findings(folder: Path) -> None:
    _json(
        folder / "findings.json",
        [
            {
                "id": "lag-emission",
                "sentence": "Letters are emitted 24 ms after the middle of their sound (18 to 31 ms).",
                "value": 24,
                "low": 18,
                "high": 31,
                "null": 0,
                "unit": "ms",
                "difference": True,
            },
            {
                "id": "silhouette-letters-layer9",
                "sentence": "Letters at layer 9: no difference between vowels and consonants & <others>.",
                "value": 0.01,
                "low": -0.05,
                "high": 0.06,
                "null": 0,
                "unit": "",
                "difference": False,
            },
        ],
    )


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
