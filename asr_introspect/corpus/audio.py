"""Reading sound: any file that libsndfile reads becomes mono float32 at one sample rate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr_introspect.errors import IntrospectError

SAMPLE_RATE = 16_000
EXTENSIONS = (".flac", ".wav", ".mp3", ".ogg", ".opus")
BLOCK_FRAMES = 1 << 20
_DATA_CUT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


class AudioError(IntrospectError):
    """A sound file that cannot be used; ``reason`` says why in a few words, the message names the file."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AudioHeader:
    """What a sound file says of itself: ``frames`` per channel, ``sample_rate`` in Hz, ``channels``."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def probe(path: Path | str) -> AudioHeader:
    """The header of a sound file; the sound itself is not decoded.

    Raises
    ------
    AudioError
        There is no such file, it is empty or no sound file, it holds no sample, or it was cut short (as far
        as container and length say so; :func:`read_audio` finds the rest).
    """
    path = Path(path)
    with _reasons(path):
        found = soundfile.info(os.fspath(path), verbose=True)
    if _cut_short(found.extra_info):
        raise AudioError(path, "truncated: the file ends before its sound does")
    if found.frames < 1:
        raise AudioError(path, "holds no sample")
    return AudioHeader(found.frames, found.samplerate, found.channels)


def read_audio(path: Path | str, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The sound of a file as mono float32 in [-1, 1], ``(samples,)``, at ``sample_rate`` Hz.

    Channels are averaged. Other rates are resampled by soxr (high quality). Sound that goes beyond [-1, 1]
    (float files, overshoots of lossy codecs) is scaled down as a whole, never clipped (choice): features
    are normalised, so that a gain costs nothing and clipping would. Blocks of a million frames are read, so
    that memory is that of the result, also for an hour of 48 kHz stereo.

    Raises
    ------
    AudioError
        The file is missing, empty, truncated, no sound file, without a sample, or holds values that are not
        finite.
    """
    path = Path(path)
    header = probe(path)
    with _reasons(path):
        blocks = list(_mono_blocks(path, header, sample_rate))
    sound = np.concatenate(blocks)
    if len(sound) == 0:
        raise AudioError(path, "holds no sample")
    if not np.isfinite(sound).all():
        raise AudioError(path, "holds values that are not numbers (NaN or infinity)")
    peak = float(np.abs(sound).max())
    return sound / np.float32(peak) if peak > 1 else sound


def _mono_blocks(path: Path, header: AudioHeader, sample_rate: int) -> Iterator[np.ndarray]:
    """The blocks of a file, mixed down and resampled."""
    resampler = None
    if header.sample_rate != sample_rate:
        resampler = soxr.ResampleStream(header.sample_rate, sample_rate, 1, dtype="float32", quality="HQ")
    read = 0
    with soundfile.SoundFile(os.fspath(path)) as file:
        while True:
            block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            read += len(block)
            mono = np.ascontiguousarray(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
            if resampler is not None:
                mono = resampler.resample_chunk(mono, last=len(block) < BLOCK_FRAMES)
            yield mono
            if len(block) < BLOCK_FRAMES:
                break
    if read < header.frames:
        raise AudioError(path, f"truncated: {read} of {header.frames} samples could be decoded")


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turns what can go wrong on opening and decoding into a :class:`AudioError` with a reason."""
    try:
        if path.stat().st_size == 0:
            raise AudioError(path, "the file is empty")
        if not path.is_file():
            raise AudioError(path, "is not a file")
        yield
    except OSError as error:
        raise AudioError(path, (error.strerror or str(error)).lower()) from error
    except soundfile.LibsndfileError as error:
        unrecognised = 1  # SF_ERR_UNRECOGNISED_FORMAT
        reason = (
            "not a sound file" if error.code == unrecognised else "damaged or truncated: cannot be decoded"
        )
        raise AudioError(path, reason) from error
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise AudioError(path, "cannot be decoded") from error


def _cut_short(log: str) -> bool:
    """Whether libsndfile's log of a header says that sound is missing at the end."""
    if "Junk after the last page" in log:
        return True
    data = _DATA_CUT.search(log)
    # Programs that write WAV into a pipe cannot know the length and give the largest.
    return data is not None and int(data[2]) < int(data[1]) < 0x7FFF_0000
