"""Opens the HDF5 files of a run and turns their strings into text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from asr_introspect.errors import IntrospectError


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file; an error that names it where it is damaged or lacks what it should hold."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise IntrospectError(
            f"{path} is damaged ({reason}); delete it and run introspect again on the folder"
        ) from error


def texts(values: Any) -> tuple[str, ...]:
    """Strings as HDF5 gives them (bytes or text) as text."""
    return tuple(value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values)
