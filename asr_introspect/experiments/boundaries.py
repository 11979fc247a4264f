"""Word boundaries found by forced alignment against those of a reference alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from asr_introspect.corpus.alignment_files import read_alignments
from asr_introspect.corpus.alignments import Alignment
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
        ``paired``: each word with itself; ``even``:
        control, the letters of the transcript spread evenly over the utterance, no sound looked at;
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
    pairs = [
        (i, j)
        for i, j in edit_alignment([w.symbol for w in words], [w.symbol for w in reference.words])
        if i is not None and j is not None and words[i].symbol == reference.words[j].symbol
    ]
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
    drawn = _drawn(differences, speakers, seed)
    whole = np.concatenate(differences)

    def figure(statistic: Callable[[np.ndarray], float]) -> Figure:
        low, high = np.quantile([statistic(each) for each in drawn], [0.025, 0.975])
        return Figure(statistic(whole), float(low), float(high))

    shares = tuple(figure(partial(_share_within, limit=limit)) for limit in LIMITS)
    return BoundaryRow(comparison, edge, len(whole), figure(_median), figure(_ninetieth), shares)


def _median(differences: np.ndarray) -> float:
    return float(np.median(differences))


def _ninetieth(differences: np.ndarray) -> float:
    """The 90th percentile of absolute differences."""
    return float(np.quantile(np.abs(differences), 0.9))


def _share_within(differences: np.ndarray, limit: float) -> float:
    return float(np.mean(np.abs(differences) <= limit))


def _drawn(
    differences: Sequence[np.ndarray], speakers: Sequence[str], seed: int, draws: int = 500
) -> list[np.ndarray]:
    """Bootstrap samples of all differences: speakers drawn, or utterances within speakers."""
    random = generator(seed, "boundaries bootstrap")
    groups = [[i for i, name in enumerate(speakers) if name == speaker] for speaker in sorted(set(speakers))]
    samples = []
    for _ in range(draws):
        if len(groups) >= ENOUGH_SPEAKERS:
            chosen = [i for group in random.integers(len(groups), size=len(groups)) for i in groups[group]]
        else:
            chosen = [group[i] for group in groups for i in random.integers(len(group), size=len(group))]
        samples.append(np.concatenate([differences[i] for i in chosen]))
    return samples
