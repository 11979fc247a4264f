"""Training a recogniser by connectionist temporal classification, with an optional framewise start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_introspect.corpus.records import Segment
from asr_introspect.corpus.transcripts import minimum_steps
from asr_introspect.errors import IntrospectError
from asr_introspect.features import FeatureConfig, normalise, normalise_in_single
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import save_model
from asr_introspect.recogniser.decoding import greedy
from asr_introspect.recogniser.network import NetworkConfig
from asr_introspect.recogniser.scoring import edit_distance
from asr_introspect.recogniser.symbols import SymbolTable
from asr_introspect.training.augmentation import AugmentationConfig, mask, vary
from asr_introspect.training.batching import Batches
from asr_introspect.training.cache import FeatureCache
from asr_introspect.training.ctc_loss import ctc_loss

NOT_A_TARGET = -100
"""The class of steps that the framewise loss leaves out (``ignore_index`` of cross-entropy)."""


@dataclass(frozen=True)
class CTCBatch:
    """Spectrograms ``(B, F, T)``, lengths in frames ``(B,)``, targets and, at the start, classes per step.

    ``steps`` is ``(B, U)``, or None once the framewise start is over.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    steps: Tensor | None


@dataclass(frozen=True)
class Curriculum:
    """What a batch is made of, and how training starts.

    Parameters
    ----------
    batch_seconds
        Seconds of speech in a batch, padding included. Small batches leave the plateau of blanks sooner.
    framewise_updates
        So many updates are trained by framewise cross-entropy on letters spread evenly within words.
        0: CTC from the start.
    short_updates, short_seconds
        Epochs that start before this update hold only utterances of at most ``short_seconds``.
    augmented_after
        Augmentation and dropout start after so many updates.
    relaxed_after, plain_after
        After the first, dropout is off, and noise and masks become weaker update by update until after the
        second there are none: within twenty epochs a net underfits under all of them. 0: never.
    """

    batch_seconds: float = 56.0
    framewise_updates: int = 2000
    short_updates: int = 3000
    short_seconds: float = 8.0
    augmented_after: int = 1600
    relaxed_after: int = 0
    plain_after: int = 0

    def strength(self, update: int) -> float:
        """How strong noise and masks are at an update, from 0 to 1."""
        if not 0 < self.relaxed_after <= update:
            return 1.0
        return max(0.0, (self.plain_after - update) / max(self.plain_after - self.relaxed_after, 1))

    def drops(self, update: int) -> bool:
        """Whether dropout is on at an update."""
        return update >= self.augmented_after and not 0 < self.relaxed_after <= update


