"""Trains a recogniser: corpus in, checkpoint out, resumable."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as distributed

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus, Segment, Skipped
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.features import FeatureConfig, normalise
from asr_introspect.files import locked, read_json, revision, versions, write_json
from asr_introspect.progress import say
from asr_introspect.random import generator, torch_generator
from asr_introspect.recogniser.checkpoint import load_model
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.passes import find_device
from asr_introspect.recogniser.symbols import SymbolTable, letters, phonemes
from asr_introspect.training.augmentation import AugmentationConfig
from asr_introspect.training.cache import FeatureCache, cache_features
from asr_introspect.training.ctc import CTCTask, Curriculum
from asr_introspect.training.loop import ScheduleConfig, Trainer, event_writer, run
from asr_introspect.training.workers import usual_workers

BOUND_QUANTILES = (0.001, 0.999)


def train(
    corpus: Corpus | Path | str,
    development: Corpus | Path | str,
    out: Path | str,
    *,
    network: NetworkConfig | None = None,
    features: FeatureConfig | None = None,
    augmentation: AugmentationConfig | None = None,
    schedule: ScheduleConfig | None = None,
    curriculum: Curriculum | None = None,
    targets: Literal["letters", "phonemes"] = "letters",
    times: Path | str | None = None,
    start_from: Path | str | None = None,
    cache: Path | str | None = None,
    share: float = 1.0,
    tensorboard: bool = False,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
) -> dict[str, float]:
    """Trains a recogniser with CTC, or goes on with a run; returns the last development figures.

    Parameters
    ----------
    corpus, development
        Speech to learn from and to choose by; no speaker may be in both.
    out
        The run's folder; the same call goes on from the state in it.
    targets
        ``letters`` of the transcripts, or ``phonemes``: those of ``times``; utterances without are left out.
    times
        JSON lines as ``align`` writes them: ``words``, for the framewise start of a letter net, and
        ``phones`` for a phoneme net.
    start_from
        A checkpoint whose weights a fresh run starts from.
    cache
        Folder of the cached features; ``out/cache`` if not given.
    share
        Learn from this share of the training speech only (see :func:`drawn`): for learning curves.
    tensorboard
        Also write TensorBoard's files to ``out/tensorboard``.
    device
        ``auto``, ``cpu`` or ``cuda``.
    workers
        Processes that compute features and make batches; None: see :func:`usual_workers`. The numbers do
        not depend on it.

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
    corpus = corpus if isinstance(corpus, Corpus) else read_corpus(corpus)
    development = development if isinstance(development, Corpus) else read_corpus(development)
    out, symbols = Path(out), letters() if targets == "letters" else phonemes()
    segments = None if times is None else read_times(times, "words" if targets == "letters" else "phones")
    if targets == "phonemes":
        corpus, development = _with_phones(corpus, segments), _with_phones(development, segments)
    _hold_apart(corpus, development)
    corpus = drawn(corpus, share, seed)
    settings: dict[str, Any] = {
        "network": dataclasses.asdict(network),
        "features": dataclasses.asdict(features),
        "augmentation": dataclasses.asdict(augmentation),
        "schedule": dataclasses.asdict(schedule),
        "curriculum": dataclasses.asdict(curriculum),
        "targets": targets,
        "seed": seed,
    } | ({} if share == 1 else {"share": share})
    place = find_device(device)
    workers = usual_workers(place) if workers is None else workers
    writer = event_writer(out / "tensorboard") if tensorboard else None
    with _training_folder(out, settings):
        cached = Path(cache) if cache is not None else out / "cache"
        spoken = _cached_in_turn(corpus, features, cached / "training", workers)
        held_out = _cached_in_turn(development, features, cached / "development", workers)
        task = CTCTask(
            spoken,
            _targets(spoken, symbols, segments),
            held_out,
            _targets(held_out, symbols, segments),
            features=features,
            network=network,
            symbols=symbols,
            augmentation=augmentation,
            curriculum=curriculum,
            bounds=feature_bounds(spoken, features, seed),
            words=segments,
            seed=seed,
            device=place,
        )
        model = Wav2Letter(network, len(symbols))
        model.initialise(torch_generator(seed, "initial weights"))
        trainer = Trainer(model.to(place), schedule, out, seed)
        if trainer.load_state():
            say(f"going on after update {trainer.update}")
        elif start_from is not None:
            model.load_state_dict(load_model(start_from, place).network.state_dict())
            trainer.reset_average()
            say(f"no state in {out}: starting from the weights of {start_from}")
        record = {
            "hours": round(float(spoken.lengths.sum()) * features.frame_seconds / 3600, 3),
            "speakers": len({utterance.speaker for utterance in spoken.utterances}),
            "settings": settings,
            "versions": versions(),
            "started_from": None if start_from is None else str(start_from),
        }
        return run(trainer, task, record, writer, workers)


