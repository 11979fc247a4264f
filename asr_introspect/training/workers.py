"""Work that other processes do ahead of its use: batches and spectrograms."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made", covariant=True)


class Makes(Protocol[Made]):
    """What makes the thing of a number."""

    def __getitem__(self, number: int) -> Made:
        """Makes it; the same for the same number, in whichever process."""


def in_order(makes: Makes[Made], numbers: Sequence[int], workers: int) -> Generator[Made, None, None]:
    """What ``makes`` makes of each number, in order, by so many processes; 0: by a thread, one ahead."""
    if not numbers:
        return
    if workers > 0:
        yield from DataLoader(
            cast("Dataset[Made]", makes),
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            worker_init_fn=_leave_signals,
            generator=torch.Generator(),  # else it draws from torch's own
        )
        return
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(makes.__getitem__, numbers[0])
        for number in numbers[1:]:
            present, coming = coming, ahead.submit(makes.__getitem__, number)
            yield present.result()
        yield coming.result()


def _leave_signals(worker: int) -> None:
    """Ctrl-C and SIGTERM, which may come to all, are for the first process, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def usual_workers(device: torch.device) -> int:
    """Processes that keep a device busy: none beside training on a processor, up to eight beside a GPU."""
    return 0 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) - 1))