class CTCTask:
    """Batches, loss and development error of a recogniser.

    Parameters
    ----------
    training, development
        Cached features; whole speakers must be held apart by the caller.
    targets, development_targets
        The symbols' classes of each utterance of ``training`` and ``development``.
    words
        Words (or, for a table of phonemes, phones) with their times, by utterance name, for the framewise
        start; utterances without are left out of the framewise loss.
    """

    def __init__(
        self,
        training: FeatureCache,
        targets: Sequence[Sequence[int]],
        development: FeatureCache,
        development_targets: Sequence[Sequence[int]],
        *,
        features: FeatureConfig,
        network: NetworkConfig,
        symbols: SymbolTable,
        augmentation: AugmentationConfig,
        curriculum: Curriculum,
        bounds: tuple[np.ndarray, np.ndarray] | None,
        words: Mapping[str, Sequence[Segment]] | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.training = training
        self.targets = targets
        self.development = development
        self.development_targets = development_targets
        self.features = features
        self.network_config = network
        self.symbols = symbols
        self.augmentation = augmentation
        self.curriculum = curriculum
        self.bounds = bounds
        self.words = words or {}
        self.seed = seed
        self.device = torch.device(device)
        second = features.sample_rate // features.hop
        lengths = training.lengths
        self._framewise_items = self._aligned_items()
        self._batches = Batches(
            lengths,
            round(curriculum.batch_seconds * second),
            seed,
            round(curriculum.short_seconds * second),
            curriculum.short_updates,
        )

    def _aligned_items(self) -> set[int]:
        if not self.curriculum.framewise_updates:
            return set()
        aligned = {i for i, u in enumerate(self.training.utterances) if u.name in self.words}
        if not aligned:
            raise IntrospectError(
                "the framewise start needs words with times for the training corpus (--times); "
                "or train with framewise-updates: 0"
            )
        return aligned

    def batch(self, update: int, rank: int = 0, processes: int = 1) -> CTCBatch:
        """This process's share of the batch of an update, on the processor."""
        epoch, items = self._batches.items(update)
        framewise = update < self.curriculum.framewise_updates
        if framewise:
            aligned = np.array([item for item in items if int(item) in self._framewise_items], dtype=np.int64)
            items = aligned if len(aligned) else items
        augmentation = self._augmentation(update)
        prepared = [self._item(int(item), epoch, augmentation, framewise) for item in items[rank::processes]]
        return self._collated(prepared, [self.targets[int(item)] for item in items[rank::processes]])

    def _augmentation(self, update: int) -> AugmentationConfig | None:
        if update < self.curriculum.augmented_after:
            return None
        return self.augmentation.weakened(self.curriculum.strength(update))

    def _item(
        self, item: int, epoch: int, augmentation: AugmentationConfig | None, framewise: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A spectrogram ``(T, F)``, varied and normalised, and its class per step."""
        draw = generator(self.seed, "augmentation", epoch, item)
        spectrogram, tempo = self.training.spectrogram(item), 1.0
        if augmentation is not None:
            spectrogram, tempo = vary(spectrogram, augmentation, draw)
            if len(spectrogram) // 2 < minimum_steps(self.targets[item]):
                spectrogram, tempo = self.training.spectrogram(item), 1.0
        spectrogram = normalise_in_single(torch.from_numpy(spectrogram.T), self.features.normalise).numpy().T
        if augmentation is not None:
            spectrogram = mask(spectrogram, augmentation, draw)
        if not framewise:
            return spectrogram, None
        name = self.training.utterances[item].name
        classes = framewise_classes(
            self.words.get(name, ()), len(spectrogram) // 2, self.symbols, self.features.frame_seconds, tempo
        )
        return spectrogram, classes

    def _normalised(self, spectrogram: np.ndarray) -> Tensor:
        """A cached spectrogram ``(T, F)`` as the network's input ``(F, T)``."""
        return normalise(torch.from_numpy(np.ascontiguousarray(spectrogram.T)), self.features.normalise)

    def _collated(
        self, prepared: Sequence[tuple[np.ndarray, np.ndarray | None]], targets: Sequence[Sequence[int]]
    ) -> CTCBatch:
        longest = max((len(spectrogram) for spectrogram, _ in prepared), default=2)
        inputs = torch.zeros(len(prepared), longest, self.features.mels)
        steps = None
        if prepared and prepared[0][1] is not None:
            steps = torch.full((len(prepared), longest // 2), NOT_A_TARGET)
        for row, (spectrogram, classes) in enumerate(prepared):
            inputs[row, : len(spectrogram)] = torch.from_numpy(spectrogram)
            if steps is not None and classes is not None:
                steps[row, : len(classes)] = torch.from_numpy(classes)
        return CTCBatch(
            inputs.transpose(1, 2),
            torch.tensor([len(spectrogram) for spectrogram, _ in prepared], dtype=torch.long),
            torch.tensor([symbol for target in targets for symbol in target], dtype=torch.long),
            torch.tensor([len(target) for target in targets], dtype=torch.long),
            steps,
        )

    def loss(self, network: nn.Module, batch: CTCBatch, update: int) -> tuple[Tensor, float, float]:
        """The summed loss, the number of target symbols (or steps) it is summed over, seconds of speech."""
        seconds = float(batch.lengths.sum()) * self.features.frame_seconds
        set_dropout(network, self.network_config, active=self.curriculum.drops(update))
        kind = next(network.parameters()).dtype
        if not len(batch.lengths):
            # A process without items takes part in the sums over processes all the same.
            silent = torch.zeros(1, self.features.mels, 4, device=self.device, dtype=kind)
            return network(silent, torch.zeros(1, dtype=torch.long, device=self.device)).sum() * 0, 0.0, 0.0
        logits = network(batch.inputs.to(self.device, kind), batch.lengths.to(self.device)).to(kind)
        if batch.steps is not None:
            steps = batch.steps.to(self.device)
            total = F.cross_entropy(
                logits, steps, ignore_index=NOT_A_TARGET, label_smoothing=0.05, reduction="sum"
            )
            return total, float((batch.steps != NOT_A_TARGET).sum()), seconds
        with torch.autocast(logits.device.type, enabled=False):
            steps = batch.lengths // 2
            total = ctc_loss(logits, steps, batch.targets, batch.target_lengths, self.symbols.blank)
        return total, float(batch.target_lengths.sum()), seconds

    @torch.inference_mode()
    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """``error``: greedy symbol error over the development utterances, edits over reference symbols."""
        order = np.argsort(self.development.lengths, kind="stable")
        edits = length = 0
        for first in range(0, len(order), 8):
            items = order[first : first + 8]
            spectrograms = [self._normalised(self.development.spectrogram(int(i))) for i in items]
            lengths = torch.tensor([spectrogram.shape[1] for spectrogram in spectrograms])
            inputs = _padded(spectrograms)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
                kind = next(network.parameters()).dtype
                logits = network(inputs.to(self.device, kind), lengths.to(self.device)).float().cpu()
            for row, item in enumerate(items):
                decoded = greedy(logits[row, :, : int(lengths[row]) // 2], self.symbols.blank)
                reference = list(self.development_targets[int(item)])
                edits += edit_distance(decoded, reference)
                length += len(reference)
        return {"error": edits / max(length, 1)}

    def save(self, path: Path, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Writes a checkpoint of these weights."""
        save_model(path, state, self.network_config, self.features, self.symbols, self.bounds, record)


def set_dropout(network: nn.Module, config: NetworkConfig, active: bool) -> None:
    """Switches the network's dropout on or off; it would prolong the plateau of blanks."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout1d):
            wide = name.startswith(("layer10.", "layer11."))
            module.p = (config.wide_dropout if wide else config.dropout) if active else 0.0


def _padded(spectrograms: Sequence[Tensor]) -> Tensor:
    """Spectrograms ``(F, T_b)`` as one batch ``(B, F, T)``, zeros past each one's end."""
    return torch.nn.utils.rnn.pad_sequence([each.T for each in spectrograms], batch_first=True).transpose(
        1, 2
    )


def framewise_classes(
    words: Sequence[Segment], steps: int, symbols: SymbolTable, frame_seconds: float, tempo: float = 1.0
) -> np.ndarray:
    """A class for each output step: each segment's symbols spread evenly over its time, blanks elsewhere.

    A word's symbols are its letters; where the table holds longer names a segment is a symbol itself. The
    step nearest to the middle between two words gets the space, where the table has one.

    Parameters
    ----------
    words
        In order, times in seconds of the unvaried utterance.
    tempo
        The utterance has been sped up by this factor.
    """
    classes = np.full(steps, symbols.blank, dtype=np.int64)
    times = (2 * np.arange(steps) + 1.5) * frame_seconds * tempo
    previous_end = None
    space = symbols.classes([" "])[0] if " " in symbols.symbols else None
    for word in words:
        letters = np.array(symbols.classes(word.symbol if symbols.spells_text else [word.symbol]))
        inside = np.flatnonzero((times >= word.start) & (times < word.end))
        share = (times[inside] - word.start) / max(word.end - word.start, 1e-9)
        classes[inside] = letters[np.minimum((share * len(letters)).astype(int), len(letters) - 1)]
        if previous_end is not None and space is not None and steps:
            middle = (previous_end + word.start) / 2
            classes[int(np.argmin(np.abs(times - middle)))] = space
        previous_end = word.end
    return classes
