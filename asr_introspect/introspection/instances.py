"""Instances: where in an utterance a letter was emitted or a phoneme was spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from torch import Tensor

from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.records import Segment
from asr_introspect.recogniser.alignment import Span
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.scoring import edit_alignment


@dataclass(frozen=True)
class Instances:
    """Instances of one kind as columns, ``(N,)`` each, in the order of time within an utterance.

    Parameters
    ----------
    kind
        What an instance is called in tables: ``letter``, ``phoneme``, ...
    labels
        The names that ``label`` counts in.
    utterance
        The position of the utterance in its pass.
    step
        The output step at which the instance stands.
    label
        Index into ``labels``.
    score
        Emitted letters: the posterior at the step; aligned letters: the mean posterior over their span; else
        NaN.
    right
        Emitted letters: 1 or 0 by the minimal edit alignment with the reference, -1 where it was not made;
        else -1.
    reference
        Right and aligned letters: the position of the letter in the reference; else -1.
    start, end
        Seconds: of the run of steps for a letter, of the phone's span for a phoneme; twice a table's time.
    """

    kind: str
    labels: tuple[str, ...]
    utterance: np.ndarray
    step: np.ndarray
    label: np.ndarray
    score: np.ndarray
    right: np.ndarray
    reference: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        return {column: getattr(self, column) for column in COLUMNS}

    def names(self) -> list[str]:
        """The label of each instance."""
        return [self.labels[i] for i in self.label]


COLUMNS = tuple(field.name for field in fields(Instances) if field.name not in ("kind", "labels"))
_TYPES = dict.fromkeys(("utterance", "step", "label", "right", "reference"), np.int64)


def together(kind: str, labels: tuple[str, ...], parts: Sequence[dict[str, np.ndarray]]) -> Instances:
    """The instances of several parts, one after the other; each part has all columns."""
    joined = {
        column: np.concatenate(
            [np.zeros(0, _TYPES.get(column, np.float64)), *(part[column] for part in parts)]
        ).astype(_TYPES.get(column, np.float64))
        for column in COLUMNS
    }
    return Instances(kind, labels, **joined)


@dataclass(frozen=True)
class Runs:
    """Maximal runs of steps with one best symbol that is not the blank, as columns ``(N,)``.

    ``first`` and ``last`` are their steps, ``step`` the one of highest posterior (of equals the first),
    ``score`` the posterior there, ``label`` the class.
    """

    label: np.ndarray
    first: np.ndarray
    last: np.ndarray
    step: np.ndarray
    score: np.ndarray


def runs_of(logits: Tensor, blank: int) -> Runs:
    """The runs of one utterance; ``logits`` ``(V, U)``, valid steps only."""
    posteriors = logits.detach().cpu().double().softmax(0).numpy()
    # The argmax of the logits, as in decoding: posteriors of near-equal logits can be equal after rounding.
    path = logits.argmax(0).cpu().numpy()
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    kept = [(int(first), int(end)) for first, end in pairwise(edges) if path[first] != blank]
    first, end = np.array(kept, np.int64).reshape(-1, 2).T
    label = path[first].astype(np.int64)
    step = np.array([a + posteriors[path[a], a:b].argmax() for a, b in kept], np.int64)
    return Runs(label, first, end - 1, step, posteriors[label, step])


def emissions(
    recogniser: Recogniser,
    logits: Tensor,
    utterance: int,
    duration: float,
    reference: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """The columns of the emissions of one utterance.

    An emission is a maximal run of steps with one best symbol that is not the blank; it is placed at the
    run's step of highest posterior (of equals the first). In order they are what greedy decoding says.

    Parameters
    ----------
    logits
        ``(V, U)``, valid steps only.
    utterance
        What stands in the column ``utterance``.
    duration
        Seconds, at which spans are clipped.
    reference
        The classes of the reference, for right and wrong; None leaves them open.
    """
    found = runs_of(logits, recogniser.symbols.blank)
    count, classes = len(found.step), found.label
    spans = [
        recogniser.step_span(int(first), int(last), duration)
        for first, last in zip(found.first, found.last, strict=True)
    ]
    right = np.full(count, -1, np.int64)
    at = np.full(count, -1, np.int64)
    if reference is not None:
        hypothesis = classes.tolist()
        right[:] = 0
        for i, j in edit_alignment(hypothesis, reference):
            if i is not None and j is not None and hypothesis[i] == reference[j]:
                right[i], at[i] = 1, j
    return {
        "utterance": np.full(count, utterance, np.int64),
        "step": found.step,
        "label": classes,
        "score": found.score,
        "right": right,
        "reference": at,
        "start": np.array([start for start, _ in spans], np.float64),
        "end": np.array([end for _, end in spans], np.float64),
    }


def spoken_phonemes(
    recogniser: Recogniser,
    phones: Sequence[Segment],
    labels: Sequence[str],
    utterance: int,
    steps: int,
) -> dict[str, np.ndarray]:
    """The columns of the phonemes of one utterance, one instance per span.

    It stands at the step whose time is nearest the span's middle (of equals the earlier). Phones that are not
    among ``labels`` after their stress is taken off, and spans that begin after the last step, are left out.

    Parameters
    ----------
    phones
        Spans in seconds.
    steps
        Valid steps of the utterance.
    """
    index = {name: i for i, name in enumerate(labels)}
    used = [phone for phone in phones if without_stress(phone.symbol) in index]
    label = np.array([index[without_stress(phone.symbol)] for phone in used], np.int64)
    start, end = (np.array([getattr(phone, side) for phone in used], np.float64) for side in ("start", "end"))
    return placed(recogniser, label, start, end, utterance, steps)[0]


def placed(
    recogniser: Recogniser,
    label: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    utterance: int,
    steps: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of labelled spans, each at the step whose time is nearest its middle (of equals the first).

    Parameters
    ----------
    label, start, end
        Per span its label, and its seconds, ``(N,)``; at a point of time both are the same.

    Returns
    -------
    The columns of the spans that begin before the last step's end, and which those are, ``(M,)``.
    """
    last_end = recogniser.step_span(steps - 1, steps - 1, float("inf"))[1] if steps else 0.0
    kept = np.flatnonzero(start < last_end)
    count = len(kept)
    columns = {
        "utterance": np.full(count, utterance, np.int64),
        "step": nearest(recogniser.step_time(np.arange(steps)), (start[kept] + end[kept]) / 2),
        "label": label[kept],
        "score": np.full(count, np.nan),
        "right": np.full(count, -1, np.int64),
        "reference": np.full(count, -1, np.int64),
        "start": start[kept],
        "end": end[kept],
    }
    return columns, kept


