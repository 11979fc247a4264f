"""The n-gram estimate against Chen & Goodman's formula written out, and its ARPA files against KenLM."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.random import generator
from asr_introspect.recogniser.ngrams import START, NgramModel, estimate, read_model

SYMBOLS = (" ", "'", "A", "B", "C")


def some_texts(count: int = 60) -> list[str]:
    """Texts with structure: a symbol is mostly the last but one again."""
    draw = generator(0, "n-gram texts")
    texts = []
    for _ in range(count):
        said = list(draw.choice(list(SYMBOLS[:4]), 2))
        for _ in range(int(draw.integers(0, 25))):
            said.append(said[-2] if draw.random() < 0.7 else str(draw.choice(list(SYMBOLS[:4]))))
        texts.append("".join(said))
    return texts


class WrittenOut:
    """Interpolated modified Kneser-Ney by recursion over dictionaries of strings."""

    def __init__(self, texts: list[str], order: int) -> None:
        said = [["<", *text, ">"] for text in texts]
        self.order = order
        self.counts: list[Counter[str]] = [Counter()]
        for n in range(1, order + 1):
            raw = Counter("".join(s[i : i + n]) for s in said for i in range(len(s) - n + 1))
            if n < order:
                kinds = {"".join(s[i : i + n + 1]) for s in said for i in range(len(s) - n)}
                before = Counter(kind[1:] for kind in kinds)
                raw = Counter({gram: raw[gram] if gram[0] == "<" else before[gram] for gram in raw})
            raw.pop("<", None)
            self.counts.append(raw)

    def discount(self, n: int, count: int) -> float:
        kinds = Counter(self.counts[n].values())
        if min(kinds[1], kinds[2], kinds[3]) == 0:
            return 0.5
        share = kinds[1] / (kinds[1] + 2 * kinds[2])
        k = min(count, 3)
        return min(max(k - (k + 1) * share * kinds[k + 1] / kinds[k], 0.0), float(k))

    def probability(self, symbol: str, context: str, n: int | None = None) -> float:
        n = min(self.order, len(context) + 1) if n is None else n
        if n == 0:
            return 1 / (len(SYMBOLS) + 1)
        history = context[len(context) - (n - 1) :]
        lower = self.probability(symbol, context, n - 1)
        followers = {
            gram: count for gram, count in self.counts[n].items() if gram[:-1] == history and count > 0
        }
        if not followers:
            return lower
        total = sum(followers.values())
        left_over = sum(self.discount(n, count) for count in followers.values()) / total
        own = followers.get(history + symbol, 0)
        return (own - (self.discount(n, own) if own else 0.0)) / total + left_over * lower


@pytest.fixture(scope="module")
def model() -> NgramModel:
    return estimate(some_texts(), SYMBOLS, order=4)


def context_of(model: NgramModel, said: str) -> int:
    context = START
    for symbol in said:
        context = model.after(context, SYMBOLS.index(symbol))
    return context


@pytest.mark.parametrize("order", [1, 2, 4])
def test_every_probability_is_the_formula_s(order: int) -> None:
    texts = some_texts()
    found, wanted = estimate(texts, SYMBOLS, order), WrittenOut(texts, order)
    draw = generator(1, "contexts")
    contexts = ["", "A", "C", "ABABAB"] + ["".join(draw.choice(list(SYMBOLS), 5)) for _ in range(10)]
    for said in contexts:
        row = np.exp(found.log_probabilities(context_of(found, said)))
        by_hand = [wanted.probability(symbol, "<" + said) for symbol in (*SYMBOLS, ">")]
        np.testing.assert_allclose(row, by_hand, rtol=1e-9, err_msg=said)


def test_probabilities_sum_to_one_in_every_context(model: NgramModel) -> None:
    for length in range(4):
        for said in itertools.product(SYMBOLS, repeat=length):
            row = model.log_probabilities(context_of(model, "".join(said)))
            assert np.exp(row).sum() == pytest.approx(1)


def test_longer_n_grams_learn_what_the_texts_have(model: NgramModel) -> None:
    # Seven in ten symbols are the last but one again: an order of 3 and more can know it, lower ones cannot.
    held_out = "ABABABAB"
    assert model.log_probability(held_out) > estimate(some_texts(), SYMBOLS, 2).log_probability(held_out) + 2


def test_what_was_written_is_read_back(model: NgramModel, tmp_path: Path) -> None:
    model.write(tmp_path / "lm.arpa")
    again = read_model(tmp_path / "lm.arpa", SYMBOLS)
    assert again.order == 4
    for said in ("", "A", "ABAB", "C C", "'B'"):
        np.testing.assert_allclose(
            again.log_probabilities(context_of(again, said)),
            model.log_probabilities(context_of(model, said)),
            atol=2e-4,  # six digits of decimal logarithms
        )


def test_kenlm_gives_the_same_scores(model: NgramModel, tmp_path: Path, capfd: object) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    model.write(tmp_path / "lm.arpa")
    names = Dictionary(["|", "'", "A", "B", "C"])
    kenlm = KenLM(str(tmp_path / "lm.arpa"), names)
    for said in ("", "AB AB", "CC'A", "BBBB"):
        state, total = kenlm.start(False), 0.0
        for symbol in said:
            state, score = kenlm.score(state, SYMBOLS.index(symbol))
            total += score
        total += kenlm.finish(state)[1]
        assert total * math.log(10) == pytest.approx(model.log_probability(said), abs=1e-3)


def test_a_symbol_that_never_occurs_has_a_small_probability(model: NgramModel) -> None:
    row = np.exp(model.log_probabilities(context_of(model, "AB")))
    assert 0 < row[SYMBOLS.index("C")] < 0.01


def test_one_short_text_is_enough() -> None:
    model = estimate(["A"], SYMBOLS, order=7)
    assert np.exp(model.log_probabilities(START)).sum() == pytest.approx(1)
    assert model.log_probability("A") > model.log_probability("B")


@pytest.mark.parametrize("order", [0, 11])
def test_orders_out_of_range(order: int) -> None:
    with pytest.raises(UsageError, match="between 1 and 10"):
        estimate(["A"], SYMBOLS, order)


def test_texts_that_cannot_be_used() -> None:
    with pytest.raises(IntrospectError, match="'x'"):
        estimate(["Ax"], SYMBOLS)
    with pytest.raises(IntrospectError, match="no text"):
        estimate([], SYMBOLS)
    with pytest.raises(UsageError, match="at most 61"):
        estimate(["A"], [chr(200 + i) for i in range(62)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no ARPA language model"),
        ("HELLO WORLD\n", "is no ARPA language model"),
        ("\\1-grams:\n-1 A\n-1 B\n", "lacks symbols of the recogniser: \\| ' C </s>"),
        ("\\1-grams:\n-1 a\n", "line 2: 'a' is no symbol of the recogniser"),
        ("\\1-grams:\nmany A\n", "line 2: no line of an ARPA"),
        ("\\1-grams:\n-1 A\n\\2-grams:\n-1 A\n", "line 4: no line of an ARPA"),
        ("\\1-grams:\n-1 A nan\n", "line 2: no line of an ARPA"),
        ("".join(f"\\{n}-grams:\n" for n in range(1, 12)), "is of order 11"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "lm.arpa").write_text(content)
    with pytest.raises(IntrospectError, match=message):
        read_model(tmp_path / "lm.arpa", SYMBOLS)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IntrospectError, match="cannot read"):
        read_model(tmp_path / "missing.arpa", SYMBOLS)
    (tmp_path / "lm.arpa").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IntrospectError, match="not UTF-8"):
        read_model(tmp_path / "lm.arpa", SYMBOLS)
