"""Progress bars and messages: on stderr, bars only on a terminal, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Switches bars and messages off inside the block when ``quiet`` is true."""
    token = _quiet.set(quiet or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(token)


def printable(text: str) -> str:
    """Text from strangers' files as a terminal may show it: control characters become question marks."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def say(message: str) -> None:
    """Prints a message on stderr, unless quiet."""
    if not _quiet.get():
        tqdm.write(message, file=sys.stderr)


def track(
    items: Iterable[Item], what: str, total: float | None = None, unit: str = "utterance"
) -> Iterator[Item]:
    """Yields the items behind a bar on stderr; the bar appears only on a terminal and when not quiet."""
    hidden = _quiet.get() or not sys.stderr.isatty()
    yield from tqdm(items, desc=what, total=total, unit=f" {unit}", disable=hidden, file=sys.stderr)


@contextmanager
def bar(what: str, total: float, unit: str = "s") -> Iterator[tqdm[None]]:
    """A bar that the caller moves with ``.update(amount)``; hidden like :func:`track`."""
    hidden = _quiet.get() or not sys.stderr.isatty()
    with tqdm(desc=what, total=total, unit=f" {unit}", disable=hidden, file=sys.stderr) as moving:
        yield moving