@contextmanager
def _training_folder(out: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Holds the lock of a training folder and checks that its settings are those of this call.

    Of several processes only the first does.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    with locked(out):
        record, wanted = out / "run.json", json.loads(json.dumps(settings))
        if record.exists():
            found = _with_later_fields(read_json(record).get("settings", {}))
            differing = sorted(name for name in wanted if found.get(name) != wanted[name])
            if differing:
                raise IntrospectError(
                    f"{out} holds a training run with other settings ({', '.join(differing)}); "
                    "name another --out"
                )
        else:
            write_json(record, {"settings": wanted, "versions": versions(), "revision": revision()})
        yield


LATER_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "schedule": {"optimiser": "adamw"},
    "augmentation": {"coding": 0.0},
    "curriculum": {"relaxed_after": 0, "plain_after": 0},
}
"""Settings that came later, and what runs from before did; those runs go on as they were started."""


def _with_later_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**LATER_FIELDS[name], **value} if name in LATER_FIELDS else value
        for name, value in settings.items()
    }


def _cached_in_turn(corpus: Corpus, features: FeatureConfig, folder: Path, workers: int) -> FeatureCache:
    """The cached features; of several processes the first computes them, the others then find them there."""
    if not distributed.is_initialized():
        return cache_features(corpus, features, folder, workers)
    cached = None
    for turn in range(distributed.get_world_size()):
        if turn == distributed.get_rank():
            cached = cache_features(corpus, features, folder, workers)
        distributed.barrier()
    assert cached is not None
    return cached


def drawn(corpus: Corpus, share: float, seed: int) -> Corpus:
    """A share of a corpus's seconds: whole utterances, drawn by seed; a larger share holds a smaller.

    Raises
    ------
    UsageError
        The share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share of the training speech is above 0 and at most 1, not {share}")
    if share == 1:
        return corpus
    order = generator(seed, "share").permutation(len(corpus.utterances))
    seconds = np.cumsum([corpus.utterances[place].duration for place in order])
    count = int(np.searchsorted(seconds, share * seconds[-1])) + 1
    return Corpus(tuple(corpus.utterances[place] for place in sorted(order[:count])), corpus.skipped)


def _hold_apart(corpus: Corpus, development: Corpus) -> None:
    shared = {u.speaker for u in corpus.utterances if u.speaker} & {
        u.speaker for u in development.utterances if u.speaker
    }
    if shared:
        raise IntrospectError(
            f"speakers in both training and development speech: {', '.join(sorted(shared)[:5])}; "
            "whole speakers must be held apart"
        )


def _with_phones(corpus: Corpus, segments: Mapping[str, Sequence[Segment]] | None) -> Corpus:
    """The utterances whose phones are known.

    Raises
    ------
    IntrospectError
        There are none.
    """
    known = tuple(utterance for utterance in corpus.utterances if utterance.name in (segments or {}))
    if not known:
        raise IntrospectError("a phoneme net needs the phones of its corpora: name a file with --times")
    unknown = tuple(
        Skipped(utterance.name, "no phones in the file of times")
        for utterance in corpus.utterances
        if utterance.name not in (segments or {})
    )
    return Corpus(known, (*corpus.skipped, *unknown))


def _targets(
    cache: FeatureCache, symbols: SymbolTable, segments: Mapping[str, Sequence[Segment]] | None
) -> list[list[int]]:
    if symbols.spells_text:
        return [symbols.classes(utterance.text) for utterance in cache.utterances]
    known = segments or {}
    return [symbols.classes([phone.symbol for phone in known[u.name]]) for u in cache.utterances]


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


def read_times(path: Path | str, kind: Literal["words", "phones"]) -> dict[str, Sequence[Segment]]:
    """Words or phones with their times by utterance name, from JSON lines as ``align`` writes them.

    Raises
    ------
    IntrospectError
        The file cannot be read, or a line is not of that form.
    """
    key = "word" if kind == "words" else "symbol"
    times: dict[str, Sequence[Segment]] = {}
    try:
        with Path(path).open(encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                times[entry["utterance"]] = tuple(
                    Segment(part[key], float(part["start"]), float(part["end"])) for part in entry[kind]
                )
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntrospectError(f"{path} is not a file of aligned {kind}: {error!r}") from error
    return times


@contextmanager
def joined_processes() -> Iterator[None]:
    """Joins the processes that ``torchrun`` started, if it did, for the length of the block."""
    if "RANK" not in os.environ:
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
