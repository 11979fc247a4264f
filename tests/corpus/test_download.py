"""Fetching a subset from a local server that cuts, restarts, lies and tries to write elsewhere."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile

from asr_introspect.commands import main
from asr_introspect.corpus import download as module
from asr_introspect.corpus.download import SUBSETS, download
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.errors import IntrospectError, UsageError
from tests.conftest import sine


class Server(ThreadingHTTPServer):
    """Serves one archive; ``cuts`` says after how many bytes each of the next answers breaks off."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.cuts: list[int] = []
        self.ranges = True
        self.asked: list[str] = []
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "") if self.server.ranges else ""
        self.server.asked.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        content = self.server.content[first:]
        if self.server.status != 200 or (asked and not content):
            self.send_error(self.server.status if self.server.status != 200 else 416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[:cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def sound() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sine(1.0), 16_000, format="FLAC")
    return file.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


MEMBERS = {
    "LibriSpeech/SPEAKERS.TXT": b"1 | F | dev-clean | 8 | Somebody\n",
    "LibriSpeech/dev-clean/1/2/1-2-0000.flac": sound(),
    "LibriSpeech/dev-clean/1/2/1-2.trans.txt": b"1-2-0000 HELLO\n",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(archive(MEMBERS)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(module, "ADDRESS", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(module, "_AT_ONCE", 256)
        expect(running, monkeypatch)
        yield running
        running.shutdown()
        thread.join()


def expect(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's archive is the one with the right checksum."""
    monkeypatch.setitem(SUBSETS, "dev-clean", hashlib.sha256(server.content).hexdigest())


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {*MEMBERS, "lock"}


def test_a_subset_is_fetched_checked_unpacked_and_readable(server: Server, tmp_path: Path) -> None:
    place = download("dev-clean", tmp_path)
    assert place == tmp_path / "LibriSpeech" / "dev-clean"
    assert files(tmp_path) == WHOLE
    (utterance,) = read_corpus(place).utterances
    assert (utterance.text, utterance.speaker, utterance.sex, utterance.duration) == ("HELLO", "1", "F", 1.0)
    assert download("dev-clean", tmp_path) == place
    assert server.asked == [""]  # the second call asked for nothing


def test_a_cut_connection_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 500, 0]
    download("dev-clean", tmp_path)
    assert server.asked == ["", "bytes=1000-", "bytes=1500-", "bytes=1500-"]
    assert files(tmp_path) == WHOLE


def test_a_server_that_cannot_go_on_starts_again(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [1000], False
    download("dev-clean", tmp_path)
    assert files(tmp_path) == WHOLE


def test_when_it_never_comes_whole_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.cuts = [300] + [0] * (module.ATTEMPTS - 1)
    with pytest.raises(IntrospectError, match=r"connection was cut .* the same command goes on"):
        download("dev-clean", tmp_path)
    assert (tmp_path / "dev-clean.tar.gz.partial").stat().st_size == 300
    assert not (tmp_path / "LibriSpeech").exists()
    download("dev-clean", tmp_path)
    assert server.asked[-1] == "bytes=300-"
    assert files(tmp_path) == WHOLE


def test_killed_between_fetching_and_unpacking(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            download("dev-clean", tmp_path)
    left = tmp_path / ".dev-clean.partial" / "LibriSpeech"  # as a kill would leave it
    left.mkdir(parents=True)
    (left / "half a file").touch()
    download("dev-clean", tmp_path)
    assert len(server.asked) == 2
    assert files(tmp_path) == WHOLE


def test_a_wrong_checksum_unpacks_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUBSETS, "dev-clean", "0" * 64)
    with pytest.raises(IntrospectError, match="not the file it should be"):
        download("dev-clean", tmp_path)
    assert files(tmp_path) == {"lock"}


@pytest.mark.parametrize(
    "name",
    ["../escaped", "LibriSpeech/../../escaped", "/tmp/escaped", "elsewhere/file", "LibriSpeech/dev-clean/l"],
)
def test_an_archive_that_writes_elsewhere_writes_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.endswith("/l"):
        file = io.BytesIO(archive(MEMBERS))
        plain = io.BytesIO()
        with tarfile.open(fileobj=file) as old, tarfile.open(fileobj=plain, mode="w:gz") as tar:
            for member in old:
                tar.addfile(member, old.extractfile(member))
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        server.content = plain.getvalue()
    else:
        server.content = archive({**MEMBERS, name: b"gotcha"})
    expect(server, monkeypatch)
    with pytest.raises(IntrospectError, match="not unpacked"):
        download("dev-clean", tmp_path / "in" / "here")
    assert files(tmp_path) == {"in/here/lock", "in/here/dev-clean.tar.gz.partial"}
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize(
    "content", [b"no archive at all", archive(MEMBERS)[:-200], archive({"LibriSpeech/x": b""})]
)
def test_an_archive_that_is_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    server.content = content
    expect(server, monkeypatch)
    with pytest.raises(IntrospectError, match=r"cannot be unpacked|holds no LibriSpeech/dev-clean"):
        download("dev-clean", tmp_path)
    assert not (tmp_path / "LibriSpeech").exists()


def test_too_little_space_is_said_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * len(server.content) - 1))
    with pytest.raises(IntrospectError, match=r"GB free; fetching and unpacking needs"):
        download("dev-clean", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * len(server.content)))
    download("dev-clean", tmp_path)


def test_a_disk_that_fills_up_keeps_what_was_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_copy", full)
        with pytest.raises(IntrospectError, match=r"cannot write to .*No space left on device"):
            download("dev-clean", tmp_path)
    assert files(tmp_path) == {"lock", "dev-clean.tar.gz.partial"}
    download("dev-clean", tmp_path)
    assert files(tmp_path) == WHOLE


def test_what_cannot_be_fetched(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'dev-clean'"):
        download("dev-claen", tmp_path)
    server.status = 404
    with pytest.raises(IntrospectError, match=r"cannot fetch .*dev-clean\.tar\.gz: 404"):
        download("dev-clean", tmp_path)
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(IntrospectError, match="refused"):
        download("dev-clean", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(IntrospectError, match="cannot write to"):
        download("dev-clean", tmp_path / "file")


def test_prepare_fetches_on_request(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speech" / "dev-clean.jsonl"
    assert main(["prepare", "--download", "dev-clean", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    (utterance,) = read_corpus(out).utterances
    assert utterance.audio.is_relative_to(tmp_path / "speech" / "LibriSpeech")
    elsewhere = ["--download-to", str(tmp_path / "elsewhere")]
    assert main(["prepare", "--download", "dev-clean", "--out", str(out), *elsewhere]) == 0
    assert (tmp_path / "elsewhere" / "LibriSpeech" / "dev-clean").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either a corpus or --download"),
        ([".", "--download", "dev-clean"], "either a corpus or --download"),
        ([".", "--download-to", "there"], "--download-to says where"),
        (["--download", "dev-cleen"], "did you mean 'dev-clean'"),
    ],
)
def test_wrong_calls(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["prepare", *arguments, "--out", str(tmp_path / "m.jsonl")]) == 2
    assert said in capsys.readouterr().err
