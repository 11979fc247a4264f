"""Letter n-gram language models: estimated from transcripts, kept as ARPA files.

The estimate is interpolated modified Kneser-Ney (Chen & Goodman 1998, eq. 26 and 27): on the letters of the
development transcripts 1.96 bits a letter with order 7, against 2.09 of Witten-Bell at its best order, 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.files import writing

LARGEST_ORDER = 10
START, END = 1, 2
"""The marks before the first and behind the last symbol; the symbols follow from 3 on."""

_BITS = 6
_MOST_SYMBOLS = 2**_BITS - 3
_ONE = 2**_BITS - 1
_NEVER = -99.0
_SPACE = "|"
"""How a space is written in ARPA files, whose fields are separated by spaces (as wav2letter's are)."""


@dataclass(frozen=True)
class NgramModel:
    """A backoff model: ``p(w | h)`` is that of the n-gram, else ``backoff(h) p(w | h without its oldest)``.

    An n-gram is one int64: six bits a symbol, the newest in the lowest bits.

    Parameters
    ----------
    symbols
        What it is a model of, for example space, apostrophe and A to Z.
    grams
        The n-grams of each order from 1 up, sorted, ``(N,)`` int64 each.
    scores, backoffs
        Their natural log probabilities, and the log backoff weights where they are contexts, ``(N,)``.
    """

    symbols: tuple[str, ...]
    grams: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]
    backoffs: tuple[np.ndarray, ...]

    @property
    def order(self) -> int:
        """The longest n-gram's length."""
        return len(self.grams)

    def after(self, context: int, symbol: int) -> int:
        """The context once the symbol of this number has been said; at most ``order - 1`` symbols long."""
        return ((context << _BITS) | (symbol + 3)) & ((1 << (_BITS * (self.order - 1))) - 1)

    def log_probabilities(self, context: int = START) -> np.ndarray:
        """Natural log probability of each symbol and, last, of the end, ``(symbols + 1,)``.

        Parameters
        ----------
        context
            What :meth:`after` gave; ``START`` at the beginning of an utterance.
        """
        endings = np.array([*range(3, len(self.symbols) + 3), END], dtype=np.int64)
        _, values = _found(self.grams[0], self.scores[0], endings)
        for length in range(1, self.order):
            if not context >> (_BITS * (length - 1)):
                break
            history = context & ((1 << (_BITS * length)) - 1)
            _, backoff = _found(self.grams[length - 1], self.backoffs[length - 1], np.array([history]))
            here, scores = _found(self.grams[length], self.scores[length], (history << _BITS) | endings)
            values = np.where(here, scores, values + backoff)
        return values

    def log_probability(self, said: Sequence[str]) -> float:
        """Natural log probability of a whole utterance, its end included."""
        number = {symbol: i for i, symbol in enumerate(self.symbols)}
        context, total = START, 0.0
        for symbol in said:
            total += float(self.log_probabilities(context)[number[symbol]])
            context = self.after(context, number[symbol])
        return total + float(self.log_probabilities(context)[-1])

    def write(self, path: Path | str) -> None:
        """Writes an ARPA file, atomically; a space is written as ``|``."""
        names = {START: "<s>", END: "</s>"}
        names |= {i + 3: _SPACE if name == " " else name for i, name in enumerate(self.symbols)}
        with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write("\\data\\\n")
            # Readers of ARPA files want a probability for unknown words.
            file.writelines(f"ngram {n}={len(grams) + (n == 1)}\n" for n, grams in enumerate(self.grams, 1))
            for n, (grams, scores, backoffs) in enumerate(
                zip(self.grams, self.scores, self.backoffs, strict=True), 1
            ):
                file.write(f"\n\\{n}-grams:\n")
                if n == 1:
                    file.write(f"{_NEVER}\t<unk>\t0\n")
                file.writelines(_lines(n, grams, scores, backoffs, names, last=n == self.order))
            file.write("\n\\end\\\n")


def _lines(
    n: int,
    grams: np.ndarray,
    scores: np.ndarray,
    backoffs: np.ndarray,
    names: Mapping[int, str],
    last: bool,
) -> Iterator[str]:
    places = [_BITS * k for k in reversed(range(n))]
    logs = zip((scores / math.log(10)).tolist(), (backoffs / math.log(10)).tolist(), strict=True)
    for gram, (score, backoff) in zip(grams.tolist(), logs, strict=True):
        words = " ".join([names[(gram >> place) & _ONE] for place in places])
        yield (
            f"{max(score, _NEVER):.6g}\t{words}\n"
            if last
            else f"{max(score, _NEVER):.6g}\t{words}\t{backoff:.6g}\n"
        )