def aligned_letters(
    recogniser: Recogniser, spans: Sequence[Span], classes: Sequence[int], utterance: int, duration: float
) -> dict[str, np.ndarray]:
    """The columns of the letters of a transcript, each at the step of its span with the highest posterior.

    Parameters
    ----------
    spans, classes
        Of the forced alignment, and the classes that were aligned.
    duration
        Seconds, at which spans are clipped.
    """
    count = len(spans)
    times = [recogniser.step_span(span.first, span.last, duration) for span in spans]
    reference = np.array([span.target for span in spans], np.int64)
    return {
        "utterance": np.full(count, utterance, np.int64),
        "step": np.array([span.best for span in spans], np.int64),
        "label": np.asarray(classes, np.int64)[reference] if count else np.zeros(0, np.int64),
        "score": np.array([span.score for span in spans], np.float64),
        "right": np.full(count, -1, np.int64),
        "reference": reference,
        "start": np.array([start for start, _ in times], np.float64),
        "end": np.array([end for _, end in times], np.float64),
    }


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted time the index of the nearest of the ascending ``times`` (of equals the earlier)."""
    if len(wanted) == 0:
        return np.zeros(0, np.int64)
    after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    # Middles of spans often lie exactly between two steps: rounding must not decide.
    closer = times[after] - wanted < wanted - times[before] - 1e-9
    return np.where(closer | (after == before), after, before)
