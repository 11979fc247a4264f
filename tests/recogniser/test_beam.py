"""Beam search against the best labelling among all, found by summing over every path."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.random import generator
from asr_introspect.recogniser import beam as module
from asr_introspect.recogniser.beam import BeamConfig, BeamDecoder, choose_decoder
from asr_introspect.recogniser.decoding import collapse, greedy
from asr_introspect.recogniser.ngrams import NgramModel, estimate
from asr_introspect.recogniser.symbols import SymbolTable, phonemes

pytest.importorskip("flashlight.lib.text.decoder")

TABLE = SymbolTable(("<blank>", " ", "A", "B"))
WIDE = {"size": 100_000, "step_symbols": 4, "threshold": 1e9}


def language_model() -> NgramModel:
    return estimate(["AB AB", "ABAB", "A AB", "BAB AB", "AB"], (" ", "A", "B"), order=3)


def best_of_all(
    logits: np.ndarray, blank: int, model: NgramModel | None, weight: float, bonus: float
) -> list[int]:
    """The definition: sum the probabilities of all paths of each labelling, add what the model says."""
    logs = logits - np.logaddexp.reduce(logits, axis=0)
    sums: dict[tuple[int, ...], float] = defaultdict(lambda: -np.inf)
    for path in itertools.product(range(logits.shape[0]), repeat=logits.shape[1]):
        labelling = tuple(collapse(path, blank))
        sums[labelling] = np.logaddexp(sums[labelling], logs[list(path), range(logits.shape[1])].sum())
    spoken = [i for i in range(logits.shape[0]) if i != blank]
    names = dict(zip(spoken, model.symbols if model else spoken, strict=True))

    def score(labelling: tuple[int, ...]) -> float:
        told = 0.0
        if model is not None:
            told = weight * model.log_probability([names[i] for i in labelling]) + bonus * len(labelling)
        return sums[labelling] + told

    return list(max(sums, key=score))


@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("with_model", [False, True])
def test_a_beam_of_full_width_finds_the_best_labelling_of_all(blank: int, with_model: bool) -> None:
    table = SymbolTable(tuple(np.roll(TABLE.symbols, -1)) if blank else TABLE.symbols, blank)
    model = language_model() if with_model else None
    config = BeamConfig(**WIDE, language_weight=0.8, symbol_bonus=0.9)
    decoder = BeamDecoder(table, model, config)
    differ = 0
    for case in range(25):
        logits = generator(case, "beam").normal(0, 1.2, (4, 1 + case % 5)).astype(np.float32)
        wanted = best_of_all(logits, blank, model, 0.8, 0.9)
        assert decoder(logits) == wanted, case
        differ += wanted != greedy(logits, blank)
    assert differ > 3  # the best path is often not the best labelling's


def test_the_sum_over_paths_decides_where_the_best_path_is_another_s() -> None:
    # Graves et al. 2006, figure 2: blank is the likeliest symbol of both steps, A the likeliest labelling.
    logits = np.log(np.array([[0.6, 0.6], [0.0001, 0.0001], [0.3998, 0.3998], [0.0001, 0.0001]]))
    assert greedy(logits) == []
    assert BeamDecoder(TABLE, None, BeamConfig(**WIDE))(logits) == [2]


def test_a_language_model_takes_the_word_it_knows() -> None:
    logits = np.full((4, 3), -9.0)
    logits[2, 0] = logits[0, 1] = 0.0
    logits[2, 2], logits[3, 2] = 0.1, 0.0  # after A: A a little likelier than B, but texts have only AB
    assert greedy(logits) == [2, 2]
    assert BeamDecoder(TABLE, language_model(), BeamConfig(**WIDE, symbol_bonus=0.0))(logits) == [2, 3]


def test_the_bonus_lengthens() -> None:
    logits = generator(3, "bonus").normal(0, 1, (4, 40)).astype(np.float32)
    lengths = [
        len(BeamDecoder(TABLE, language_model(), BeamConfig(symbol_bonus=bonus))(logits))
        for bonus in (-1, 0, 2)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_kenlm_in_flashlight_s_own_search_finds_the_same(tmp_path: Path) -> None:
    from flashlight.lib.text import decoder as library
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    model = language_model()
    model.write(tmp_path / "lm.arpa")
    options = library.LexiconFreeDecoderOptions(
        beam_size=30,
        beam_size_token=4,
        beam_threshold=25.0,
        lm_weight=0.7 * np.log(10),  # KenLM's logarithms are decimal
        sil_score=0.0,
        log_add=True,
        criterion_type=library.CriterionType.CTC,
    )
    kenlm = KenLM(str(tmp_path / "lm.arpa"), Dictionary(["<blank>", "|", "A", "B"]))
    theirs = library.LexiconFreeDecoder(options, kenlm, 0, 0, [])
    ours = BeamDecoder(
        TABLE, model, BeamConfig(size=30, step_symbols=4, language_weight=0.7, symbol_bonus=0.0)
    )
    for case in range(10):
        logits = generator(case, "kenlm").normal(0, 2, (4, 60)).astype(np.float32)
        logs = np.ascontiguousarray((logits - np.logaddexp.reduce(logits, axis=0)).T)
        found = theirs.decode(logs.ctypes.data, *logs.shape)[0]
        assert ours(logits) == collapse(found.tokens[1:-1])


def test_long_utterances_are_searched_in_pieces_cut_at_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = generator(5, "pieces")
    logits = draw.normal(0, 1, (4, 200)).astype(np.float32)
    logits[draw.integers(0, 4, 200), range(200)] += 12
    for pause in (35, 80, 110, 150, 185):
        logits[0, pause : pause + 3] += 30  # within reach of each cut
    decoder = BeamDecoder(TABLE, language_model(), BeamConfig(size=200, step_symbols=4))
    whole = decoder(logits)
    monkeypatch.setattr(module, "LONGEST_STEPS", 60)
    cuts = list(module._pieces(logits[0] - np.logaddexp.reduce(logits, axis=0)))
    assert len(cuts) >= 4
    assert [end for _, end in cuts[:-1]] == [first for first, _ in cuts[1:]]
    assert cuts[-1][1] == 200
    assert all(logits[0, end] > 20 for _, end in cuts[:-1])
    assert len(whole) > 50
    assert decoder(logits) == whole == greedy(logits)


def test_the_language_model_knows_what_came_before_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_STEPS", 20)
    logits = np.full((4, 40), -9.0)
    logits[0] = 0.0
    for step, symbol in ((8, 2), (10, 3)):
        logits[symbol, step], logits[0, step] = 9.0, -9.0
    logits[0, 19] = 9.0  # the cut
    logits[:, 20] = [
        -9.0,
        0.3,
        0.0,
        -9.0,
    ]  # a space is a little likelier than A; at the start of a text it is not
    config = BeamConfig(size=200, step_symbols=4, language_weight=1.0, symbol_bonus=0.0)
    decoder = BeamDecoder(TABLE, language_model(), config)
    assert decoder(logits) == [2, 3, 1]
    assert decoder(logits[:, 19:]) == [2]


def test_no_step_no_symbol() -> None:
    assert BeamDecoder(TABLE, language_model(), BeamConfig())(np.zeros((4, 0), dtype=np.float32)) == []


def test_phones_and_no_language_model() -> None:
    table = phonemes()
    logits = generator(0, "phones").normal(0, 8, (40, 50)).astype(np.float32)
    found = choose_decoder(table, "beam")(logits)  # type: ignore[arg-type]
    assert found == pytest.approx(greedy(logits), abs=0)  # this sure of itself, they agree


def test_what_cannot_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="known: greedy, beam"):
        choose_decoder(TABLE, "best")
    with pytest.raises(UsageError, match="needs the beam decoder"):
        choose_decoder(TABLE, "greedy", tmp_path / "lm.arpa")
    with pytest.raises(IntrospectError, match=r"cannot read .*lm\.arpa"):
        choose_decoder(TABLE, "beam", tmp_path / "lm.arpa")
    for settings in ({"size": 0}, {"step_symbols": 0}, {"threshold": 0.0}):
        with pytest.raises(UsageError):
            BeamConfig(**settings)  # type: ignore[arg-type]
    monkeypatch.setitem(__import__("sys").modules, "flashlight.lib.text", None)
    with pytest.raises(IntrospectError, match=r"pip install 'asr-introspect\[beam\]'"):
        choose_decoder(TABLE, "beam")
