"""The command line: ``asr-introspect COMMAND``; one thin module per command."""

from __future__ import annotations

from collections.abc import Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code.

    0: done; 1: could not be done; 2: the call was wrong; 130: stopped by Ctrl-C.

    Parameters
    ----------
    arguments
        Those of the process, if not given.
    """
    import sys

    try:
        from asr_introspect.commands.shell import run

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        print("asr-introspect: stopped", file=sys.stderr)
        return INTERRUPTED
