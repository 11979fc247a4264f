"""What a pass over a corpus computes: which labels and offsets, which groups, in which slices."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Utterance
from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.introspection.profiles import Key
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import Spectrograms
from asr_introspect.recogniser.symbols import PHONEMES

SPLITS = ("right", "speaker", "sex")
"""What groups can be split by: letters right or wrong; who speaks."""

SLICE_SECONDS = 300.0
BATCH_SECONDS = 20.0

LETTERS_GRADIENT = Key("letters", "gradient")
LETTERS_NONE = Key("letters", "none")
PHONEMES_NONE = Key("phonemes", "none")


@dataclass(frozen=True)
class Pass:
    """What is computed over a corpus: everything that a slice needs to know.

    Parameters
    ----------
    utterances
        All utterances of the corpus.
    phones
        Phone alignments by utterance name; empty where there are none.
    spectrograms
        Where inputs come from if not from sound (a cache), by place in the corpus.
    gradient
        Whether letters are also aligned by their gradients; without, they stand at offset 0 only.
    shard
        (i, n): only the i-th of n runs of neighbouring slices, counted from 1.
    splits
        What groups are also split by (:data:`SPLITS`): for letter C and ``right`` there are then also
        ``C|right`` and ``C|wrong``.
    sketch_seed
        The seed of the bins and signs of sketches, and of which utterances leave some in a long corpus; None:
        no sketches.
    """

    recogniser: Recogniser
    utterances: Sequence[Utterance]
    phones: Mapping[str, Alignment]
    spectrograms: Spectrograms | None = None
    slice_seconds: float = SLICE_SECONDS
    batch_seconds: float = BATCH_SECONDS
    gradient: bool = True
    shard: tuple[int, int] = (1, 1)
    splits: tuple[str, ...] = ()
    sketch_seed: int | None = None

    @functools.cached_property
    def layout(self) -> dict[str, Cone]:
        """The cone of each layer."""
        return cones(self.recogniser.network)

    @functools.cached_property
    def letters(self) -> tuple[str, ...]:
        """What letters are called: the recogniser's classes."""
        return self.recogniser.symbols.symbols

    @functools.cached_property
    def phonemes(self) -> tuple[str, ...]:
        """The phones of the alignments, those of ARPAbet first, in its order."""
        spoken = {without_stress(phone.symbol) for each in self.phones.values() for phone in each.phones}
        return tuple(p for p in PHONEMES if p in spoken) + tuple(sorted(spoken - set(PHONEMES)))

    @functools.cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of each set."""
        return {"letters": self.letters, "phonemes": self.phonemes}

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """What an instance of each set is called in tables."""
        return {"letters": "letter", "phonemes": "phoneme"}

    def values_of(self, split: str) -> tuple[str, ...]:
        """The values of a split."""
        if split == "right":
            return "wrong", "right"
        return tuple(sorted({getattr(utterance, split) for utterance in self.utterances} - {""}))

    def groups(self, key: Key) -> tuple[str, ...]:
        """The groups of some profiles: the labels, then those of each split."""
        labels = self.labels[key.labels]
        parts = [
            f"{name}|{value}" for split in self.splits for value in self.values_of(split) for name in labels
        ]
        return (*labels, *parts)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The profiles that are made."""
        first = (LETTERS_GRADIENT,) if self.gradient else ()
        return (*first, LETTERS_NONE, *((PHONEMES_NONE,) if self.phonemes else ()))

    @functools.cached_property
    def slices(self) -> list[range]:
        """Places in the corpus of each slice's utterances: neighbours of ``slice_seconds`` together."""
        found, first, seconds = [], 0, 0.0
        for place, utterance in enumerate(self.utterances):
            seconds += utterance.duration
            if seconds >= self.slice_seconds:
                found.append(range(first, place + 1))
                first, seconds = place + 1, 0.0
        return found + ([range(first, len(self.utterances))] if first < len(self.utterances) else [])

    @property
    def own(self) -> range:
        """The numbers of this shard's slices."""
        number, of = self.shard
        count = len(self.slices)
        return range(count * (number - 1) // of, count * number // of)
