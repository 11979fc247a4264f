"""Files are whole or absent, locks die with their owner, run folders take only what belongs in them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr_introspect.errors import IntrospectError
from asr_introspect.files import (
    FORMAT,
    locked,
    read_json,
    run_folder,
    sha256,
    write_json,
    write_text,
    writing,
)

IDENTITY = {"checkpoint": "a" * 64, "corpus": "b" * 64}


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: BaseException) -> None:
    """Fails in the middle of writing."""
    with writing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_file_is_whole_or_the_old_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


def test_a_kill_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    code = (
        "import sys, time; from asr_introspect.files import writing\n"
        "with writing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_is_one_line_and_leaves_the_old_one(tmp_path: Path) -> None:
    """The operating system's own refusal, by a limit on the size of files."""
    write_text(tmp_path / "a", "old")
    code = (
        "import resource, signal, sys\nfrom asr_introspect.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_text(sys.argv[1], 'x' * 5000)\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"IntrospectError cannot write {tmp_path / 'a'}: File too large\n"
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_an_unwritable_place_is_one_line() -> None:
    with pytest.raises(IntrospectError, match="cannot write /proc/nowhere/a: "):
        write_text("/proc/nowhere/a", "text")


def test_json(tmp_path: Path) -> None:
    value = {"é": [1, 2.5, None, "x"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(IntrospectError, match=r"b\.json is not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(IntrospectError, match="cannot read"):
        read_json(tmp_path / "missing.json")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()
    with pytest.raises(IntrospectError, match="cannot read"):
        sha256(tmp_path / "missing")


def test_a_lock_holds_others_off_and_dies_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time; from asr_introspect.files import locked\n"
        "with locked(sys.argv[1]):\n    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(IntrospectError, match="in use by another run"), locked(tmp_path / "run"):
            pass
        process.kill()
    with locked(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(IntrospectError, match="cannot write to /proc/nowhere"), locked("/proc/nowhere"):
        pass


def test_a_run_folder_keeps_what_each_part_was_run_with(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with run_folder(out, "introspect", {"layers": ("layer1", "layer2")}, IDENTITY, seed=3, argv=["a", "b"]):
        assert read_json(out / "run.json")["parts"]["introspect"]["complete"] is False
    with run_folder(out, "audit", {"rule": "epsilon"}, IDENTITY):
        pass
    record = read_json(out / "run.json")
    assert record["format"] == FORMAT
    assert record["identity"] == IDENTITY
    assert set(record["parts"]) == {"introspect", "audit"}
    part = record["parts"]["introspect"]
    assert (part["argv"], part["seed"], part["complete"]) == (["a", "b"], 3, True)
    assert part["settings"] == {"layers": ["layer1", "layer2"]}
    assert part["versions"]["python"].startswith("3.")


def test_a_part_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    settings = {"layers": ("layer1",), "groups": 3}
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, "introspect", settings, IDENTITY):
        raise KeyboardInterrupt
    assert not read_json(tmp_path / "run.json")["parts"]["introspect"]["complete"]
    with run_folder(tmp_path, "introspect", settings, IDENTITY):
        pass
    with (
        pytest.raises(IntrospectError, match=r"other settings \(groups\).*--overwrite"),
        run_folder(tmp_path, "introspect", settings | {"groups": 4}, IDENTITY),
    ):
        pass
    with run_folder(tmp_path, "introspect", settings | {"groups": 4}, IDENTITY, overwrite=True):
        pass
    assert read_json(tmp_path / "run.json")["parts"]["introspect"]["settings"]["groups"] == 4


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    with run_folder(run, "part", {}, {"corpus": "a"}):
        pass
    for place in (
        run / ".table.csv.1.partial",
        run / "work" / ".moments.h5.1.partial",
        other / ".x.2.partial",
    ):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"half")
    (run / "kept.partial").write_bytes(b"")
    with pytest.raises(IntrospectError):
        run_folder(run, "part", {}, {"corpus": "b"}).__enter__()
    assert len(list(run.rglob(".*.partial"))) == 2
    for place in (run, other):
        with run_folder(place, "part", {}, {"corpus": "a"}):
            pass
    assert not list(run.rglob(".*.partial"))
    assert (run / "kept.partial").exists()
    assert (other / ".x.2.partial").exists()  # it was no run: whose this is, nobody knows


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    with run_folder(tmp_path, "introspect", {}, IDENTITY):
        pass
    with (
        pytest.raises(IntrospectError, match=r"other corpus.*name another --out"),
        run_folder(tmp_path, "audit", {}, IDENTITY | {"corpus": "c"}),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 99, "identity": {}, "parts": {}}', "newer asr-introspect"),
        ('{"settings": {}}', "not of a run"),
        ("[]", "not of a run"),
        ("{", "is not JSON"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(IntrospectError, match=message), run_folder(tmp_path, "introspect", {}, IDENTITY):
        pass
    assert (tmp_path / "run.json").read_text() == content


def test_files_have_the_permissions_of_any_file(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "text")
    (tmp_path / "any").write_text("text")
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "any").st_mode  # noqa: PTH116
