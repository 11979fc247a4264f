"""A wheel holds everything: rooms, templates, reference recogniser and demo corpus, found from any folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from asr_introspect import bundled
from asr_introspect.errors import IntrospectError, UsageError
from tests.conftest import REPOSITORY


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of a copy of the repository, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("asr_introspect", "data"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    # Stand-ins: there is a twin, and a net that only a clone has, whatever is committed today.
    for name in ("phonemes", "another-net"):
        (source / "data" / "models" / f"{name}.safetensors").touch()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def contents(folder: Path, *patterns: str) -> set[str]:
    """The files that match, relative to the folder."""
    return {str(path.relative_to(folder)) for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.speech
def test_a_wheel_holds_every_module_and_all_bundled_data(unpacked: Path) -> None:
    files = {
        name
        for name in contents(REPOSITORY, "asr_introspect/**/*")
        if (REPOSITORY / name).is_file() and "__pycache__" not in name
    }
    assert len(files) > 50
    assert files <= contents(unpacked, "asr_introspect/**/*")
    bundled_data = {
        name
        for name in contents(REPOSITORY / "data", "models/README.md", "demo/**/*")
        if (REPOSITORY / "data" / name).is_file()
    }
    assert any(name.endswith(".opus") or name.endswith(".ogg") for name in bundled_data)
    assert any(name.endswith(".TextGrid") for name in bundled_data)
    assert bundled_data <= contents(unpacked / "asr_introspect" / "data", "**/*")
    assert not contents(unpacked, "tests*", "recipes*", "runs*")


@pytest.mark.speech
def test_a_wheel_holds_the_checkpoints_that_commands_fall_back_to_and_no_other(unpacked: Path) -> None:
    models = unpacked / "asr_introspect" / "data" / "models"
    assert contents(models, "*.safetensors") == {"reference.safetensors", "phonemes.safetensors"}
    reference = REPOSITORY / "data" / "models" / "reference.safetensors"
    assert (models / "reference.safetensors").stat().st_size == reference.stat().st_size


@pytest.mark.speech
def test_a_wheel_stays_below_95_megabytes(unpacked: Path) -> None:
    (wheel,) = unpacked.parent.glob("*.whl")
    assert wheel.stat().st_size < 95e6


@pytest.mark.speech
def test_a_clone_has_further_checkpoints_and_a_wheel_has_not(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from asr_introspect import bundled; print(bundled('another-net'))"
    )
    source = unpacked.parent / "source"

    def found_in(place: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, str(place)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert found_in(source).stdout.strip() == str(source / "data" / "models" / "another-net.safetensors")
    refused = found_in(unpacked)
    assert refused.returncode != 0
    assert "unknown bundled item 'another-net'" in refused.stderr


@pytest.mark.speech
def test_what_is_bundled_is_found_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r})\n"
        "from asr_introspect import bundled, read_corpus\n"
        "print(bundled('demo')); print(len(read_corpus(bundled('demo')).utterances))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    place, count = done.stdout.splitlines()
    assert Path(place) == unpacked / "asr_introspect" / "data" / "demo"
    assert int(count) == 160


def test_what_is_bundled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundled("demo") == REPOSITORY / "data" / "demo"
    with pytest.raises(UsageError, match="did you mean 'reference'"):
        bundled("refrence")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(IntrospectError, match="lacks models/reference"):
        bundled("reference")
