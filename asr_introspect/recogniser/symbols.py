"""Symbol tables: what the output units of a recogniser stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr_introspect.errors import IntrospectError, UsageError

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# fmt: off
PHONEMES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH",
    "UH", "UW", "V", "W", "Y", "Z", "ZH",
)
# fmt: on


@dataclass(frozen=True)
class SymbolTable:
    """The output symbols, in order of the classes.

    Parameters
    ----------
    symbols
        One name per class, the blank's among them.
    blank
        The class of the blank.
    """

    symbols: tuple[str, ...]
    blank: int = 0

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise UsageError("a symbol table must not name a symbol twice")
        if not 0 <= self.blank < len(self.symbols):
            raise UsageError(f"the blank {self.blank} is not among the {len(self.symbols)} symbols")

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def spells_text(self) -> bool:
        """Whether every symbol but the blank is one character, so that transcripts are its targets."""
        return all(len(name) == 1 for i, name in enumerate(self.symbols) if i != self.blank)

    def classes(self, symbols: Iterable[str]) -> list[int]:
        """The class of each symbol (of each character, when given text).

        Raises
        ------
        IntrospectError
            A symbol is not in the table.
        """
        index = {name: i for i, name in enumerate(self.symbols)}
        wanted = list(symbols)
        unknown = sorted({name for name in wanted if name not in index})
        if unknown:
            raise IntrospectError(f"symbols not in the recogniser's table: {' '.join(map(repr, unknown))}")
        return [index[name] for name in wanted]

    def names(self, classes: Sequence[int]) -> list[str]:
        """The symbol of each class."""
        return [self.symbols[i] for i in classes]


def letters() -> SymbolTable:
    """Blank, space, apostrophe and A to Z: 29 classes."""
    return SymbolTable(("<blank>", " ", "'", *LETTERS))


def phonemes() -> SymbolTable:
    """Blank and the 39 phones of ARPAbet without stress."""
    return SymbolTable(("<blank>", *PHONEMES))
