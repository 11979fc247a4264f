"""Greedy decoding against the definition of the CTC labelling."""

from itertools import groupby

import numpy as np
import pytest
import torch

from asr_introspect.random import generator
from asr_introspect.recogniser.decoding import collapse, greedy, greedy_batch, text
from asr_introspect.recogniser.symbols import letters, phonemes


@pytest.mark.parametrize("blank", [0, 3])
def test_collapse_merges_repeats_then_drops_blanks(blank: int) -> None:
    random = generator(0, "decoding", blank)
    for _ in range(200):
        path = random.integers(0, 4, random.integers(0, 12))
        assert collapse(path, blank) == [label for label, _ in groupby(path.tolist()) if label != blank]


def test_collapse_keeps_letters_doubled_across_a_blank() -> None:
    assert collapse([1, 1, 0, 1, 2, 2, 0, 0]) == [1, 1, 2]
    assert collapse([]) == collapse([0, 0]) == []


def test_greedy_takes_arrays_and_tensors() -> None:
    logits = np.array([[0, 0, 9, 0], [5, 5, 0, 0], [1, 1, 0, 7]], dtype=np.float32)
    assert greedy(logits) == greedy(torch.from_numpy(logits)) == [1, 2]
    assert greedy(np.zeros((3, 0))) == []


def test_of_equal_logits_the_first_class_is_taken() -> None:
    assert greedy(np.array([[0.0], [2.0], [2.0]])) == [1]


def test_a_batch_stops_at_each_length() -> None:
    logits = generator(1, "decoding").normal(size=(3, 5, 20))
    lengths = [20, 7, 0]
    found = greedy_batch(logits, torch.tensor(lengths))
    assert found == [greedy(logits[i, :, :length]) for i, length in enumerate(lengths)]
    assert found[2] == []


def test_text_joins_letters_and_spaces_phonemes() -> None:
    assert text(letters().classes("IT'S A"), letters()) == "IT'S A"
    assert text(phonemes().classes(["K", "AE", "T"]), phonemes()) == "K AE T"
