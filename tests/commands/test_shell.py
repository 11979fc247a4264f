"""Parsing, configuration files, exit codes and one-line errors of the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, CycloptsError

from asr_introspect.commands import main, prepare, shell
from asr_introspect.commands.common import Common, CorpusPath, Device, Seed
from asr_introspect.errors import IntrospectError, UsageError
from tests.conftest import CorpusMaker

COMMAND = [sys.executable, "-m", "asr_introspect"]


@dataclass(frozen=True)
class Schedule:
    """A dataclass as commands take it."""

    updates: int = 100
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)


def parsed(*arguments: str) -> dict[str, Any]:
    """What a command with settings of every kind is called with."""
    got: dict[str, Any] = {}

    def practise(
        corpus: CorpusPath | None = None,
        *,
        seed: Seed = 0,
        limit: int | None = None,
        fast: bool = False,
        layers: tuple[str, ...] = (),
        schedule: Schedule = Schedule(),
        device: Device = "auto",
        common: Common = Common(),  # noqa: B008 - frozen
    ) -> None:
        got.update(locals())

    like_ours = shell.build(())
    app = App(
        config=shell.configure, default_parameter=like_ours.default_parameter, result_action="return_value"
    )
    app.command(practise)
    command, bound, _ = app.parse_args(["practise", *arguments], exit_on_error=False, print_error=False)
    command(*bound.args, **bound.kwargs)
    return got


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    """A file that sets everything."""
    path = tmp_path / "conf.yaml"
    path.write_text(
        "corpus: some place\nseed: 3\nlimit: 5\nfast: true\nlayers: [layer1, layer2]\n"
        "device: cpu\nquiet: true\n"
        "schedule:\n  updates: 7\n  learning-rate: 1e-2\n  betas: [0.5, 0.6]\n"
    )
    return str(path)


def test_defaults() -> None:
    got = parsed()
    assert got["common"] == Common()
    assert (got["seed"], got["limit"], got["schedule"]) == (0, None, Schedule())


def test_the_file_is_above_the_defaults(configuration: str) -> None:
    got = parsed("--config", configuration)
    assert got["corpus"] == Path("some place")
    assert (got["seed"], got["limit"], got["fast"], got["device"]) == (3, 5, True, "cpu")
    assert got["layers"] == ("layer1", "layer2")
    assert got["schedule"] == Schedule(7, 0.01, (0.5, 0.6))
    assert got["common"].quiet


@pytest.mark.parametrize("file_first", [True, False])
@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_a_flag_is_above_the_file_wherever_it_stands(configuration: str, file_first: bool, form: str) -> None:
    flags = ["--seed", "9", "--no-fast", "--layers", "layer9", "layer10", "--corpus=mine"]
    flags += ["--schedule.updates", "1", "--schedule.betas", "0.1", "0.2"]
    file = form.replace("{}", configuration).split(" ")
    got = parsed(*(file + flags if file_first else flags + file))
    assert (got["seed"], got["fast"], got["layers"]) == (9, False, ("layer9", "layer10"))
    assert got["corpus"] == Path("mine")
    assert got["limit"] == 5
    assert got["schedule"] == Schedule(1, 0.01, (0.1, 0.2))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("seeed: 3\n", UsageError, "unknown key in .*: 'seeed'; did you mean 'seed'"),
        ("schedule:\n  updaets: 3\n", UsageError, "'schedule.updaets'; did you mean 'schedule.updates'"),
        ("practise: 3\n", UsageError, "unknown key"),
        ("schedule: 7\n", UsageError, "has parts"),
        ("seed: 1.5\n", UsageError, "must be a whole number, not '1.5'"),
        ("seed: many\n", CycloptsError, "unable to convert"),
        ("seed: [1, 2]\n", CycloptsError, "unable to convert"),
        ("device: tpu\n", CycloptsError, "Choose from"),
        ("- a\n- b\n", UsageError, "must be a mapping"),
        ("3: a\n", UsageError, "must be a mapping"),
        ("config: other.yaml\n", UsageError, "cannot name another"),
        ("a: [1\nb: 2\n", IntrospectError, "is not YAML.* line 2"),
        ("a: !!python/object/apply:os.system ['touch /tmp/owned']\n", IntrospectError, "is not YAML"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(content)
    with pytest.raises(error, match=message):
        parsed("--config", str(path))
    assert not Path("/tmp/owned").exists()


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text("# nothing\n")
    assert parsed("--config", str(tmp_path / "conf.yaml"))["seed"] == 0


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IntrospectError, match="cannot read"):
        parsed("--config", str(tmp_path / "missing.yaml"))
    (tmp_path / "conf.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IntrospectError, match="not UTF-8"):
        parsed("--config", str(tmp_path / "conf.yaml"))


@pytest.mark.parametrize("flags", [["--seed", "1.5"], ["--schedule.updates", "0.5"], ["--schedule", "7"]])
def test_what_cyclopts_would_guess_is_refused(flags: list[str]) -> None:
    with pytest.raises(UsageError):
        parsed(*flags)


# The real command line


def one_line(captured: str) -> str:
    """The only line of an error."""
    assert captured.count("\n") == 1, captured
    assert captured.startswith("asr-introspect: ")
    return captured


def test_help_lists_every_command_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    modules = {path.stem for path in Path(shell.__file__).parent.glob("*.py")}
    commands = {name.replace("-", "_") for name in shell.COMMANDS} & modules
    assert commands == modules - {"__init__", "common", "shell"}
    assert all(name.replace("_", "-") in captured.out for name in commands)
    assert "Check a corpus once" in captured.out


@pytest.mark.speech
def test_every_command_has_help_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    for name in shell.COMMANDS:
        if (Path(shell.__file__).parent / f"{name.replace('-', '_')}.py").exists():
            assert main([name, "--help"]) == 0
            page = capsys.readouterr().out
            assert "--config" in page or name == "images", name
            assert len(page) > 600, name


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepair"], 'Unknown command "prepair". Did you mean "prepare"?'),
        (["prepare"], "requires an argument"),
        (["prepare", ".", "--out"], "requires an argument"),
        (["prepare", ".", "--out", "m.jsonl", "--max-uterances", "3"], "Did you mean --max-utterances?"),
        (["prepare", ".", "--out", "m.jsonl", "--max-utterances", "0"], "at least 1"),
        (["prepare", ".", "..", "--out", "m.jsonl"], "Unused"),
    ],
)
def test_wrong_calls_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in one_line(captured.err)


def test_what_cannot_be_done_exits_1(capsys: pytest.CaptureFixture[str], make_corpus: CorpusMaker) -> None:
    assert main(["prepare", "/nowhere", "--out", "m.jsonl"]) == 1
    assert "no such file or folder: /nowhere" in one_line(capsys.readouterr().err)
    corpus = make_corpus({"1-2-0000": "HELLO"})
    assert main(["prepare", str(corpus), "--out", "/proc/nowhere/m.jsonl"]) == 1
    assert "cannot write /proc/nowhere/m.jsonl" in one_line(capsys.readouterr().err)


def test_prepare(capsys: pytest.CaptureFixture[str], tmp_path: Path, make_corpus: CorpusMaker) -> None:
    corpus = make_corpus({"1-2-0000": "HELLO", "1-2-0001": "4 YOU", "3-4-0000": "\x1b[31mRED"})
    out = tmp_path / "m.jsonl"
    assert main(["prepare", str(corpus), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "skipped 2:" in captured.err
    assert "1-2-0001: digits" in captured.err
    assert "\x1b" not in captured.err
    assert "1 utterances, 0.00 h, 1 speakers, 2 skipped" in captured.err
    assert len(out.read_text().splitlines()) == 1
    assert main(["prepare", str(corpus), "--out", str(out), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_prepare_from_a_configuration(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    corpus = make_corpus({f"1-2-000{i}": "HELLO" for i in range(3)})
    settings = {"corpus": str(corpus), "out": str(tmp_path / "m.jsonl"), "max-utterances": 2}
    (tmp_path / "c.yaml").write_text(json.dumps(settings))
    assert main(["prepare", "--config", str(tmp_path / "c.yaml")]) == 0
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 2
    assert main(["prepare", "--max-utterances", "1", "--config", str(tmp_path / "c.yaml")]) == 0
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 1


def _raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (IntrospectError("two\nlines"), 1, "two lines"),
        (UsageError("wrong"), 2, "wrong"),
        (OSError(28, "No space left on device", "m.jsonl"), 1, "No space left on device: m.jsonl"),
        (ZeroDivisionError("division by zero"), 1, "unexpected ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_errors_are_one_line_without_debug_and_have_a_traceback_with_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(prepare, "prepare_corpus", _raising(error))
    arguments = ["prepare", ".", "--out", "m.jsonl"]
    assert main(arguments) == code
    assert message in one_line(capsys.readouterr().err)
    assert main([*arguments, "--debug"]) == code
    told = capsys.readouterr().err
    assert ("Traceback" in told) == (code != 130)
    assert message in told.splitlines()[-1]


@pytest.mark.speech
def test_ctrl_c_of_a_real_process() -> None:
    code = (
        "import sys, time\nfrom asr_introspect.commands import main, prepare\n"
        "def wait(*_):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "prepare.prepare_corpus = wait\nsys.exit(main(['prepare', '.', '--out', 'm']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told == "asr-introspect: stopped\n"


@pytest.mark.speech
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, make_corpus: CorpusMaker) -> None:
    corpus = make_corpus({"1-2-0000": "HELLO"})
    command = [*COMMAND, "prepare", str(corpus), "--out", str(tmp_path / "m.jsonl"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, told = process.communicate(timeout=60)
    assert told == b""
    assert process.returncode == 141
    assert (tmp_path / "m.jsonl").exists()


@pytest.mark.speech
def test_running_as_a_module() -> None:
    done = subprocess.run([*COMMAND, "prepare", "/nowhere", "--out", "m"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "asr-introspect: no such file or folder: /nowhere\n"
