"""``asr-introspect train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from asr_introspect.commands.common import Common, CorpusPath, Device, Seed
from asr_introspect.experiments.train import joined_processes
from asr_introspect.experiments.train import train as train_recogniser
from asr_introspect.features import FeatureConfig
from asr_introspect.progress import say
from asr_introspect.recogniser.network import NetworkConfig
from asr_introspect.training.augmentation import AugmentationConfig
from asr_introspect.training.ctc import Curriculum
from asr_introspect.training.loop import ScheduleConfig


def train(
    *,
    corpus: CorpusPath,
    development: CorpusPath,
    out: Annotated[Path, Parameter(help="The run's folder; the same command goes on from what is in it.")],
    network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
    features: FeatureConfig = FeatureConfig(),  # noqa: B008 - frozen
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    schedule: ScheduleConfig = ScheduleConfig(),  # noqa: B008 - frozen
    curriculum: Curriculum = Curriculum(),  # noqa: B008 - frozen
    targets: Annotated[
        Literal["letters", "phonemes"],
        Parameter(help="Letters of the transcripts, or the phones that --times gives."),
    ] = "letters",
    times: Annotated[
        Path | None,
        Parameter(help="Words (and phones) with their times, JSON lines as align writes them."),
    ] = None,
    start_from: Annotated[
        Path | None, Parameter(help="A checkpoint whose weights a fresh run starts from.")
    ] = None,
    cache: Annotated[Path | None, Parameter(help="Folder of the cached features; OUT/cache.")] = None,
    share: Annotated[
        float, Parameter(help="Learn from this share of the training speech only: for learning curves.")
    ] = 1.0,
    tensorboard: Annotated[bool, Parameter(negative=(), help="Write TensorBoard's files too.")] = False,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        Parameter(help="Processes that make features and batches; else none, or up to 8 beside a GPU."),
    ] = None,
    seed: Seed = 0,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Train a recogniser with CTC; stopped at any point, the same command goes on.

    OUT holds best.safetensors (the weights with the lowest development letter error so far), snapshots of
    the weights at every doubling of the updates, metrics.jsonl and the state to go on from. Whole speakers
    are held apart: one that is in both corpora is an error. Several GPUs or hosts: start it with torchrun.

    Example: asr-introspect train --config recipes/librispeech/conf/small.yaml --corpus train.jsonl
    --development development.jsonl --out runs/small
    """
    with joined_processes():
        figures = train_recogniser(
            corpus,
            development,
            out,
            network=network,
            features=features,
            augmentation=augmentation,
            schedule=schedule,
            curriculum=curriculum,
            targets=targets,
            times=times,
            start_from=start_from,
            cache=cache,
            share=share,
            tensorboard=tensorboard,
            seed=seed,
            device=device,
            workers=workers,
        )
    say(
        ", ".join(f"development {name} {value:.4f}" for name, value in figures.items())
        or "nothing left to do"
    )
    print(out / "best.safetensors")
