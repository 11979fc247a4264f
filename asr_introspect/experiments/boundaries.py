"""Boundaries of words and phones found by an alignment against those of a reference alignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Corpus, Segment, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.align import align
from asr_introspect.experiments.inputs import as_corpus
from asr_introspect.random import generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.scoring import ENOUGH_SPEAKERS, edit_alignment

LIMITS = (0.02, 0.05, 0.1)
"""Seconds within which boundaries are counted."""

Edges = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BoundaryRow:
    """How far boundaries lie from the reference: found minus reference, seconds; positive is late.

    Parameters
    ----------
    comparison
        ``paired``: each word or phone with itself; ``even``: control, the letters of the transcript spread
        evenly over the utterance, no sound looked at (phones: evenly over the word in which they were found);
        ``nearest``: each boundary with the nearest of the reference; ``shifted, nearest``: control, the
        utterance's boundaries moved in a circle by a random time first.
    edge
        ``start`` or ``end``.
    within
        For each of :data:`LIMITS` the share of boundaries that lie so near.
    """

    comparison: str
    edge: str
    count: int
    median: Figure
    ninetieth: Figure
    within: tuple[Figure, ...]


@dataclass(frozen=True)
class PhoneBoundaries:
    """Phones of an alignment against those of a reference.

    Phones are compared within words that both have, stress left out; paired are equal ones of a minimal edit
    alignment of the word's phones.

    Parameters
    ----------
    rows
        How far the boundaries of paired phones lie apart.
    differing
        Edits that make one pronunciation of the other, as a share of the reference's phones.
    utterances, words, phones
        What was compared; ``phones`` are the reference's.
    left_out
        Words of the transcript that the reference does not have, for example because it did not know them.
    """

    rows: tuple[BoundaryRow, ...]
    differing: Figure
    utterances: int
    words: int
    phones: int
    left_out: int


def word_boundaries(
    corpus: Path | str | Corpus,
    alignments: Path | str,
    checkpoint: Path | str | Recogniser | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
) -> list[BoundaryRow]:
    """Compares the words of :func:`~asr_introspect.experiments.align.align` with TextGrids.

    Intervals are bootstraps over speakers where there are ten or more, else over utterances within speakers.

    Parameters
    ----------
    alignments
        Folder with a TextGrid for each utterance.

    Raises
    ------
    IntrospectError
        No word can be compared.
    """
    speech = as_corpus(corpus, max_utterances)
    by_name = {utterance.name: utterance for utterance in speech.utterances}
    references = read_alignments(alignments, speech.utterances)
    found = align(speech, checkpoint, device=device)
    rows: dict[str, list[dict[str, np.ndarray]]] = {}
    speakers = []
    for number, aligned in enumerate(found.utterances):
        utterance = by_name[aligned.utterance]
        reference = references.get(utterance.name)
        if reference is None:
            continue
        compared = compare(utterance, aligned.words, reference, generator(seed, "boundaries", number))
        if compared is not None:
            speakers.append(utterance.speaker)
            for comparison, edges in compared.items():
                rows.setdefault(comparison, []).append(dict(edges))
    if not speakers:
        raise IntrospectError(f"no word of the corpus is in the alignments of {alignments}")
    return [
        _row(comparison, edge, [each[edge] for each in utterances], speakers, seed)
        for comparison, utterances in rows.items()
        for edge in ("start", "end")
    ]


def compare(
    utterance: Utterance, words: Sequence[Segment], reference: Alignment, random: np.random.Generator
) -> dict[str, Edges] | None:
    """Differences in seconds for each comparison and edge, ``(words,)``; None without a common word."""
    pairs = _common_words(words, reference.words)
    if not pairs:
        return None
    ours = [words[i] for i, _ in pairs]
    theirs = _edges([reference.words[j] for _, j in pairs])
    even = evenly(utterance.text, utterance.duration)
    shift = random.uniform(0, utterance.duration)
    moved = {edge: (times + shift) % utterance.duration for edge, times in _edges(ours).items()}
    return {
        "paired": _differences(_edges(ours), theirs),
        "even": _differences(_edges([even[i] for i, _ in pairs]), theirs),
        "nearest": _to_nearest(_edges(ours), theirs),
        "shifted, nearest": _to_nearest(moved, theirs),
    }


def evenly(text: str, duration: float) -> list[Segment]:
    """The words of a transcript if each of its characters took the same time."""
    each = duration / max(len(text), 1)
    words, start = [], 0
    for word in text.split(" "):
        words.append(Segment(word, start * each, (start + len(word)) * each))
        start += len(word) + 1
    return words


def phone_boundaries(
    corpus: Path | str | Corpus,
    alignments: Path | str,
    found: Mapping[str, Alignment],
    *,
    seed: int = 0,
) -> PhoneBoundaries:
    """Compares phones in time with those of a reference.

    Parameters
    ----------
    alignments
        The reference: a place as :func:`~asr_introspect.corpus.alignment_files.find_alignments` reads it.
    found
        Alignments by utterance name, for example of :func:`~asr_introspect.experiments.align_phones`.

    Raises
    ------
    IntrospectError
        No phone can be compared.
    """
    speech = as_corpus(corpus)
    references = read_alignments(alignments, speech.utterances)
    rows: dict[str, list[dict[str, np.ndarray]]] = {}
    speakers, edits, phones, words, left_out = [], [], [], 0, 0
    for number, utterance in enumerate(speech.utterances):
        if utterance.name not in references or utterance.name not in found:
            continue
        ours, theirs = found[utterance.name], references[utterance.name]
        common = _common_words(ours.words, theirs.words)
        left_out += len(ours.words) - len(common)
        paired, own_edits = _paired_phones(ours, theirs, common)
        if not paired:
            continue
        random = generator(seed, "phone boundaries", number)
        compared = _compare_phones(paired, utterance.duration, random)
        for comparison, edges in compared.items():
            rows.setdefault(comparison, []).append(dict(edges))
        speakers.append(utterance.speaker)
        words += len(common)
        edits.append(own_edits)
        phones.append(sum(len(_within(theirs.words[j], theirs.phones)) for _, j in common))
    if not speakers:
        raise IntrospectError(f"no phone of the corpus is in the alignments of {alignments}")
    counts = np.stack([edits, phones], 1).astype(float)
    return PhoneBoundaries(
        tuple(
            _row(comparison, edge, [each[edge] for each in utterances], speakers, seed)
            for comparison, utterances in rows.items()
            for edge in ("start", "end")
        ),
        _share(counts, speakers, seed),
        len(speakers),
        words,
        int(counts[:, 1].sum()),
        left_out,
    )


def _common_words(ours: Sequence[Segment], theirs: Sequence[Segment]) -> list[tuple[int, int]]:
    """Places of the words that both have, in order."""
    return [
        (i, j)
        for i, j in edit_alignment([w.symbol for w in ours], [w.symbol for w in theirs])
        if i is not None and j is not None and ours[i].symbol == theirs[j].symbol
    ]


def _within(word: Segment, phones: Sequence[Segment]) -> list[Segment]:
    return [phone for phone in phones if word.start <= (phone.start + phone.end) / 2 < word.end]


Paired = tuple[Segment, Segment, Segment]
"""A phone found, the reference's, and the one found if those of its word took the same time each."""


