"""Instances: where in an utterance a letter was emitted or a phoneme was spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
import numpy as np
from torch import Tensor

from asr_introspect.corpus.alignments import without_stress
from asr_introspect.corpus.records import Segment
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
        Letters: the posterior at the step; phonemes: NaN.
    right
        Letters: 1 or 0 by the minimal edit alignment with the reference, -1 where it was not made;
        phonemes: -1.
    reference
        Right letters: the position of the letter in the reference; else -1.
    start, end
        Seconds: of the run of steps for a letter, of the phone's span for a phoneme.
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
    posteriors = logits.detach().cpu().double().softmax(0).numpy()
    # The argmax of the logits, as in decoding: posteriors of near-equal logits can be equal after rounding.
    path = logits.argmax(0).cpu().numpy()
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    runs = [
        (int(path[first]), int(first), int(end))
        for first, end in pairwise(edges)
        if path[first] != recogniser.symbols.blank
    ]
    count = len(runs)
    steps = np.array([first + posteriors[each, first:end].argmax() for each, first, end in runs], np.int64)
    classes = np.array([each for each, _, _ in runs], np.int64)
    spans = [recogniser.step_span(first, end - 1, duration) for _, first, end in runs]
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
        "step": steps,
        "label": classes,
        "score": posteriors[classes, steps] if count else np.zeros(0),
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
    times = recogniser.step_time(np.arange(steps))
    last_end = recogniser.step_span(steps - 1, steps - 1, float("inf"))[1] if steps else 0.0
    used = [
        (index[without_stress(phone.symbol)], phone)
        for phone in phones
        if without_stress(phone.symbol) in index and phone.start < last_end
    ]
    middles = np.array([(phone.start + phone.end) / 2 for _, phone in used], np.float64)
    count = len(used)
    return {
        "utterance": np.full(count, utterance, np.int64),
        "step": nearest(times, middles),
        "label": np.array([label for label, _ in used], np.int64),
        "score": np.full(count, np.nan),
        "right": np.full(count, -1, np.int64),
        "reference": np.full(count, -1, np.int64),
        "start": np.array([phone.start for _, phone in used], np.float64),
        "end": np.array([phone.end for _, phone in used], np.float64),
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
