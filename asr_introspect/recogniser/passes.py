"""The pass over a corpus: utterances in, batches of logits and activations out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_introspect.corpus.audio import AudioError, read_audio
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.features import extract
from asr_introspect.progress import bar
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import LAYERS

INPUT = "input"
LONGEST_SECONDS = 60.0
"""Utterances above this length go through the network in overlapping pieces."""
PIECE_STEPS = 2000

Spectrograms = Callable[[int], Tensor]
"""The normalised spectrogram ``(F, T)`` of the utterance at a position, in place of its sound."""


@dataclass(frozen=True)
class Forward:
    """The network's response to one batch of utterances.

    Parameters
    ----------
    utterances
        Those of the batch, and in ``positions`` ``(B,)`` where each stands among the utterances of the pass.
    lengths
        Valid steps of each utterance, ``(B,)`` int64, on the processor; later steps are zero.
    frames
        Valid frames of each utterance, ``(B,)`` int64, on the processor.
    logits
        ``(B, V, U)`` float32.
    activations
        For each layer asked for ``(B, C, U)`` after batch norm, activation and mask; ``input`` is the
        normalised spectrograms ``(B, F, T)``.
    """

    utterances: tuple[Utterance, ...]
    positions: tuple[int, ...]
    lengths: Tensor
    frames: Tensor
    logits: Tensor
    activations: dict[str, Tensor]

    def valid_logits(self) -> list[Tensor]:
        """Each utterance's own logits, ``(V, U)``."""
        return [logits[:, : int(length)] for logits, length in zip(self.logits, self.lengths, strict=True)]


def layer_names(layers: Sequence[str | int]) -> tuple[str, ...]:
    """Layers by name: ``input``, ``layer1`` to ``layer12``, or 0 to 12.

    Raises
    ------
    UsageError
        There is no such layer; the message says the near ones.
    """
    known = (INPUT, *LAYERS)
    numbered = {str(number): name for number, name in enumerate(known)}
    names = tuple(numbered.get(str(layer), str(layer)) for layer in layers)
    for name in names:
        if name not in known:
            raise unknown_name("layer", name, known)
    return names


