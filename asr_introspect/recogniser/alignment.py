"""Forced alignment: when each letter of a transcript is emitted, by exact Viterbi over the CTC lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from asr_introspect.compiled import EXACT, compiled
from asr_introspect.corpus.records import Segment
from asr_introspect.corpus.transcripts import minimum_steps
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.recogniser.checkpoint import Recogniser

SPACE = " "


@dataclass(frozen=True, slots=True)
class Span:
    """The steps that carry one target symbol, ``first`` to ``last`` inclusive.

    ``best`` is the step of highest posterior among them (of equals the first), ``score`` the mean posterior
    over them.
    """

    target: int
    first: int
    last: int
    best: int
    score: float


@dataclass(frozen=True)
class AlignedText:
    """An utterance's transcript in time.

    ``letters`` has one segment per character but spaces, ``words`` one per word (without a score), both in
    seconds; ``spans`` has one entry per symbol of the transcript, spaces too, in steps.
    """

    utterance: str
    duration: float
    words: tuple[Segment, ...]
    letters: tuple[Segment, ...]
    spans: tuple[Span, ...]


def lattice(classes: np.ndarray, blank: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The class of each state of CTC's lattice, and whether it may be reached from two states before.

    State ``2n + 1`` is target ``n``, state ``2n`` the blank before it, the last state the blank at the end
    (Graves et al. 2006, section 4.1): int64 and bool, ``(2 N + 1,)``.
    """
    states = np.full(2 * len(classes) + 1, blank, dtype=np.int64)
    states[1::2] = classes
    skips = np.zeros(len(states), dtype=np.bool_)
    skips[3::2] = classes[1:] != classes[:-1]
    return states, skips


def best_path(log_posteriors: np.ndarray, targets: Sequence[int], blank: int = 0) -> np.ndarray:
    """The most likely CTC path that spells the targets, as states of the :func:`lattice`, ``(U,)`` int64.

    Exact, in float64. Of paths of equal probability it is the one that is
    furthest along, compared from the last step backwards: symbols begin as early as the posteriors allow
    *(choice)*.

    Parameters
    ----------
    log_posteriors
        ``(U, V)``; any scores per step and class do, their sum along the path is maximised.
    targets
        The classes to spell, none of them the blank.

    Raises
    ------
    IntrospectError
        The steps are too few for the targets, or no path has a probability above zero.
    """
    classes = np.asarray(targets, dtype=np.int64)
    if (classes == blank).any():
        raise UsageError("the blank cannot be a target")
    needed = minimum_steps(targets)
    if needed > len(log_posteriors):
        raise IntrospectError(
            f"the transcript is too long for its audio: {len(classes)} symbols need {needed} steps, "
            f"there are {len(log_posteriors)}"
        )
    if len(log_posteriors) == 0:
        return np.zeros(0, dtype=np.int64)
    states, skips = lattice(classes, blank)
    path, total = _viterbi(np.ascontiguousarray(log_posteriors, dtype=np.float64), states, skips)
    if not np.isfinite(total):
        raise IntrospectError("no path through the posteriors spells the transcript")
    return np.asarray(path)


def _best_states(scores: np.ndarray, states: np.ndarray, skips: np.ndarray) -> tuple[np.ndarray, float]:
    """Best states per step and their summed score. ``came`` holds how many states back each one came from."""
    steps, count = len(scores), len(states)
    came = np.zeros((steps, count), dtype=np.uint8)
    before = np.full(count, -np.inf)
    here = np.full(count, -np.inf)
    before[0] = scores[0, states[0]]
    if count > 1:
        before[1] = scores[0, states[1]]
    for step in range(1, steps):
        # Outside this band a state cannot have been reached, or cannot reach the end any more.
        low = max(0, count - 2 * (steps - step))
        high = min(count, 2 * (step + 1))
        here[:] = -np.inf
        for state in range(low, high):
            best = before[state]
            back = 0
            if state >= 1 and before[state - 1] > best:
                best = before[state - 1]
                back = 1
            if skips[state] and before[state - 2] > best:
                best = before[state - 2]
                back = 2
            here[state] = best + scores[step, states[state]]
            came[step, state] = back
        before, here = here, before
    state = count - 1
    if count > 1 and before[count - 2] > before[count - 1]:
        state = count - 2
    total = before[state]
    path = np.empty(steps, dtype=np.int64)
    for step in range(steps - 1, -1, -1):
        path[step] = state
        state -= came[step, state]
    return path, total


_viterbi = compiled(_best_states, EXACT)


def align_targets(logits: Tensor | np.ndarray, targets: Sequence[int], blank: int = 0) -> list[Span]:
    """The steps of each target by :func:`best_path`.

    Parameters
    ----------
    logits
        ``(V, U)`` of one utterance.
    targets
        The classes to spell.

    Raises
    ------
    IntrospectError
        See :func:`best_path`.
    """
    posteriors = torch.as_tensor(logits).double().log_softmax(0).T.cpu().numpy()
    path = best_path(posteriors, targets, blank)
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    spans = []
    for first, end in pairwise(edges):
        if path[first] % 2:
            target = int(path[first]) // 2
            carried = np.exp(posteriors[first:end, targets[target]])
            best = int(first + carried.argmax())
            spans.append(Span(target, int(first), int(end) - 1, best, float(carried.mean())))
    return spans


def align_text(
    recogniser: Recogniser, logits: Tensor | np.ndarray, text: str, *, utterance: str, duration: float
) -> AlignedText:
    """The letters and words of a transcript in seconds.

    A letter spans the steps that carry it, a word runs from its first letter's start to its last letter's
    end; blanks and spaces belong to no letter.

    Parameters
    ----------
    logits
        ``(V, U)`` of one utterance, valid steps only.
    text
        The transcript, upper case, words separated by single spaces.
    utterance, duration
        Its name, and its length in seconds, at which spans are clipped.

    Raises
    ------
    IntrospectError
        The recogniser does not spell text, the transcript holds a symbol that it does not know or is too
        long for its audio; the message names the utterance.
    """
    symbols = recogniser.symbols
    if not symbols.spells_text:
        raise IntrospectError(f"{utterance}: the recogniser's symbols are not letters, it cannot align text")
    try:
        spans = align_targets(logits, symbols.classes(text), symbols.blank)
    except IntrospectError as error:
        raise IntrospectError(f"{utterance}: {error}") from error
    letters = [_letter(recogniser, text[span.target], span, duration) for span in spans]
    words = []
    start = 0
    for word in text.split(SPACE):
        if word:
            words.append(Segment(word, letters[start].start, letters[start + len(word) - 1].end))
        start += len(word) + 1
    spoken = tuple(letter for letter in letters if letter.symbol != SPACE)
    return AlignedText(utterance, duration, tuple(words), spoken, tuple(spans))


def _letter(recogniser: Recogniser, symbol: str, span: Span, duration: float) -> Segment:
    start, end = recogniser.step_span(span.first, span.last, duration)
    return Segment(symbol, start, end, span.score)
