"""Errors a user can act on: one line that names the file and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class IntrospectError(Exception):
    """Something could not be done. The message is one line; the command line exits with 1."""


class UsageError(IntrospectError):
    """The call itself is wrong (an unknown name, a value out of range). The command line exits with 2."""


def unknown_name(kind: str, name: object, known: Iterable[object]) -> UsageError:
    """The error for a name that is not among those known, saying the near ones.

    ``unknown_name("layer", "layr9", layers)`` reads ``unknown layer 'layr9'; did you mean 'layer9'?``
    and lists the known names.
    """
    choices = [str(choice) for choice in known]
    near = get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(choice) for choice in near)}?" if near else ""
    listed = ", ".join(choices[:40]) + (", ..." if len(choices) > 40 else "")
    return UsageError(f"unknown {kind} {str(name)!r}{hint} (known: {listed})")


def known_names(kind: str, names: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order given.

    Raises
    ------
    UsageError
        One is not among those known (see :func:`unknown_name`).
    """
    choices = tuple(known)
    for name in names:
        if name not in choices:
            raise unknown_name(kind, name, choices)
    return tuple(dict.fromkeys(names))
