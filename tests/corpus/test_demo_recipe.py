"""The demo recipe refuses sentences that would break what the corpus promises."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "demo"


@pytest.fixture(scope="module")
def texts() -> ModuleType:
    specification = importlib.util.spec_from_file_location("demo_texts", RECIPE / "texts.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GOOD = "Jack's quiet fox, they say, dozed by the brook."


def test_a_transcript_keeps_capitals_spaces_and_apostrophes(texts: ModuleType) -> None:
    assert texts.transcript(GOOD) == "JACK'S QUIET FOX THEY SAY DOZED BY THE BROOK"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("Too few words in this one.", "6 words"),
        (" ".join(["far"] * 15), "15 words"),
        ("The brillig toves gimbled in the quiet wabe today.", "not in the CMU dictionary"),
        ("The 12 monkeys took the train to the old town.", "not in the CMU dictionary"),
        (GOOD.upper(), "there twice"),
    ],
)
def test_bad_sentences_are_refused_with_their_line(
    texts: ModuleType, tmp_path: Path, bad: str, why: str
) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text(f"{GOOD}\n{bad}\n", encoding="ascii")
    with pytest.raises(ValueError, match=rf":2: .*{why}"):
        texts.read_sentences(path)


def test_rare_letters_and_phones_are_named(texts: ModuleType) -> None:
    with pytest.raises(ValueError, match="fewer than 2 times: Q 1, X 0"):
        texts.require(Counter({"A": 5, "Q": 1}), ["A", "Q", "X"], 2, "letters")


def test_counts_are_those_of_the_dictionary(texts: ModuleType) -> None:
    assert texts.count_letters(["Zoo zoo."]) == {"Z": 2, "O": 4}
    assert texts.count_phones(["A vision, a joy."])["ZH"] == 1
    assert texts.count_phones(["A vision, a joy."])["OY"] == 1
    assert len(texts.PHONES) == len(set(texts.PHONES)) == 39
