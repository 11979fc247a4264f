"""Imports go one way (ARCHITECTURE.md), and nothing heavy is imported before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asr_introspect

PACKAGE = Path(asr_introspect.__file__).parent
BASE = {"compiled", "errors", "files", "progress", "random", "resources", "convolution"}
LEVELS = (
    BASE,
    {"features", "corpus"},
    {"recogniser"},
    {"attribution", "training"},
    {"reporting", "images", "visualization", "projection", "introspection"},
    {"experiments"},
    {"commands"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FORBIDDEN = {
    "attribution": {"features", "corpus", "recogniser", "training", "files"},
    "images": {"features", "corpus", "recogniser"},
    "visualization": {"corpus"},
    "projection": {"corpus"},
    "reporting": {"recogniser", "attribution", "training"},
}
FROM_TRAINING = {"images": {"asr_introspect.training.loop"}}


def modules() -> Iterator[tuple[str, Path]]:
    """``(room, file)`` of every module in a room."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield parts[0], path


def imported(path: Path) -> Iterator[str]:
    """The modules of this package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "asr_introspect")


def may_import(room: str, name: str) -> bool:
    """Whether a room may import ``asr_introspect.OTHER...``."""
    parts = name.split(".")
    other = parts[1] if len(parts) > 1 else ""
    if other == room:
        return True
    if other in FORBIDDEN.get(room, set()):
        return False
    if other == "training" and room in FROM_TRAINING:
        return any(name.startswith(allowed) for allowed in FROM_TRAINING[room])
    return other in LEVEL and (LEVEL[other] < LEVEL[room] or (other in BASE and room in BASE))


def test_every_room_has_its_level() -> None:
    assert {room for room, _ in modules()} <= set(LEVEL)


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_imports_go_one_way(room: str) -> None:
    against = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for ours, path in modules()
        if ours == room
        for name in imported(path)
        if not may_import(room, name)
    ]
    assert not against


def test_the_rule_forbids_something() -> None:
    assert may_import("recogniser", "asr_introspect.corpus.audio.read_audio")
    assert may_import("images", "asr_introspect.training.loop.run")
    for room, name in (
        ("corpus", "recogniser.passes"),
        ("corpus", "features"),
        ("attribution", "training.loop"),
        ("reporting", "introspection.profiles"),
        ("images", "training.ctc"),
        ("experiments", "commands.shell"),
        ("errors", "corpus.audio"),
        ("experiments", "__getattr__"),
    ):
        assert not may_import(room, f"asr_introspect.{name}")


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded after some code, in a fresh interpreter."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_and_its_help_load_nothing_heavy() -> None:
    loaded = loaded_by(
        "import asr_introspect, asr_introspect.commands as c; dir(asr_introspect); c.main(['--help'])"
    )
    heavy = {"torch", "numpy", "matplotlib", "librosa", "scipy", "sklearn"}
    assert not heavy & loaded
    assert not [name for name in loaded if name.startswith("asr_introspect.corpus")]


def test_preparing_and_reporting_need_no_torch() -> None:
    rooms = [path for room, path in modules() if room in ("reporting", "corpus")]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in rooms]
    imports = "\n".join(f"import {name.removesuffix('.__init__')}" for name in names)
    assert "torch" not in loaded_by(imports + "\nimport asr_introspect.commands.prepare")


def test_what_is_exported_is_there() -> None:
    source = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: node.module
        for branch in source.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"asr_introspect.{home}" for name, home in asr_introspect._HOMES.items()}
    assert set(asr_introspect.__all__) == set(homes)
    assert typed == homes
    for name in asr_introspect.__all__:
        assert callable(getattr(asr_introspect, name))
    with pytest.raises(AttributeError, match="no attribute 'lode_model'"):
        asr_introspect.lode_model  # noqa: B018
