"""One training loop for every task: schedule, averaging, mixed precision, processes, exact resumption."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Literal, Protocol, TypeVar

import safetensors
import safetensors.torch
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from asr_introspect.errors import IntrospectError
from asr_introspect.files import writing
from asr_introspect.progress import bar, say
from asr_introspect.random import torch_generator
from asr_introspect.training.optimisers import OptimiserName, Optimisers
from asr_introspect.training.workers import in_order

BatchType = TypeVar("BatchType")


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast to train.

    Parameters
    ----------
    updates
        Number of updates in all.
    optimiser
        ``muon``: weights of hidden layers by Muon (Jordan 2024; updates of AdamW's size, Liu 2025),
        all else by AdamW; here it reached AdamW's error with about half of the speech. ``adamw``: all by
        AdamW. See :mod:`training.optimisers`.
    learning_rate
        The highest, reached after ``warmup`` updates; it falls to zero along a cosine.
    weight_decay
        Decoupled decay, on weights of more than one axis.
    betas
        AdamW's averaging of gradients and of their squares.
    clip
        Largest norm of the gradient.
    average
        Decay of the running average of the weights; what is evaluated and shipped is the average.
    precision
        ``bfloat16``: autocast; ``float32``; ``float64``: exact comparisons; ``auto``: bfloat16 on GPUs and
        on processors with matrix units.
    evaluate_every, save_minutes
        Updates from one evaluation to the next; minutes from one saved state to the next.
    first_snapshot
        Averaged weights are kept after this many updates, and at every doubling.
    """

    updates: int = 20_000
    optimiser: OptimiserName = "muon"
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    average: float = 0.999
    precision: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    evaluate_every: int = 1000
    save_minutes: float = 5.0
    first_snapshot: int = 100

    def rate(self, update: int) -> float:
        """The learning rate of an update, counted from 0."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / self.warmup
        done = (update - self.warmup) / max(self.updates - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Task(Protocol[BatchType]):
    """What is trained: where batches come from, their loss, and how good a network is."""

    def batch(self, update: int, rank: int, processes: int) -> BatchType:
        """This process's share of the batch of an update; the same for the same update, always."""

    def loss(self, network: nn.Module, batch: BatchType, update: int) -> tuple[Tensor, float, float]:
        """The summed loss of a batch, what it is a sum over (a number), and its seconds of speech."""

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Figures of a network, ``error`` among them: the smaller, the better."""

    def save(self, path: Path, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Writes a checkpoint of these weights."""


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 where autocast is asked for, or under ``auto`` where it pays; None: stay in float32."""
    if precision in ("float32", "float64"):
        return None
    if precision == "bfloat16" or device.type == "cuda":
        return torch.bfloat16
    flags = Path("/proc/cpuinfo")
    return torch.bfloat16 if flags.exists() and "amx_bf16" in flags.read_text() else None


class Trainer:
    """The state of a training run: network, averaged weights, optimiser, number of updates done.

    Parameters
    ----------
    network
        Fresh or loaded; trained in place, on its device.
    out
        The run's folder: ``best.safetensors``, ``state/``, ``snapshots/``, ``metrics.jsonl``.
    """

    def __init__(self, network: nn.Module, schedule: ScheduleConfig, out: Path, seed: int) -> None:
        self.network = network.double() if schedule.precision == "float64" else network
        self.schedule = schedule
        self.out = out
        self.seed = seed
        self.update = 0
        self.best = math.inf
        self.seconds = 0.0
        self.device = next(network.parameters()).device
        self.autocast = autocast_type(schedule.precision, self.device)
        self.optimisers = Optimisers(
            network, schedule.optimiser, weight_decay=schedule.weight_decay, betas=schedule.betas
        )
        self.averaged = {
            name: value.detach().clone()
            for name, value in network.state_dict().items()
            if value.is_floating_point()
        }
        self.processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0

    def step(self, task: Task[BatchType], batch: BatchType) -> tuple[float, float, float]:
        """One update. Returns the mean loss, the gradient's norm before clipping, and seconds of speech."""
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        with _dropout_seed(self.seed, self.update, self.rank, self.device):
            with torch.autocast(
                self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
            ):
                total, count, seconds = task.loss(self.network, batch, self.update)
            total.backward()  # type: ignore[no-untyped-call]
        loss, count, seconds = self._over_processes(float(total.detach()), count, seconds)
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if self.processes > 1:
            for gradient in gradients:
                distributed.all_reduce(gradient)
        norm = float(nn.utils.get_total_norm(gradients)) / max(count, 1.0)
        if math.isfinite(norm):
            clipped = min(1.0, self.schedule.clip / (norm + 1e-6))
            torch._foreach_mul_(gradients, clipped / max(count, 1.0))
            self.optimisers.step(self.schedule.rate(self.update))
            self._average()
        self.update += 1
        self.seconds += seconds
        return loss / max(count, 1.0), norm, seconds

    def _average(self) -> None:
        decay = min(self.schedule.average, (1 + self.update) / (10 + self.update))
        current = self.network.state_dict()
        names = list(self.averaged)
        torch._foreach_lerp_(
            [self.averaged[name] for name in names], [current[name] for name in names], 1 - decay
        )

    def reset_average(self) -> None:
        """Starts the running average anew from the network's present weights."""
        for name, value in self.network.state_dict().items():
            if name in self.averaged:
                self.averaged[name].copy_(value)

    def _over_processes(self, *numbers: float) -> tuple[float, ...]:
        if self.processes == 1:
            return numbers
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return tuple(summed.tolist())

    @contextmanager
    def with_average(self) -> Iterator[nn.Module]:
        """The network holding the averaged weights, in eval mode, inside the block."""
        raw = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged, strict=False)
        self.network.eval()
        try:
            yield self.network
        finally:
            self.network.load_state_dict(raw)

    def save_state(self) -> None:
        """Writes all that is needed to go on, in one file, atomically."""
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"averaged/{name}": value for name, value in self.averaged.items()}
        tensors |= {f"optimiser/{key}/{name}": value for key, name, value in self.optimisers.state()}
        record = {"update": self.update, "best": self.best, "seconds": self.seconds}
        header = {"state": json.dumps({k: (None if v == math.inf else v) for k, v in record.items()})}
        with writing(self.out / "state" / "state.safetensors") as temporary:
            safetensors.torch.save_file(
                {name: value.contiguous() for name, value in tensors.items()}, temporary, metadata=header
            )

    def load_state(self) -> bool:
        """Goes on from the saved state; false where there is none.

        Raises
        ------
        IntrospectError
            The state is of another network or damaged.
        """
        path = self.out / "state" / "state.safetensors"
        if not path.exists():
            return False
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                record = json.loads(file.metadata()["state"])
            tensors = safetensors.torch.load_file(path)
            network = {n[8:]: value for n, value in tensors.items() if n.startswith("network/")}
            self.network.load_state_dict(network)
            for name, value in self.averaged.items():
                value.copy_(tensors[f"averaged/{name}"])
        except (safetensors.SafetensorError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise IntrospectError(f"{path} does not fit this run; delete the folder to start anew") from error
        for place, value in tensors.items():
            if place.startswith("optimiser/"):
                _, key, name = place.split("/", 2)
                self.optimisers.load(key, name, value)
        self.update = int(record["update"])
        self.best = math.inf if record["best"] is None else float(record["best"])
        self.seconds = float(record["seconds"])
        return True


@contextmanager
def _dropout_seed(seed: int, update: int, rank: int, device: torch.device) -> Iterator[None]:
    """torch's own generator, which dropout draws from, seeded for this update alone and put back after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(torch_generator(seed, "dropout", update, rank).initial_seed())
        yield


class StopRequest:
    """Whether Ctrl-C or SIGTERM has come: the loop then ends after the update it is in.

    A second Ctrl-C interrupts at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signum

    @contextmanager
    def watching(self) -> Iterator[StopRequest]:
        """Takes over SIGINT and SIGTERM inside the block (only where this is the main thread)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Writer(Protocol):
    """What takes figures as training goes, as TensorBoard's SummaryWriter does."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Takes one figure of an update."""


def event_writer(folder: Path) -> Writer:
    """TensorBoard's writer.

    Raises
    ------
    IntrospectError
        TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise IntrospectError("--tensorboard needs: pip install 'asr-introspect[tensorboard]'") from error
    writer: Writer = SummaryWriter(str(folder))
    return writer


def run(
    trainer: Trainer,
    task: Task[BatchType],
    record: Mapping[str, Any],
    writer: Writer | None = None,
    workers: int = 0,
) -> dict[str, float]:
    """Trains to the end of the schedule, from where the folder's state stands; returns the last figures.

    Interrupted by Ctrl-C or SIGTERM, the state is saved first; after a kill, the last saved state counts.
    Either way the same call goes on and ends at the weights of an undisturbed run.

    Parameters
    ----------
    record
        What the checkpoints' headers say about the training (corpus, settings).
    workers
        Processes that make batches; 0: a thread of this one makes the next batch during an update.
    """
    metrics = Metrics(trainer.out / "metrics.jsonl", trainer.update, trainer.rank == 0, writer)
    figures: dict[str, float] = {}
    schedule = trainer.schedule
    made = _Batches(task, trainer.rank, trainer.processes)
    saved = time.monotonic()
    with (
        closing(in_order(made, range(trainer.update, schedule.updates), workers)) as batches,
        bar("training", schedule.updates, "update") as moving,
        StopRequest().watching() as stop,
    ):
        moving.update(trainer.update)
        while trainer.update < schedule.updates and stop.signal is None:
            batch = next(batches)
            started = time.monotonic()
            loss, norm, seconds = trainer.step(task, batch)
            metrics.add(trainer.update, loss, norm, seconds, time.monotonic() - started)
            moving.update(1)
            done = trainer.update
            if done % schedule.evaluate_every == 0 or done == schedule.updates:
                figures = _evaluate(trainer, task, metrics, record)
            if _is_snapshot(done, schedule.first_snapshot) and trainer.rank == 0:
                task.save(_snapshot(trainer.out, done), trainer.averaged, {**record, "updates": done})
            if trainer.rank == 0 and time.monotonic() - saved > 60 * schedule.save_minutes:
                trainer.save_state()
                saved = time.monotonic()
    if trainer.rank == 0:
        trainer.save_state()
    if stop.signal is not None:
        say(f"stopped after update {trainer.update}; the same command goes on from there")
        raise KeyboardInterrupt
    return figures


@dataclass(frozen=True)
class _Batches(Generic[BatchType]):
    """A process's batch of each update."""

    task: Task[BatchType]
    rank: int
    processes: int

    def __getitem__(self, update: int) -> BatchType:
        return self.task.batch(update, self.rank, self.processes)


def _snapshot(out: Path, update: int) -> Path:
    return out / "snapshots" / f"{update:06d}.safetensors"


def _is_snapshot(update: int, first: int) -> bool:
    return update >= first and update % first == 0 and (update // first).bit_count() == 1


def _evaluate(
    trainer: Trainer, task: Task[BatchType], metrics: Metrics, record: Mapping[str, Any]
) -> dict[str, float]:
    """Evaluates the averaged weights, keeps them if they are the best so far, and writes the figures."""
    if trainer.rank != 0:
        return {}
    with trainer.with_average() as network:
        figures = task.evaluate(network)
    better = figures["error"] <= trainer.best
    if better:
        trainer.best = figures["error"]
        described = {**record, "updates": trainer.update, "hours_seen": trainer.seconds / 3600, **figures}
        task.save(trainer.out / "best.safetensors", trainer.averaged, described)
    metrics.evaluated(trainer.update, figures)
    return figures


REPORTED_EVERY = 50
"""Updates from one line of ``metrics.jsonl`` to the next."""


class Metrics:
    """``metrics.jsonl``: a line every 50 updates and at every evaluation; TensorBoard's if asked for."""

    def __init__(self, path: Path, update: int, enabled: bool = True, writer: Writer | None = None) -> None:
        self.path = path
        self.writer = writer
        self.enabled = enabled
        self.loss = math.nan
        self._losses: list[float] = []
        self._seconds = 0.0
        self._elapsed = 0.0
        if enabled:
            self._keep_until(update)

    def _keep_until(self, update: int) -> None:
        """Drops lines of updates that a resumed run will do again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["update"] <= update]
        with writing(self.path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, update: int, loss: float, norm: float, seconds: float, elapsed: float) -> None:
        """Takes in one update: its loss, gradient norm, seconds of speech and of time."""
        self._losses.append(loss)
        self._seconds += seconds
        self._elapsed += elapsed
        if update % REPORTED_EVERY == 0:
            self.loss = sum(self._losses) / len(self._losses)
            self._write(
                update=update,
                loss=round(self.loss, 5),
                norm=round(norm, 4) if math.isfinite(norm) else None,
                speech_per_second=round(self._seconds / max(self._elapsed, 1e-9), 1),
                time=round(time.time(), 1),
            )
            self._losses, self._seconds, self._elapsed = [], 0.0, 0.0

    def evaluated(self, update: int, figures: Mapping[str, float]) -> None:
        """Takes in the figures of an evaluation."""
        self._write(update=update, **{f"development_{k}": round(v, 5) for k, v in figures.items()})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        recent = sum(self._losses) / len(self._losses) if self._losses else self.loss
        said = "" if math.isnan(recent) else f"loss {recent:.3f}, "
        say(f"update {update}: {said}development {shown}")

    def _write(self, **values: float | int | None) -> None:
        if self.enabled:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
            for name, value in values.items():
                if self.writer is not None and name != "update" and value is not None:
                    self.writer.add_scalar(name, float(value), int(values["update"] or 0))
