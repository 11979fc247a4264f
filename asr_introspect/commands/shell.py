"""Parsing, configuration files, errors and exit codes: what lies between the process and a command."""

from __future__ import annotations

import ast
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from cyclopts import App, CycloptsError, Parameter, UnknownOptionError
from cyclopts.argument import Argument, ArgumentCollection, update_argument_collection

from asr_introspect.commands.common import Common
from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.progress import printable, quietly

# fmt: off
COMMANDS = (
    "demo",
    "prepare", "train", "transcribe", "evaluate", "align", "introspect", "report",
    "attribute", "audit", "merge", "visualize", "project", "transfer", "similarity", "compare", "describe",
    "patch", "algebra", "cortex", "psychometrics",
    "images",
)
# fmt: on
"""In the order of the help page. A command is there when its module ``commands/NAME.py`` is."""

COULD_NOT, WRONG_CALL = 1, 2
BROKEN_PIPE = 141
"""Exit code when the reader of stdout went away, as shells expect it: 128 + SIGPIPE."""

_ABOUT = """Look inside convolutional speech recognisers.

Start with `asr-introspect demo --out runs/demo`: it runs the main job on the speech and the recogniser that
come with the package. For your own speech: `asr-introspect introspect --corpus CORPUS --out RUN`.
"""


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; Ctrl-C comes out as KeyboardInterrupt."""
    debug = "--debug" in arguments
    try:
        app = build(arguments)
        command, bound, _ = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
        common = next((value for value in bound.arguments.values() if isinstance(value, Common)), Common())
        debug = common.debug or debug
        with quietly(common.quiet):
            command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out; it must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except UsageError as error:
        return _fail(error, WRONG_CALL, debug)
    except CycloptsError as error:
        return _fail(_in_one_line(error), WRONG_CALL, debug)
    except IntrospectError as error:
        return _fail(error, COULD_NOT, debug)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", COULD_NOT, debug)
    except Exception as error:
        kind, where = type(error).__name__, "" if debug else " (--debug shows where; please report it)"
        return _fail(f"unexpected {kind}: {error}{where}", COULD_NOT, debug)
    return 0


def _fail(message: object, code: int, debug: bool) -> int:
    """Prints an error in one line, after its traceback where asked for; returns the exit code."""
    if debug:
        traceback.print_exc()
    line = " ".join(str(message).split())
    print(f"asr-introspect: {printable(line)}", file=sys.stderr)
    return code


def _in_one_line(error: CycloptsError) -> str:
    error.verbose = False
    command = " ".join(["asr-introspect", *(error.command_chain or ())])
    return f"{error} (see {command} --help)"


def build(arguments: Sequence[str]) -> App:
    """The application; no command is imported but the one that is called.

    The help page takes the first line of each command's docstring from its source.
    """
    app = App(
        name="asr-introspect",
        help=_ABOUT,
        help_format="markdown",
        version=lambda: metadata.version("asr-introspect"),
        config=configure,
        default_parameter=Parameter(negative_iterable=(), consume_multiple=True),
        result_action="return_value",
    )
    here = Path(__file__).parent
    for number, name in enumerate(COMMANDS):
        module = name.replace("-", "_")
        source = here / f"{module}.py"
        if not source.exists():
            continue
        target = "app" if name == "images" else module
        # With a help text of its own, the command's help page would show only that.
        text = None if name in arguments else _first_line(source, target)
        app.command(f"asr_introspect.commands.{module}:{target}", name=name, help=text, sort_key=number)
    return app


def _first_line(source: Path, function: str) -> str:
    """The first line of a function's docstring (of the module's, if there is no such function)."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    named = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(next(named, tree)) or "").partition("\n")[0]


def configure(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills what the command line leaves open from the YAML file that ``--config`` names, if it does.

    Raises
    ------
    IntrospectError
        The file cannot be read or is not YAML.
    UsageError
        It is no mapping, or has a key that is no flag of the command (the message says the near ones); a
        whole number is given with decimals, or a value for what has parts.
    """
    named = [token for argument in arguments if "--config" in argument.names for token in argument.tokens]
    if named:
        path = Path(named[-1].value)
        try:
            settings = read_configuration(path)
            update_argument_collection(settings, str(path), arguments, root_keys=(), allow_unknown=False)
        except UnknownOptionError as error:
            key = (error.token.keyword or "").strip("[]").replace("][", ".")
            raise unknown_name(f"key in {path}:", key, _keys(arguments)) from error
    for argument in arguments:
        _refuse_guesses(argument)


def _keys(arguments: ArgumentCollection) -> list[str]:
    """The keys that a configuration file may have."""
    names = [argument.name for argument in arguments if argument.parse and not argument.children]
    return sorted(name.removeprefix("--") for name in names if name.startswith("--") and name != "--config")


def _refuse_guesses(argument: Argument) -> None:
    """Refuses what cyclopts would take silently: 1.5, rounded, for a whole number; 7 for what has parts."""
    for token in argument.tokens:
        where = token.keyword or argument.name
        if argument.children and not token.keys and not token.value.lstrip().startswith("{"):
            parts = ", ".join(child.name for child in argument.children[:3])
            raise UsageError(f"{where} has parts ({parts}, ...): {token.value!r} is none of them")
        if argument.hint in (int, int | None) and not _whole(token.value):
            raise UsageError(f"{where} must be a whole number, not {token.value!r}")


def _whole(value: str) -> bool:
    """Whether a value is a whole number, or none at all (then cyclopts says so)."""
    try:
        return float(value).is_integer()
    except ValueError:
        return True


def read_configuration(path: Path) -> dict[str, Any]:
    """The settings in a YAML file: flags without their dashes, nested for dataclasses.

    Raises
    ------
    IntrospectError
        The file cannot be read or is not YAML.
    UsageError
        It is no mapping of names to values, or names another configuration file.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntrospectError(f"{path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise IntrospectError(f"{path} is not YAML: {getattr(error, 'problem', error)}{where}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UsageError(f"{path} must be a mapping of flags (without their dashes) to values")
    if "config" in settings:
        raise UsageError(f"{path}: a configuration file cannot name another (key config)")
    return settings
