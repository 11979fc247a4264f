"""Symbol tables."""

import pytest

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.recogniser.symbols import SymbolTable, letters, phonemes


def test_letters_are_29_classes_and_spell_text() -> None:
    table = letters()
    assert len(table) == 29
    assert table.blank == 0
    assert table.spells_text
    assert table.names(table.classes("DON'T STOP")) == list("DON'T STOP")


def test_phonemes_are_the_39_of_arpabet_and_do_not_spell_text() -> None:
    table = phonemes()
    assert len(table) == 40
    assert not table.spells_text
    assert all(name.isupper() and not any(c.isdigit() for c in name) for name in table.symbols[1:])


def test_unknown_symbols_are_named_once() -> None:
    with pytest.raises(IntrospectError, match=r"table: '1' 'é'$"):
        letters().classes("É1é1".replace("É", ""))


def test_a_table_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        SymbolTable(("<blank>", "A", "A"))
    for blank in (-1, 2):
        with pytest.raises(UsageError, match="blank"):
            SymbolTable(("<blank>", "A"), blank)
