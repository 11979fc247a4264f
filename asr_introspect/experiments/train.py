"""Trains a recogniser: corpus in, checkpoint out, resumable."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed

from asr_introspect.corpus.records import Corpus, Segment
from asr_introspect.errors import IntrospectError
from asr_introspect.features import FeatureConfig, normalise
from asr_introspect.files import locked, read_json, revision, versions, write_json
from asr_introspect.progress import say
from asr_introspect.random import generator, torch_generator
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.symbols import SymbolTable, letters
from asr_introspect.training.augmentation import AugmentationConfig
from asr_introspect.training.cache import FeatureCache, cache_features
from asr_introspect.training.ctc import CTCTask, Curriculum
from asr_introspect.training.loop import ScheduleConfig, Trainer, run

BOUND_QUANTILES = (0.001, 0.999)


def train(
    corpus: Corpus,
    development: Corpus,
    out: Path | str,
    *,
    network: NetworkConfig | None = None,
    features: FeatureConfig | None = None,
    augmentation: AugmentationConfig | None = None,
    schedule: ScheduleConfig | None = None,
    curriculum: Curriculum | None = None,
    word_times: Path | str | None = None,
    start_from: Path | str | None = None,
    cache: Path | str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, float]:
    """Trains a letter recogniser with CTC, or goes on with a run; returns the last development figures.

    Parameters
    ----------
    corpus, development
        Speech to learn from and to choose by; no speaker may be in both.
    out
        The run's folder; the same call goes on from the state in it.
    word_times
        A file as ``align`` writes it (JSON lines with ``words``), for the framewise start.
    start_from
        A checkpoint whose weights a fresh run starts from.
    cache
        Folder of the cached features; ``out/cache`` if not given.

    Raises
    ------
    IntrospectError
        A speaker is in both corpora, the folder is of a run with other settings, nothing can be read.
    """
    network = network or NetworkConfig()
    features = features or FeatureConfig()
    augmentation = augmentation or AugmentationConfig()
    schedule = schedule or ScheduleConfig()
    curriculum = curriculum or Curriculum()
    out, symbols = Path(out), letters()
    _hold_apart(corpus, development)
    settings = {
        "network": dataclasses.asdict(network),
        "features": dataclasses.asdict(features),
        "augmentation": dataclasses.asdict(augmentation),
        "schedule": dataclasses.asdict(schedule),
        "curriculum": dataclasses.asdict(curriculum),
        "seed": seed,
    }
    with _training_folder(out, settings):
        place = Path(cache) if cache is not None else out / "cache"
        spoken = cache_features(corpus, features, place / "training")
        held_out = cache_features(development, features, place / "development")
        task = CTCTask(
            spoken,
            _targets(spoken, symbols),
            held_out,
            _targets(held_out, symbols),
            features=features,
            network=network,
            symbols=symbols,
            augmentation=augmentation,
            curriculum=curriculum,
            bounds=feature_bounds(spoken, features, seed),
            words=None if word_times is None else read_word_times(word_times),
            seed=seed,
            device=device,
        )
        model = Wav2Letter(network, len(symbols))
        model.initialise(torch_generator(seed, "initial weights"))
        trainer = Trainer(model.to(device), schedule, out, seed)
        if trainer.load_state():
            say(f"going on after update {trainer.update}")
        elif start_from is not None:
            model.load_state_dict(load_model(start_from, device).network.state_dict())
            trainer.reset_average()
            say(f"no state in {out}: starting from the weights of {start_from}")
        record = {
            "hours": round(float(spoken.lengths.sum()) * features.frame_seconds / 3600, 3),
            "speakers": len({utterance.speaker for utterance in spoken.utterances}),
            "settings": settings,
            "versions": versions(),
            "started_from": None if start_from is None else str(start_from),
        }
        return run(trainer, task, record)


class _training_folder:  # noqa: N801 - used as a context manager, like a function
    """Holds the lock of a training folder and checks that its settings are those of this call."""

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out = out
        self.settings = json.loads(json.dumps(settings))
        self._lock = locked(out) if int(os.environ.get("RANK", "0")) == 0 else None

    def __enter__(self) -> None:
        if self._lock is None:
            return
        self._lock.__enter__()
        record = self.out / "run.json"
        if record.exists():
            found = read_json(record).get("settings", {})
            differing = sorted(k for k in self.settings if found.get(k) != self.settings[k])
            if differing:
                self._lock.__exit__(None, None, None)
                raise IntrospectError(
                    f"{self.out} holds a training run with other settings ({', '.join(differing)}); "
                    "name another --out"
                )
        else:
            write_json(record, {"settings": self.settings, "versions": versions(), "revision": revision()})

    def __exit__(self, *raised: Any) -> None:
        if self._lock is not None:
            self._lock.__exit__(*raised)


def _hold_apart(corpus: Corpus, development: Corpus) -> None:
    shared = {u.speaker for u in corpus.utterances if u.speaker} & {
        u.speaker for u in development.utterances if u.speaker
    }
    if shared:
        raise IntrospectError(
            f"speakers in both training and development speech: {', '.join(sorted(shared)[:5])}; "
            "whole speakers must be held apart"
        )


def _targets(cache: FeatureCache, symbols: SymbolTable) -> list[list[int]]:
    return [symbols.classes(utterance.text) for utterance in cache.utterances]


def feature_bounds(cache: FeatureCache, config: FeatureConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Per Mel bin the 0.1 and the 99.9 % quantile of the normalised features of up to 300 utterances."""
    draw = generator(seed, "bounds")
    items = draw.permutation(len(cache.utterances))[:300]
    spectrograms = [
        normalise(torch.from_numpy(cache.spectrogram(int(item)).T.copy()), config.normalise).numpy()
        for item in items
    ]
    low, high = np.quantile(np.concatenate(spectrograms, axis=1), BOUND_QUANTILES, axis=1)
    return low, high


def read_word_times(path: Path | str) -> dict[str, Sequence[Segment]]:
    """Words with times by utterance name, from JSON lines as ``align`` writes them.

    Raises
    ------
    IntrospectError
        The file cannot be read, or a line is not of that form.
    """
    times: dict[str, Sequence[Segment]] = {}
    try:
        with Path(path).open(encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                times[entry["utterance"]] = tuple(
                    Segment(w["word"], float(w["start"]), float(w["end"])) for w in entry["words"]
                )
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntrospectError(f"{path} is not a file of aligned words: {error!r}") from error
    return times


def join_processes() -> None:
    """Joins the processes that ``torchrun`` started, if it did."""
    if "RANK" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
