"""Fetching LibriSpeech on request: resumable, verified, unpacked without trusting the archive."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from asr_introspect.errors import IntrospectError, unknown_name
from asr_introspect.files import locked
from asr_introspect.progress import bar, say

ADDRESS = "https://www.openslr.org/resources/12/"
SUBSETS = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
"""The SHA-256 of each subset's archive, as torchaudio 2.11.0 has them (``datasets/librispeech.py``)."""

ARCHIVE_FOLDER = "LibriSpeech"
ATTEMPTS = 5
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 60.0
_AT_ONCE = 2**20
_INTERRUPTIONS = (TimeoutError, ConnectionError, http.client.HTTPException)


def download(subset: str, folder: Path | str) -> Path:
    """Fetches a subset of LibriSpeech and unpacks it: ``folder/LibriSpeech/SUBSET``.

    A subset that is there is not fetched again. Stopped at any point, the next call goes on where it was;
    the subset's folder appears only when all of it is unpacked. Needs about twice the archive's size while
    it runs; the archive is deleted at the end.

    Raises
    ------
    UsageError
        There is no subset of this name.
    IntrospectError
        The address cannot be reached, the archive has another checksum or holds what it should not, or the
        folder cannot be written to or is too small.
    """
    if subset not in SUBSETS:
        raise unknown_name("subset of LibriSpeech", subset, SUBSETS)
    place = Path(folder)
    target = place / ARCHIVE_FOLDER / subset
    if target.is_dir():
        say(f"{target} is there already")
        return target
    partial = place / f"{subset}.tar.gz.partial"
    try:
        with locked(place):
            _fetch(f"{ADDRESS}{subset}.tar.gz", partial, SUBSETS[subset])
            _unpack(partial, subset, place)
            partial.unlink()
    except OSError as error:
        raise IntrospectError(f"cannot write to {place}: {error.strerror or error}") from error
    return target


def _fetch(address: str, partial: Path, checksum: str) -> None:
    """Fetches what is missing of a file, and checks it."""
    for attempt in range(1, ATTEMPTS + 1):
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _fetch_rest(address, partial, before)
            break
        except urllib.error.HTTPError as error:
            raise IntrospectError(f"cannot fetch {address}: {error.code} {error.reason}") from error
        except (urllib.error.URLError, *_INTERRUPTIONS) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            if attempt == ATTEMPTS:
                raise IntrospectError(
                    f"cannot fetch {address}: {reason} ({ATTEMPTS} attempts); the same command goes on"
                ) from error
            say(f"{address}: {reason}; going on in {PAUSE_SECONDS * attempt:.0f} s")
            time.sleep(PAUSE_SECONDS * attempt)
    if _sha256(partial) != checksum:
        partial.unlink()
        raise IntrospectError(f"{address} is not the file it should be (other SHA-256); deleted, try again")


def _fetch_rest(address: str, partial: Path, before: int) -> None:
    """Appends what is missing of a file; raises ``ConnectionError`` where the connection ends too soon."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={before}-"} if before else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if before and error.code == 416:  # nothing is missing
            return
        raise
    with answer, partial.open("ab" if answer.status == 206 else "wb") as file:
        first = before if answer.status == 206 else 0
        total = first + int(answer.headers.get("Content-Length") or 0)
        _check_space(partial.parent, 2 * total - first)
        with bar(partial.name.removesuffix(".partial"), total / 1e6, unit="MB") as moving:
            moving.update(first / 1e6)
            received = first
            while some := answer.read(_AT_ONCE):
                file.write(some)
                received += len(some)
                moving.update(len(some) / 1e6)
    if received < total:
        raise ConnectionError("the connection was cut")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise IntrospectError(
            f"{folder} has {free / 1e9:.1f} GB free; fetching and unpacking needs {needed / 1e9:.1f} GB"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, bar(f"check {path.name}", path.stat().st_size / 1e6, unit="MB") as moving:
        while some := file.read(_AT_ONCE):
            digest.update(some)
            moving.update(len(some) / 1e6)
    return digest.hexdigest()


def _unpack(archive: Path, subset: str, place: Path) -> None:
    """Unpacks an archive beside its place, then moves it there: first its lists, last the subset."""
    temporary = place / f".{subset}.partial"
    shutil.rmtree(temporary, ignore_errors=True)  # what an interrupted call left
    try:
        with (
            tarfile.open(archive) as tar,
            bar(f"unpack {archive.name}", archive.stat().st_size / 1e6, "MB") as moving,
        ):
            for member in tar:
                _unpack_member(tar, member, temporary)
                moving.update(member.size / 1e6)
        unpacked = temporary / ARCHIVE_FOLDER
        if not (unpacked / subset).is_dir():
            raise IntrospectError(f"{archive} holds no {ARCHIVE_FOLDER}/{subset}")
        _move(sorted(unpacked.iterdir(), key=lambda path: path.name == subset), place / ARCHIVE_FOLDER)
    except (tarfile.TarError, EOFError) as error:
        raise IntrospectError(f"{archive} cannot be unpacked ({error}); delete it and try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Writes one file of an archive: plain files inside ``LibriSpeech`` only; no links, devices, ``..``."""
    path = PurePosixPath(member.name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or parts[:1] != [ARCHIVE_FOLDER]:
        raise IntrospectError(f"{tar.name!s}: {member.name!r} lies outside of {ARCHIVE_FOLDER}; not unpacked")
    if member.isdir():
        return
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise IntrospectError(f"{tar.name!s}: {member.name!r} is no plain file; not unpacked")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(content, target)


def _copy(content: IO[bytes], target: Path) -> None:
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, _AT_ONCE)


def _move(paths: Iterable[Path], folder: Path) -> None:
    """Moves files and the subset's folder, in this order; lists of another subset are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if path.is_dir() and target.exists():
            raise IntrospectError(f"{target} is there already; move it away, or name another folder")
        path.replace(target)