def _paired_phones(
    ours: Alignment, theirs: Alignment, words: Sequence[tuple[int, int]]
) -> tuple[list[Paired], int]:
    """Equal phones of common words, and the edits between their pronunciations."""
    paired, edits = [], 0
    for i, j in words:
        own, other = _within(ours.words[i], ours.phones), _within(theirs.words[j], theirs.phones)
        names = [[without_stress(phone.symbol) for phone in side] for side in (own, other)]
        start, each = ours.words[i].start, (ours.words[i].end - ours.words[i].start) / max(len(own), 1)
        for k, m in edit_alignment(*names):
            if k is None or m is None or names[0][k] != names[1][m]:
                edits += 1
                continue
            even = Segment(names[0][k], start + k * each, start + (k + 1) * each)
            paired.append((own[k], other[m], even))
    return paired, edits


def _compare_phones(
    paired: Sequence[Paired], duration: float, random: np.random.Generator
) -> dict[str, Edges]:
    ours, theirs, even = (_edges([each[side] for each in paired]) for side in range(3))
    shift = random.uniform(0, duration)
    moved = {edge: (times + shift) % duration for edge, times in ours.items()}
    return {
        "paired": _differences(ours, theirs),
        "even": _differences(even, theirs),
        "nearest": _to_nearest(ours, theirs),
        "shifted, nearest": _to_nearest(moved, theirs),
    }


def _edges(words: Sequence[Segment]) -> dict[str, np.ndarray]:
    return {
        "start": np.array([word.start for word in words]),
        "end": np.array([word.end for word in words]),
    }


def _differences(ours: Edges, theirs: Edges) -> dict[str, np.ndarray]:
    return {edge: ours[edge] - theirs[edge] for edge in ours}


def _to_nearest(ours: Edges, theirs: Edges) -> dict[str, np.ndarray]:
    differences = {}
    for edge, times in ours.items():
        apart = times[:, None] - theirs[edge]
        differences[edge] = np.take_along_axis(apart, np.abs(apart).argmin(1)[:, None], 1)[:, 0]
    return differences


def _row(
    comparison: str, edge: str, differences: Sequence[np.ndarray], speakers: Sequence[str], seed: int
) -> BoundaryRow:
    drawn = np.array(
        [_statistics(np.concatenate([differences[i] for i in chosen])) for chosen in _drawn(speakers, seed)]
    )
    whole = np.concatenate(differences)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    figures = [
        Figure(float(value), float(low[k]), float(high[k])) for k, value in enumerate(_statistics(whole))
    ]
    return BoundaryRow(comparison, edge, len(whole), figures[0], figures[1], tuple(figures[2:]))


def _statistics(differences: np.ndarray) -> list[float]:
    """The median, the 90th percentile of absolute differences, and the share within each of the limits."""
    size = np.abs(differences)
    # Times are decimal numbers: a difference of 20 ms is not 0.02 in binary.
    shares = [float(np.mean(size <= limit + 1e-6)) for limit in LIMITS]
    return [float(np.median(differences)), float(np.quantile(size, 0.9)), *shares]


def _share(counts: np.ndarray, speakers: Sequence[str], seed: int) -> Figure:
    """The sum of the first column ``(utterances, 2)`` over that of the second."""
    drawn = [counts[chosen].sum(0) for chosen in _drawn(speakers, seed)]
    low, high = np.quantile([some / every for some, every in drawn], [0.025, 0.975])
    some, every = counts.sum(0)
    return Figure(float(some / every), float(low), float(high))


def _drawn(speakers: Sequence[str], seed: int, draws: int = 500) -> Iterator[list[int]]:
    """Bootstrap samples of utterances: all of speakers drawn, or some drawn within speakers."""
    random = generator(seed, "boundaries bootstrap")
    groups = [[i for i, name in enumerate(speakers) if name == speaker] for speaker in sorted(set(speakers))]
    for _ in range(draws):
        if len(groups) >= ENOUGH_SPEAKERS:
            yield [i for group in random.integers(len(groups), size=len(groups)) for i in groups[group]]
        else:
            yield [group[i] for group in groups for i in random.integers(len(group), size=len(group))]
