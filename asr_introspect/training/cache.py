"""Log-Mel spectrograms of a corpus, before normalisation, kept on disk in float16."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_introspect.corpus.audio import read_audio
from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.features import FeatureConfig, log_mel
from asr_introspect.files import locked
from asr_introspect.progress import bar
from asr_introspect.training.workers import in_order


@dataclass(frozen=True)
class FeatureCache:
    """Spectrograms on disk.

    Parameters
    ----------
    utterances
        Those that could be read, in the order of the rows of ``offsets``.
    frames
        All frames one after another, ``(frames, F)`` float16, memory-mapped.
    offsets
        First frame and number of frames of each utterance, ``(utterances, 2)``.
    skipped
        What could not be read, and why.
    """

    utterances: tuple[Utterance, ...]
    frames: np.ndarray
    offsets: np.ndarray
    skipped: tuple[Skipped, ...]

    def spectrogram(self, item: int) -> np.ndarray:
        """The log-Mel spectrogram of one utterance, ``(T, F)`` float32, not normalised."""
        first, length = self.offsets[item]
        return self.frames[first : first + length].astype(np.float32)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each utterance."""
        return np.asarray(self.offsets[:, 1])


def cache_features(
    corpus: Corpus, config: FeatureConfig, folder: Path | str, workers: int = 0
) -> FeatureCache:
    """Computes what is missing of a corpus's spectrograms in ``folder`` and opens them.

    Interrupted at any point, the next call goes on where it stopped. Utterances whose audio cannot be read
    are skipped and named.

    Parameters
    ----------
    workers
        Processes that read and transform; 0: a thread of this one.

    Raises
    ------
    IntrospectError
        The folder cannot be written to, or nothing of the corpus can be read.
    """
    described = asdict(config) | {"normalise": None}
    name = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    place = Path(folder) / name
    keys = [_key(utterance) for utterance in corpus.utterances]
    index, skipped = _read_index(place / "index.jsonl"), list[Skipped]()
    # Trainings side by side share a folder: only who adds to it needs it alone.
    if not index.keys() >= set(keys):
        with locked(place):
            index, skipped = _complete(corpus.utterances, config, place, workers)
    kept = [utterance for utterance, key in zip(corpus.utterances, keys, strict=True) if key in index]
    if not kept:
        raise IntrospectError(
            "nothing in the corpus can be read: " + "; ".join(s.reason for s in skipped[:3])
        )
    frames = np.memmap(place / "frames.f16", dtype=np.float16, mode="r").reshape(-1, config.mels)
    offsets = np.array([index[key] for key in keys if key in index], dtype=np.int64)
    return FeatureCache(tuple(kept), frames, offsets, tuple(skipped))


@dataclass(frozen=True)
class _Spectrograms:
    """Each utterance's spectrogram ``(T, F)`` in float16, or why there is none."""

    utterances: Sequence[Utterance]
    config: FeatureConfig

    def __getitem__(self, item: int) -> Tensor | str:
        try:
            waveform = read_audio(self.utterances[item].audio, self.config.sample_rate)
        except IntrospectError as error:
            return str(error)
        return log_mel(waveform, self.config).T.to(torch.float16).contiguous()


def _complete(
    utterances: Sequence[Utterance], config: FeatureConfig, place: Path, workers: int
) -> tuple[dict[str, tuple[int, int]], list[Skipped]]:
    """Appends the missing spectrograms; returns where each audio file's frames lie, and what was skipped."""
    index = _read_index(place / "index.jsonl")
    end = max((first + length for first, length in index.values()), default=0)
    missing = [utterance for utterance in utterances if _key(utterance) not in index]
    skipped = []
    data = place / "frames.f16"
    data.touch()
    try:
        with data.open("r+b") as file, (place / "index.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps([key, *where]) + "\n" for key, where in index.items())
            lines.flush()
            file.truncate(end * config.mels * 2)
            file.seek(0, 2)
            with bar("features", sum(utterance.duration for utterance in missing)) as moving:
                made = in_order(_Spectrograms(missing, config), range(len(missing)), workers)
                for utterance, spectrogram in zip(missing, made, strict=True):
                    moving.update(utterance.duration)
                    if isinstance(spectrogram, str):
                        skipped.append(Skipped(utterance.name, spectrogram))
                        continue
                    file.write(spectrogram.numpy().tobytes())
                    file.flush()
                    entry = [_key(utterance), end, len(spectrogram)]
                    lines.write(json.dumps(entry) + "\n")
                    lines.flush()
                    index[entry[0]] = (end, len(spectrogram))  # type: ignore[index]
                    end += len(spectrogram)
    except OSError as error:
        raise IntrospectError(f"cannot write {data}: {error.strerror or error}") from error
    return index, skipped


def _read_index(path: Path) -> dict[str, tuple[int, int]]:
    """The entries of an index; a last line cut off by a kill is left out."""
    if not path.exists():
        return {}
    index: dict[str, tuple[int, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        audio, first, length = json.loads(line)
        index[audio] = (first, length)
    return index


def _key(utterance: Utterance) -> str:
    """What an utterance's frames are found by: the audio file, wherever the call came from."""
    return str(utterance.audio.resolve())