def find_device(name: str) -> torch.device:
    """The device of a name: ``cpu``, ``cuda``, or ``auto``: cuda where there is one.

    Raises
    ------
    UsageError
        Another name.
    IntrospectError
        ``cuda`` where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise IntrospectError("there is no CUDA device here; use --device cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Else convolutions in float32 keep ten bits: logits were 5e-4 off on an H200, 2e-6 without.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def forward_pass(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    *,
    layers: Sequence[str | int] = (),
    batch_seconds: float = 60.0,
    spectrograms: Spectrograms | None = None,
    skipped: list[Skipped] | None = None,
    what: str = "recogniser",
) -> Iterator[Forward]:
    """Yields the responses to all utterances, in batches of similar length, each utterance once.

    Everything runs in float32 on the recogniser's device. An utterance of more than 60 s goes through the
    network in overlapping pieces, and its logits and activations are joined: they are those of one pass over
    the whole, in memory that grows with that one utterance's length; otherwise memory is flat. While a
    batch is computed, the next one is read.

    Parameters
    ----------
    layers
        Whose activations to keep; see :func:`layer_names`.
    batch_seconds
        Largest length of a batch, padding included; a longer utterance makes a batch of its own.
    spectrograms
        Where the inputs come from if not from the utterances' sound, for example from a cache.
    skipped
        Takes what cannot be used (unreadable, empty, not finite, shorter than one step); without it the
        first such utterance is an error.
    what
        What the progress bar calls the pass.

    Raises
    ------
    IntrospectError
        An utterance cannot be used and no ``skipped`` is given.
    UsageError
        An unknown layer, or a batch length that is not positive.
    """
    names = layer_names(layers)
    if not batch_seconds > 0:
        raise UsageError(f"a batch must be longer than {batch_seconds} seconds")
    batches = _batches([utterance.duration for utterance in utterances], batch_seconds)
    return _responses(recogniser, utterances, batches, names, spectrograms, skipped, what)


def _responses(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    batches: list[list[int]],
    layers: tuple[str, ...],
    spectrograms: Spectrograms | None,
    skipped: list[Skipped] | None,
    what: str,
) -> Iterator[Forward]:
    def read(batch: list[int]) -> list[Tensor | IntrospectError]:
        return [_input(recogniser, utterances[i], i, spectrograms) for i in batch]

    total = sum(utterance.duration for utterance in utterances)
    with bar(what, total) as moving, ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(copy_context().run, read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert upcoming is not None
            inputs = upcoming.result()
            if number + 1 < len(batches):
                upcoming = reader.submit(copy_context().run, read, batches[number + 1])
            usable = []
            for position, found in zip(batch, inputs, strict=True):
                if not isinstance(found, IntrospectError):
                    usable.append((position, found))
                elif skipped is None:
                    raise found
                else:
                    reason = found.reason if isinstance(found, AudioError) else str(found)
                    skipped.append(Skipped(utterances[position].name, reason))
            del inputs
            for positions, spectrogram, frames in _padded(recogniser, usable):
                logits, kept = _respond(recogniser, spectrogram, frames, layers)
                chosen = tuple(utterances[i] for i in positions)
                yield Forward(chosen, positions, frames // recogniser.step_frames, frames, logits, kept)
            moving.update(sum(utterances[i].duration for i in batch))


def _batches(durations: Sequence[float], seconds: float) -> list[list[int]]:
    """Positions sorted by duration, cut so that the padded length of a batch stays within ``seconds``."""
    batches: list[list[int]] = []
    for position in np.argsort(np.asarray(durations), kind="stable"):
        longest = durations[position]
        if batches and longest * (len(batches[-1]) + 1) <= seconds:
            batches[-1].append(int(position))
        else:
            batches.append([int(position)])
    return batches


def _input(
    recogniser: Recogniser, utterance: Utterance, position: int, spectrograms: Spectrograms | None
) -> Tensor | IntrospectError:
    """The spectrogram ``(F, T)`` of an utterance, or why it cannot be used."""
    try:
        return input_of(recogniser, utterance, position, spectrograms)
    except IntrospectError as error:
        return error


def input_of(
    recogniser: Recogniser, utterance: Utterance, position: int, spectrograms: Spectrograms | None = None
) -> Tensor:
    """The normalised spectrogram ``(F, T)`` of the utterance at a position of a pass: what the network reads.

    Raises
    ------
    IntrospectError
        Its sound cannot be used: unreadable, empty, not finite, shorter than one step.
    """
    if spectrograms is not None:
        found = spectrograms(position)
    else:
        waveform = torch.as_tensor(read_audio(utterance.audio, recogniser.features.sample_rate))
        found = extract(waveform.to(recogniser.device), recogniser.features)
    if found.shape[-1] < recogniser.step_frames:
        milliseconds = 1000 * recogniser.step_frames * recogniser.features.frame_seconds
        raise AudioError(utterance.audio, f"shorter than one output step ({milliseconds:.0f} ms)")
    return found


def _padded(
    recogniser: Recogniser, usable: list[tuple[int, Tensor]]
) -> Iterator[tuple[tuple[int, ...], Tensor, Tensor]]:
    """``(positions, spectrograms (B, F, T), frames (B,))``: the short ones together, long ones alone."""
    longest = int(LONGEST_SECONDS / recogniser.features.frame_seconds)
    long = [item for item in usable if item[1].shape[-1] > longest]
    short = [item for item in usable if item[1].shape[-1] <= longest]
    for group in ([short] if short else []) + [[item] for item in long]:
        frames = torch.tensor([found.shape[-1] for _, found in group])
        padded = torch.nn.utils.rnn.pad_sequence([found.T for _, found in group], batch_first=True)
        spectrogram = padded.transpose(1, 2).to(recogniser.device).contiguous()
        yield tuple(position for position, _ in group), spectrogram, frames


def _respond(
    recogniser: Recogniser, spectrogram: Tensor, frames: Tensor, layers: tuple[str, ...]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and activations of a batch; an utterance above 60 s is cut and joined again."""
    wanted = (*(name for name in layers if name != INPUT), LAYERS[-1])
    steps = spectrogram.shape[-1] // recogniser.step_frames
    if spectrogram.shape[-1] * recogniser.features.frame_seconds <= LONGEST_SECONDS:
        kept = _run(recogniser, spectrogram, frames, wanted)
    else:
        kept = {}
        for first in range(0, steps, PIECE_STEPS):
            piece = _piece(recogniser, spectrogram, first, min(first + PIECE_STEPS, steps), wanted)
            for name, part in piece.items():
                if name not in kept:
                    kept[name] = part.new_empty((*part.shape[:2], steps))
                kept[name][..., first : first + part.shape[-1]] = part
    logits = kept[LAYERS[-1]]
    asked = {name: spectrogram if name == INPUT else kept[name] for name in layers}
    return logits, asked


def _piece(
    recogniser: Recogniser, spectrogram: Tensor, first: int, end: int, layers: tuple[str, ...]
) -> dict[str, Tensor]:
    """The activations at steps ``first`` to ``end - 1`` of a long utterance, ``(1, C, end - first)``.

    The network sees the frames that these steps see. Where the cut is not the utterance's own border, the
    zero padding reaches only steps that are dropped.
    """
    stride = recogniser.step_frames
    before, after = recogniser.network.context()
    start = stride * max(0, first - math.ceil(before / stride))
    stop = stride * (end - 1) + after + 1
    seen = spectrogram[..., start:stop]
    found = _run(recogniser, seen, torch.tensor([seen.shape[-1]]), layers)
    from_step = first - start // stride
    return {name: part[..., from_step : from_step + end - first] for name, part in found.items()}


def _run(
    recogniser: Recogniser, spectrogram: Tensor, frames: Tensor, layers: tuple[str, ...]
) -> dict[str, Tensor]:
    """The outputs of blocks for a batch, ``(B, C, U)``, without a graph and without TF32."""
    kept: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[..., None]:
        def keep(block: torch.nn.Module, inputs: object, output: Tensor) -> None:
            kept[name] = output

        return keep

    handles = [
        recogniser.network.get_submodule(name).register_forward_hook(keeping(name)) for name in set(layers)
    ]
    try:
        # no_grad, not inference_mode: what comes out may go into the attribution engine, which uses autograd.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            recogniser.network(spectrogram, frames.to(spectrogram.device))
    finally:
        for handle in handles:
            handle.remove()
    return kept
