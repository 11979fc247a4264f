"""Beam search over labellings, with an n-gram language model (flashlight-text, the extra ``beam``).

For reading what was said, not for introspection: what is looked into is the network, and a language model
would answer for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.recogniser.decoding import collapse, greedy
from asr_introspect.recogniser.ngrams import START, NgramModel, read_model
from asr_introspect.recogniser.symbols import SymbolTable

LONGEST_STEPS = 1500
"""Longer utterances are searched in pieces, cut where the blank is surest: memory grows with each piece."""

_MOST_CONTEXTS = 200_000

Decoder = Callable[[Tensor], list[int]]
"""From the logits ``(V, U)`` of one utterance to its classes."""


@dataclass(frozen=True)
class BeamConfig:
    """How wide the search is and what counts in it.

    The score of a labelling is the log of its CTC probability (the sum over the paths kept), plus
    ``language_weight`` times the language model's log probability, plus ``symbol_bonus`` for each symbol.
    Weight and bonus were chosen on development speech (``recipes/librispeech/README.md``).

    Parameters
    ----------
    size
        Labellings kept after each step.
    step_symbols
        The likeliest symbols of each step that a labelling may go on with.
    threshold
        Labellings this many nepers below the best are dropped.
    language_weight
        What the language model's log probability counts.
    symbol_bonus
        Nepers for each symbol, against a language model's liking for short texts; without one it counts not.
    """

    size: int = 50
    step_symbols: int = 10
    threshold: float = 12.0
    language_weight: float = 0.6
    symbol_bonus: float = 0.8

    def __post_init__(self) -> None:
        if self.size < 1 or self.step_symbols < 1 or not self.threshold > 0:
            raise UsageError("a beam search needs a size and step-symbols of at least 1, a threshold above 0")


def choose_decoder(
    symbols: SymbolTable,
    how: str = "greedy",
    language_model: Path | str | None = None,
    beam: BeamConfig = BeamConfig(),
) -> Decoder:
    """The decoder of this name: ``greedy``, or ``beam`` with or without a language model (an ARPA file).

    Raises
    ------
    UsageError
        Another name, or a language model for the greedy decoder.
    IntrospectError
        flashlight-text is not installed, or the language model cannot be used.
    """
    if how == "greedy":
        if language_model is not None:
            raise UsageError("a language model needs the beam decoder: --decoder beam")
        return lambda logits: greedy(logits, symbols.blank)
    if how != "beam":
        raise unknown_name("decoder", how, ("greedy", "beam"))
    if language_model is None:
        return BeamDecoder(symbols, None, beam)
    spoken = [name for i, name in enumerate(symbols.symbols) if i != symbols.blank]
    return BeamDecoder(symbols, read_model(language_model, spoken), beam)


class BeamDecoder:
    """Finds the labelling of highest score; called with the logits ``(V, U)`` of one utterance.

    With a beam that nothing falls out of it is the exact one.

    Raises
    ------
    IntrospectError
        flashlight-text is not installed.
    """

    def __init__(self, symbols: SymbolTable, model: NgramModel | None, config: BeamConfig) -> None:
        library = _flashlight()
        options = library.LexiconFreeDecoderOptions(
            beam_size=config.size,
            beam_size_token=min(config.step_symbols, len(symbols)),
            beam_threshold=config.threshold,
            lm_weight=1.0,
            sil_score=0.0,
            log_add=True,
            criterion_type=library.CriterionType.CTC,
        )
        self._scorer = None if model is None else _scorer(library, model, symbols, config)
        # Every labelling starts behind flashlight's "silence"; the blank leaves the first symbol free.
        self._search = library.LexiconFreeDecoder(
            options, self._scorer or library.ZeroLM(), symbols.blank, symbols.blank, []
        )
        self._blank = symbols.blank

    def __call__(self, logits: Tensor | np.ndarray) -> list[int]:
        """The classes of the best labelling."""
        scores = torch.as_tensor(logits).float().log_softmax(0).T.contiguous().cpu().numpy()
        found: list[int] = []
        for first, end in _pieces(scores[:, self._blank]):
            if self._scorer is not None:
                self._scorer.begin(found, last=end == len(scores))
            piece = np.ascontiguousarray(scores[first:end])
            best = self._search.decode(piece.ctypes.data, *piece.shape)[0]
            found += collapse(best.tokens[1:-1], self._blank)
        return found


def _pieces(blank: np.ndarray) -> Iterator[tuple[int, int]]:
    """First step and end of each piece, none longer than ``LONGEST_STEPS``, cut at the surest blanks."""
    first = 0
    while len(blank) - first > LONGEST_STEPS:
        half = first + LONGEST_STEPS // 2
        end = half + int(np.argmax(blank[half : first + LONGEST_STEPS]))
        yield first, end
        first = end
    if len(blank) > first:
        yield first, len(blank)


def _flashlight() -> Any:
    try:
        from flashlight.lib.text import decoder
    except ImportError as error:
        raise IntrospectError(
            "the beam decoder needs flashlight-text: pip install 'asr-introspect[beam]'"
        ) from error
    return decoder


def _scorer(library: Any, model: NgramModel, symbols: SymbolTable, config: BeamConfig) -> Any:
    """The language model as flashlight's search asks for it.

    flashlight comes with a binding to KenLM, but that one stops at order 6 and knows no bonus for symbols.
    """
    spoken = [i for i in range(len(symbols)) if i != symbols.blank]
    rank = {symbol: place for place, symbol in enumerate(spoken)}

    class Scorer(library.LM):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._contexts: dict[Any, int] = {}
            self._rows: dict[int, tuple[list[float], list[int]]] = {}
            self._first, self._last = START, True

        def begin(self, before: list[int], last: bool) -> None:
            """The next piece comes behind these classes; the last one ends the utterance."""
            self._contexts.clear()
            self._first, self._last = START, last
            for symbol in before[-model.order :] if before else ():
                self._first = model.after(self._first, rank[symbol])

        def start(self, start_with_nothing: bool) -> Any:
            state = library.LMState()
            self._contexts[state] = self._first
            return state

        def score(self, state: Any, symbol: int) -> tuple[Any, float]:
            scores, contexts = self._row(self._contexts[state])
            child = state.child(symbol)
            self._contexts[child] = contexts[symbol]
            return child, scores[symbol]

        def finish(self, state: Any) -> tuple[Any, float]:
            return state, self._row(self._contexts[state])[0][-1] if self._last else 0.0

        def _row(self, context: int) -> tuple[list[float], list[int]]:
            """Score of each class, and of the end last; the context behind each class."""
            row = self._rows.get(context)
            if row is None:
                if len(self._rows) >= _MOST_CONTEXTS:
                    self._rows.clear()
                logs = config.language_weight * model.log_probabilities(context)
                scores = np.zeros(len(symbols) + 1)
                scores[spoken] = logs[:-1] + config.symbol_bonus
                scores[-1] = logs[-1]
                contexts = [START] * len(symbols)
                for symbol in spoken:
                    contexts[symbol] = model.after(context, rank[symbol])
                row = self._rows[context] = (scores.tolist(), contexts)
            return row

    return Scorer()
