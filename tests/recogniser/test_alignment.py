"""Forced alignment against the enumeration of every path."""

from itertools import product

import numpy as np
import pytest

from asr_introspect.corpus.transcripts import minimum_steps
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.features import FeatureConfig
from asr_introspect.random import generator
from asr_introspect.recogniser.alignment import align_targets, align_text, best_path
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import collapse
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.symbols import SymbolTable, letters, phonemes

BLANK = 0


def states_of(path: tuple[int, ...]) -> tuple[int, ...]:
    """The lattice states of a path of classes: odd where a symbol is carried, even between symbols."""
    states, said, before = [], 0, BLANK
    for label in path:
        if label != BLANK and label != before:
            said += 1
        states.append(2 * said if label == BLANK else 2 * said - 1)
        before = label
    return tuple(states)


def every_path(steps: int, classes: int, targets: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All paths of classes that spell the targets."""
    return [path for path in product(range(classes), repeat=steps) if collapse(path) == list(targets)]


SHORT_CASES = [
    (steps, targets)
    for steps in range(1, 7)
    for length in range(4)
    for targets in product((1, 2), repeat=length)
    if minimum_steps(targets) <= steps
]


@pytest.mark.parametrize(("steps", "targets"), SHORT_CASES)
def test_equals_brute_force_with_its_tie_rule(steps: int, targets: tuple[int, ...]) -> None:
    paths = every_path(steps, 3, targets)
    for draw in range(20):
        # Whole numbers add up exactly, and from so few values many paths tie.
        scores = generator(draw, "alignment", steps).integers(-2, 1, (steps, 3)).astype(float)
        totals = [scores[range(steps), path].sum() for path in paths]
        tied = [states_of(path) for path, total in zip(paths, totals, strict=True) if total == max(totals)]
        furthest_from_the_end = max(tied, key=lambda states: states[::-1])
        assert tuple(best_path(scores, targets)) == furthest_from_the_end


def test_ties_do_occur() -> None:
    scores = np.zeros((4, 3))
    assert tuple(best_path(scores, (1,))) == (2, 2, 2, 2) or tuple(best_path(scores, (1,))) == (1, 2, 2, 2)
    assert tuple(best_path(scores, (1,))) == max(
        map(states_of, every_path(4, 3, (1,))), key=lambda s: s[::-1]
    )


@pytest.mark.parametrize("blank", [0, 4])
def test_spans_and_scores_from_logits(blank: int) -> None:
    random = generator(1, "alignment logits", blank)
    symbols = [label for label in range(5) if label != blank]
    targets = [int(random.choice(symbols)) for _ in range(3)]
    logits = random.normal(size=(5, 7)) * 3
    posteriors = np.exp(logits) / np.exp(logits).sum(0)
    spans = align_targets(logits, targets, blank)
    best = max(
        (path for path in product(range(5), repeat=7) if collapse(path, blank) == targets),
        key=lambda path: np.log(posteriors[path, range(7)]).sum(),
    )
    assert [span.target for span in spans] == [0, 1, 2]
    carried = [step for span in spans for step in range(span.first, span.last + 1)]
    assert carried == [step for step, label in enumerate(best) if label != blank]
    for span in spans:
        there = posteriors[targets[span.target], span.first : span.last + 1]
        assert span.score == pytest.approx(there.mean(), rel=1e-9)
        assert span.best == span.first + there.argmax()


def test_a_long_random_case_equals_a_plain_lattice() -> None:
    random = generator(2, "alignment long")
    targets = random.integers(1, 29, 150)
    scores = random.normal(size=(400, 29))
    states = np.zeros(301, int)
    states[1::2] = targets
    value = np.full(301, -np.inf)
    value[:2] = scores[0, states[:2]]
    for step in range(1, 400):
        stay, move, skip = value, np.append(-np.inf, value[:-1]), np.append([-np.inf] * 2, value[:-2])
        skip[np.append([True, True], (states[2:] == 0) | (states[2:] == states[:-2]))] = -np.inf
        value = np.maximum(np.maximum(stay, move), skip) + scores[step, states]
    path = best_path(scores, targets)
    assert scores[range(400), states[path]].sum() == pytest.approx(value[-2:].max(), rel=1e-12)
    assert collapse(states[path]) == list(targets)


def test_too_long_says_how_much() -> None:
    with pytest.raises(IntrospectError, match="3 symbols need 5 steps, there are 4"):
        best_path(np.zeros((4, 3)), (1, 1, 1))
    assert len(best_path(np.zeros((5, 3)), (1, 1, 1))) == 5
    assert len(best_path(np.zeros((0, 3)), ())) == 0


def test_what_cannot_be_aligned() -> None:
    with pytest.raises(UsageError, match="blank"):
        best_path(np.zeros((4, 3)), (1, 0))
    impossible = np.zeros((4, 3))
    impossible[:, 1] = -np.inf
    with pytest.raises(IntrospectError, match="no path"):
        best_path(impossible, (1,))
    with pytest.raises(IntrospectError, match="no path"):
        best_path(np.full((4, 3), np.nan), (1,))


def recogniser(symbols: SymbolTable) -> Recogniser:
    return Recogniser(Wav2Letter(NetworkConfig(4, 4, 4), len(symbols)).eval(), FeatureConfig(mels=4), symbols)


def emitting(path: str) -> np.ndarray:
    """Logits that emit one symbol per step; ``_`` is the blank."""
    table = letters()
    logits = np.zeros((len(table), len(path)))
    for step, symbol in enumerate(path):
        logits[0 if symbol == "_" else table.classes(symbol)[0], step] = 20
    return logits


def test_letters_and_words_in_seconds() -> None:
    found = align_text(
        recogniser(letters()), emitting("_HHI_ _IT'_S"), "HI IT'S", utterance="u", duration=0.24
    )
    times = [(s.symbol, round(s.start, 3), round(s.end, 3)) for s in found.letters]
    # Steps a to b span (2a + 0.5) to (2b + 2.5) frames of 10 ms, clipped at 0.24 s.
    assert times == [
        ("H", 0.025, 0.065),
        ("I", 0.065, 0.085),
        ("I", 0.145, 0.165),
        ("T", 0.165, 0.185),
        ("'", 0.185, 0.205),
        ("S", 0.225, 0.24),
    ]
    assert [(w.symbol, round(w.start, 3), round(w.end, 3)) for w in found.words] == [
        ("HI", 0.025, 0.085),
        ("IT'S", 0.145, 0.24),
    ]
    assert all(letter.score > 0.99 for letter in found.letters)
    assert "".join("HI IT'S"[span.target] for span in found.spans) == "HI IT'S"


def test_an_empty_transcript_has_no_letters() -> None:
    found = align_text(recogniser(letters()), emitting("___"), "", utterance="u", duration=0.06)
    assert found.letters == found.words == found.spans == ()


@pytest.mark.parametrize(
    ("symbols", "text", "message"),
    [
        (letters(), "HELLO WORLD", "^u7: the transcript is too long"),
        (letters(), "H1", "^u7: symbols not in .* '1'"),
        (phonemes(), "AA", "^u7: the recogniser's symbols are not letters"),
    ],
)
def test_errors_name_the_utterance(symbols: SymbolTable, text: str, message: str) -> None:
    with pytest.raises(IntrospectError, match=message):
        align_text(recogniser(symbols), np.zeros((len(symbols), 5)), text, utterance="u7", duration=0.1)