def _found(grams: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each wanted n-gram is there, and its value, 0 where it is not."""
    if not len(grams):
        return np.zeros(len(wanted), dtype=bool), np.zeros(len(wanted))
    places = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
    here = grams[places] == wanted
    return here, np.where(here, values[places], 0.0)


def estimate(texts: Iterable[Sequence[str]], symbols: Sequence[str], order: int = 7) -> NgramModel:
    """The interpolated modified Kneser-Ney model of some utterances.

    Lower orders count distinct symbols before (all n-grams from the start of an utterance: occurrences); the
    lowest is interpolated with the uniform distribution. Where an order has too few rare n-grams to
    estimate its discounts, they are 0.5 *(choice)*.

    Parameters
    ----------
    texts
        A string, or a list of symbols, for each utterance.
    symbols
        All symbols, whether they occur or not; at most 61.
    order
        Length of the longest n-gram, 1 to 10.

    Raises
    ------
    UsageError
        The order is not within 1 to 10, or there are too many symbols.
    IntrospectError
        There is no text, or it holds a symbol that is not among those named.
    """
    if not 1 <= order <= LARGEST_ORDER:
        raise UsageError(f"a language model's order is between 1 and {LARGEST_ORDER}, not {order}")
    if len(symbols) > _MOST_SYMBOLS:
        raise UsageError(f"a language model has at most {_MOST_SYMBOLS} symbols, not {len(symbols)}")
    said = _encoded(texts, symbols)
    counts = [_counted(said, n) for n in range(1, order + 1)]
    scores: list[np.ndarray] = []
    backoffs: list[np.ndarray] = []
    for n, (grams, occurrences) in enumerate(counts, 1):
        count = occurrences if n == order else _continuations(n, grams, occurrences, counts[n][0])
        discount = np.append(0.0, _discounts(count))[np.minimum(count, 3)]
        contexts, first, which = np.unique(grams >> _BITS, return_index=True, return_inverse=True)
        total = np.add.reduceat(count, first)
        left_over = np.add.reduceat(discount, first) / total
        lower = _lower(n, grams, counts, scores, len(symbols))
        scores.append(np.log((count - discount) / total[which] + left_over[which] * lower))
        if n == 1:
            grams, scores[0] = _all_unigrams(grams, scores[0], float(left_over[0]), len(symbols))
            counts[0] = (grams, np.zeros(len(grams), dtype=np.int64))
        else:
            backoffs.append(_log_backoffs(counts[n - 2][0], contexts, left_over))
    backoffs.append(np.zeros(len(counts[-1][0])))
    return NgramModel(tuple(symbols), tuple(grams for grams, _ in counts), tuple(scores), tuple(backoffs))


def _encoded(texts: Iterable[Sequence[str]], symbols: Sequence[str]) -> np.ndarray:
    """All utterances one after another, each behind a start and before an end, ``(symbols,)`` int64."""
    number = {symbol: i + 3 for i, symbol in enumerate(symbols)}
    said: list[int] = []
    for text in texts:
        unknown = sorted(set(text) - set(number))
        if unknown:
            raise IntrospectError(
                f"not among the language model's symbols: {' '.join(map(repr, unknown[:5]))}"
            )
        said += [START, *(number[symbol] for symbol in text), END]
    if not said:
        raise IntrospectError("there is no text to estimate a language model from")
    return np.array(said, dtype=np.int64)


def _counted(said: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams within utterances, sorted, and how often each occurs; a lone start is none."""
    windows = np.lib.stride_tricks.sliding_window_view(said, n) if len(said) >= n else said[:0].reshape(0, n)
    across = (windows[:, 1:] == START).any(axis=1) | ((windows[:, :1] == START).all(axis=1) & (n == 1))
    kept = np.zeros(int((~across).sum()), dtype=np.int64)
    for place in range(n):
        kept = (kept << _BITS) | windows[~across, place]
    return np.unique(kept, return_counts=True)


def _continuations(n: int, grams: np.ndarray, occurrences: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """How many distinct symbols come before each n-gram; occurrences of those that start an utterance."""
    kinds, before = np.unique(longer & ((1 << (_BITS * n)) - 1), return_counts=True)
    _, distinct = _found(kinds, before, grams)
    starts = grams >> (_BITS * (n - 1)) == START
    return np.where(starts, occurrences, distinct).astype(np.int64)


def _discounts(count: np.ndarray) -> np.ndarray:
    """What is taken from counts of 1, of 2, and of 3 or more (Chen & Goodman 1998, eq. 26)."""
    one, two, three, four = (int((count == k).sum()) for k in (1, 2, 3, 4))
    if min(one, two, three) == 0:
        return np.full(3, 0.5)
    share = one / (one + 2 * two)
    found = np.array([1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three])
    return np.asarray(np.clip(found, 0.0, [1.0, 2.0, 3.0]))


def _lower(
    n: int,
    grams: np.ndarray,
    counts: Sequence[tuple[np.ndarray, np.ndarray]],
    scores: Sequence[np.ndarray],
    symbols: int,
) -> np.ndarray:
    """The probability of each n-gram's last symbol in the context without its oldest, ``(N,)``."""
    if n == 1:
        return np.full(len(grams), 1 / (symbols + 1))
    shorter = grams & ((1 << (_BITS * (n - 1))) - 1)
    _, logs = _found(counts[n - 2][0], scores[n - 2], shorter)
    return np.asarray(np.exp(logs))


def _all_unigrams(
    grams: np.ndarray, scores: np.ndarray, left_over: float, symbols: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every symbol, the end, and the start (as a context; its probability is never asked for)."""
    every = np.arange(START, symbols + 3, dtype=np.int64)
    here, values = _found(grams, scores, every)
    unseen = math.log(left_over / (symbols + 1))
    return every, np.where(every == START, _NEVER * math.log(10), np.where(here, values, unseen))


def _log_backoffs(grams: np.ndarray, contexts: np.ndarray, left_over: np.ndarray) -> np.ndarray:
    """The log backoff weight of each n-gram: 0 where it is no context."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(left_over), _NEVER * math.log(10))
    _, found = _found(contexts, logs, grams)
    return found


def read_model(path: Path | str, symbols: Sequence[str]) -> NgramModel:
    """The model in an ARPA file, whoever estimated it, for a recogniser's symbols; ``|`` is the space.

    Raises
    ------
    IntrospectError
        There is no such file, it is no ARPA file, its order is above 10, or its symbols are not these.
    """
    number = {_SPACE if name == " " else name: i + 3 for i, name in enumerate(symbols)}
    number |= {"<s>": START, "</s>": END}
    orders: list[dict[int, tuple[float, float]]] = []
    try:
        with Path(path).open(encoding="utf-8") as file:
            for row, line in enumerate(file, 1):
                parts = line.split()
                if line.startswith("\\") and line.rstrip().endswith("-grams:"):
                    orders.append({})
                elif orders and parts and not line.startswith("\\"):
                    _take(parts, len(orders), number, orders[-1], f"{path}, line {row}")
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise IntrospectError(f"{path} is no ARPA language model: not UTF-8 text") from error
    if not orders:
        raise IntrospectError(f"{path} is no ARPA language model (it has no section of n-grams)")
    if len(orders) > LARGEST_ORDER:
        raise IntrospectError(f"{path} is of order {len(orders)}; at most {LARGEST_ORDER} is read")
    missing = [name for name, i in number.items() if i != START and i not in orders[0]]
    if missing:
        raise IntrospectError(f"{path} lacks symbols of the recogniser: {' '.join(missing[:5])}")
    sorted_orders = [sorted(grams.items()) for grams in orders]
    return NgramModel(
        tuple(symbols),
        tuple(np.array([gram for gram, _ in grams], dtype=np.int64) for grams in sorted_orders),
        tuple(np.array([score for _, (score, _) in grams]) for grams in sorted_orders),
        tuple(np.array([backoff for _, (_, backoff) in grams]) for grams in sorted_orders),
    )


def _take(
    parts: Sequence[str],
    n: int,
    number: Mapping[str, int],
    grams: dict[int, tuple[float, float]],
    where: str,
) -> None:
    """Reads one line of an ARPA file into the n-grams of its order; unknown words' are left out."""
    words = parts[1 : n + 1]
    try:
        score = float(parts[0]) * math.log(10)
        backoff = float(parts[n + 1]) * math.log(10) if len(parts) > n + 1 else 0.0
    except ValueError:
        words = ()
    if len(words) != n or not math.isfinite(score + backoff):
        raise IntrospectError(f"{where}: no line of an ARPA language model")
    if "<unk>" in words:
        return
    unknown = [word for word in words if word not in number]
    if unknown:
        raise IntrospectError(f"{where}: {unknown[0]!r} is no symbol of the recogniser (a space is {_SPACE})")
    gram = 0
    for word in words:
        gram = (gram << _BITS) | number[word]
    grams[gram] = (score, backoff)
