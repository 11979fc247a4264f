"""What a pass over a corpus computes: which labels and offsets, which groups, in which slices."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.label_tables import LabelTable
from asr_introspect.corpus.records import Utterance
from asr_introspect.experiments.pass_groups import PAUSE, STRESSES, LabelSet, label_set, neighbour_values
from asr_introspect.experiments.pass_known import (
    Timeline,
    Transcript,
    listed_timeline,
    spoken_timeline,
    transcript,
)
from asr_introspect.introspection.cones import Cone, cones
from asr_introspect.introspection.profiles import Key
from asr_introspect.progress import track
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import Spectrograms
from asr_introspect.recogniser.symbols import PHONEMES

MORE_LABELS = ("letters-aligned", "phonemes-stressed")
"""Sets of labels beside emitted letters and phonemes: letters of the transcript where the forced alignment
puts them; phones with their stress."""

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
        What groups are also split by (:data:`~experiments.pass_groups.SPLITS`): for letter C and ``right``
        there are then also ``C|right`` and ``C|wrong``.
    weights
        The saliency-adjusted profiles of emitted letters that are also made
        (:data:`~introspection.saliency.WEIGHTS`); of whole groups, not of their parts.
    more_labels, tables
        Further sets of labels (:data:`MORE_LABELS`), and a user's own.
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
    weights: tuple[str, ...] = ()
    more_labels: tuple[str, ...] = ()
    tables: tuple[LabelTable, ...] = ()

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
    def stressed(self) -> tuple[str, ...]:
        """The phones of the alignments with their stress, in the order of :attr:`phonemes`."""
        spoken = {phone.symbol.upper() for each in self.phones.values() for phone in each.phones}
        return tuple(sorted(spoken, key=lambda name: (self.phonemes.index(without_stress(name)), name)))

    @functools.cached_property
    def sets(self) -> dict[str, LabelSet]:
        """The sets of labels with their groups; transcripts and alignments are gone through for them."""
        letters = self._values(self.letters, "phone", "right")
        phones = self._values(self.phonemes, "stress", beyond=PAUSE)
        found = [
            label_set("letters", "letter", self.letters, letters, self._occurring("letters")),
            label_set("phonemes", "phoneme", self.phonemes, phones, self._occurring("phonemes")),
        ]
        for name in self.more_labels:
            if name == "letters-aligned":
                labels, values = self.letters, self._values(self.letters, "phone")
            else:
                labels, values = self.stressed, self._values(self.stressed, beyond=PAUSE)
            found.append(label_set(name, name, labels, values, self._occurring(name)))
        for table in self.tables:
            values = self._values(table.labels)
            found.append(label_set(table.name, table.name, table.labels, values, self._occurring(table.name)))
        return {each.name: each for each in found}

    def _values(
        self, labels: Sequence[str], *own: str, beyond: str | None = None
    ) -> dict[str, tuple[str, ...]]:
        """The names of the values of the splits that labels have: those that all have, and their own."""
        every = {
            **neighbour_values(labels, *(() if beyond is None else (beyond,))),
            "right": ("wrong", "right"),
            "phone": (*self.phonemes, "silent"),
            "stress": STRESSES,
            **{split: self.values_of(split) for split in ("speaker", "sex")},
        }
        having = ("next", "previous", "speaker", "sex", *own)
        return {split: every[split] for split in self.splits if split in having}

    def values_of(self, split: str) -> tuple[str, ...]:
        """The speakers or sexes of the corpus."""
        return tuple(sorted({getattr(utterance, split) for utterance in self.utterances} - {""}))

    def _occurring(self, name: str) -> Iterator[tuple[np.ndarray, Mapping[str, np.ndarray]]]:
        written = name in ("letters", "letters-aligned")
        for utterance in track(self.utterances, f"groups of {name}", unit="utterance"):
            known = self.transcript(utterance) if written else self.timeline(name, utterance)
            if known is not None:
                yield known.label, known.parts

    def transcript(self, utterance: Utterance) -> Transcript | None:
        """The letters of an utterance's text; None for a recogniser that does not spell text."""
        symbols = self.recogniser.symbols
        if not symbols.spells_text:
            return None
        space = symbols.symbols.index(" ") if " " in symbols.symbols else -1
        spoken = self.phones.get(utterance.name)
        return transcript(utterance.text, symbols.classes(utterance.text), spoken, self.phonemes, space)

    def timeline(self, name: str, utterance: Utterance) -> Timeline:
        """The phones of an utterance, or what a table says of it."""
        for table in self.tables:
            if table.name == name:
                return listed_timeline(table.rows.get(utterance.name, ()), table.labels)
        spoken = self.phones.get(utterance.name)
        phones = () if spoken is None else spoken.phones
        if name == "phonemes-stressed":
            return spoken_timeline(phones, self.stressed, stressed=True)
        return spoken_timeline(phones, self.phonemes)

    def groups(self, key: Key) -> tuple[str, ...]:
        """The groups of some profiles: the labels, then the parts of each split."""
        return self.sets[key.labels].groups

    @property
    def keys(self) -> tuple[Key, ...]:
        """The profiles that are made."""
        first = (LETTERS_GRADIENT,) if self.gradient else ()
        plain = (Key(name, "none") for name, each in self.sets.items() if each.labels)
        return (*first, *plain, *self.weighted)

    @property
    def weighted(self) -> tuple[Key, ...]:
        """Those of them that are saliency-adjusted: letters where their gradients say, if these are known."""
        offset = (LETTERS_GRADIENT if self.gradient else LETTERS_NONE).offset
        return tuple(Key(LETTERS_NONE.labels, offset, weight) for weight in self.weights)

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
