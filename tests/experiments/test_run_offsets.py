"""The offset table against windows cut out and compared one method at a time, on a tiny net."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.experiments import run_offsets
from asr_introspect.experiments.offsets import in_turn, letters_of
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import Rows
from asr_introspect.experiments.run_offsets import OFFSET_COLUMNS, offset_csv_row, offset_table, offset_tables
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.evaluation import agreement, cut_windows
from asr_introspect.introspection.offset_methods import CONTROLS, METHODS, Emitted, found_by_all
from asr_introspect.recogniser.decoding import greedy, text
from asr_introspect.recogniser.passes import forward_pass
from tests.experiments.recognisers import tiny_recogniser

CorpusMaker = Callable[..., Path]
LAG = 0.04
NAMES = [f"{1 + n % 2}-1-{n:04}" for n in range(4)]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pass, Rows, np.ndarray]:
    """Four utterances of noise whose transcripts are what the net hears in them: every letter is right.

    Their sounds lie 40 ms before each letter's step.
    """
    place = tmp_path_factory.mktemp("offsets")
    random = np.random.default_rng(0)
    corpus = place / "corpus"
    for number, name in enumerate(NAMES):
        speaker = corpus / name[0] / "1"
        speaker.mkdir(parents=True, exist_ok=True)
        noise = random.normal(size=16_000 + 2000 * number) * 0.1
        soundfile.write(speaker / f"{name}.wav", noise.astype(np.float32), 16_000)
        with (speaker / f"{name[0]}-1.trans.txt").open("a") as file:
            file.write(f"{name} A\n")
    ours = tiny_recogniser(place)
    utterances = list(read_corpus(corpus).utterances)
    for forward in forward_pass(ours, utterances):
        for item, position in enumerate(forward.positions):
            heard = text(greedy(forward.logits[item, :, : int(forward.lengths[item])]), ours.symbols)
            utterances[position] = dataclasses.replace(utterances[position], text=heard)
    plan = Pass(ours, utterances, {}, batch_seconds=4.0)
    rows = letters_of(plan)
    assert (rows.letters.right == 1).all()
    return plan, rows, ours.step_time(rows.letters.step) - LAG


def test_every_cell_is_that_of_windows_cut_out(passed: tuple[Pass, Rows, np.ndarray]) -> None:
    plan, rows, middle = passed
    table = {(row.method, row.layer): row for row in offset_table(plan, rows, middle, 0)}
    layout = {name: cone for name, cone in cones(plan.recogniser.network).items() if cone.shifts}
    assert list(table) == [(method, layer) for layer in layout for method in METHODS]
    letters = np.array(rows.letters.labels, object)[rows.letters.label]
    used = np.flatnonzero(np.isin(letters, list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
    assert len(used) > 40
    windows: dict[tuple[str, str], list[np.ndarray]] = {}
    moved: dict[tuple[str, str], list[np.ndarray]] = {}
    for number, utterance in enumerate(plan.utterances):
        (forward,) = forward_pass(plan.recogniser, [utterance], layers=list(layout))
        forward = dataclasses.replace(forward, positions=(number,))
        own = used[rows.letters.utterance[used] == number]
        step = rows.letters.step[own]
        # What the net hears is the likeliest path of its transcript: a letter's best step is its emission's.
        asked = Emitted(np.zeros(len(own), int), step, rows.letters.label[own], step, middle[own])
        found = found_by_all(plan.recogniser, forward, asked)
        for layer, cone in layout.items():
            values = forward.activations[layer][0].T.numpy()
            assert np.array_equal(found["gradient"][layer], rows.found[layer][own])
            for method in METHODS:
                at = found[method][layer]
                windows.setdefault((method, layer), []).append(
                    cut_windows(values, at, cone.first, cone.positions)
                )
                moved.setdefault((method, layer), []).append(at - cone.stride * step)
    speaker = np.array([utterance.speaker for utterance in plan.utterances])[rows.letters.utterance[used]]
    for at, cut in windows.items():
        row, cone = table[at], layout[at[1]]
        wanted = agreement(
            np.concatenate(cut), rows.letters.label[used], rows.letters.utterance[used], speaker
        )
        assert row.agreement.count == wanted.count
        assert row.agreement.explained.value == pytest.approx(wanted.explained.value, abs=2e-4), at
        assert row.agreement.correlation.value == pytest.approx(wanted.correlation.value, abs=2e-4), at
        assert row.agreement.explained.low == pytest.approx(wanted.explained.low, abs=2e-4), at
        shift = np.concatenate(moved[at])
        seconds = 0.01 * (cone.frames * shift - (1.5 - cone.centre)) + LAG
        assert row.lag.median == pytest.approx(1000 * np.median(seconds), abs=1e-6)
        assert row.lag.spread.value == pytest.approx(1000 * seconds.std(), abs=1e-3)
        unseen = np.minimum(np.abs(shift), cone.positions) / cone.positions
        assert row.unseen.value == pytest.approx(unseen.mean(), abs=1e-9)
        assert row.of == len(used)
        assert row.utterances == len(NAMES)
    for layer in layout:
        verdicts = {method: table[method, layer].verdict for method in METHODS}
        best = max(
            (method for method in METHODS if method not in CONTROLS),
            key=lambda method: table[method, layer].agreement.explained.value,
        )
        assert [method for method, verdict in verdicts.items() if verdict == "best"] == [best]
        assert set(verdicts.values()) <= {"best", "no worse", "worse"}


def test_layers_one_by_one_change_nothing(
    passed: tuple[Pass, Rows, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, rows, middle = passed
    methods = ("gradient", "none", "random")
    together = offset_table(plan, rows, middle, 0, methods)
    monkeypatch.setattr(run_offsets, "SUMS_BYTES", 1)
    alone = offset_table(plan, rows, middle, 0, methods)
    assert [offset_csv_row(row) for row in alone] == [offset_csv_row(row) for row in together]


def test_a_share_is_drawn_alike_from_all_speakers(passed: tuple[Pass, Rows, np.ndarray]) -> None:
    plan, rows, middle = passed
    few = offset_table(plan, rows, middle, 0, ("none",), most=1)[0]
    assert few.utterances == 2
    assert set(few.agreement.speakers) == {"1", "2"}
    whole = offset_table(plan, rows, middle, 0, ("none",), most=10**9)[0]
    assert whole.utterances == len(NAMES)
    assert few.of == whole.of > few.agreement.count
    assert np.isfinite(whole.agreement.explained.low)


def test_two_accounts_of_the_sounds_are_measured_on_the_same_letters(
    passed: tuple[Pass, Rows, np.ndarray],
) -> None:
    plan, rows, middle = passed
    later = middle + 0.02
    later[rows.letters.utterance == 1] = np.nan
    both = offset_tables(plan, rows, {"one": middle, "two": later}, 0, ("gradient", "phone", "none"))
    alone = offset_table(plan, rows, later, 0, ("gradient", "phone", "none"))
    assert [offset_csv_row(row) for row in both["two"]] == [offset_csv_row(row) for row in alone]
    for one, two in zip(both["one"], both["two"], strict=True):
        assert (one.method, one.layer, one.of) == (two.method, two.layer, two.of)
        if one.method == "phone":
            assert abs(one.lag.median) <= 10
            assert abs(two.lag.median) <= 10
        else:
            assert one.lag.median - two.lag.median == pytest.approx(20)
            assert one.agreement.explained == two.agreement.explained


def test_utterances_are_drawn_one_of_each_speaker_in_turn(passed: tuple[Pass, Rows, np.ndarray]) -> None:
    plan, _, _ = passed
    few = in_turn(plan.utterances, 2, seed=0)
    assert {utterance.speaker for utterance in few} == {"1", "2"}
    assert in_turn(plan.utterances, 2, seed=0) == few
    assert in_turn(plan.utterances, None, seed=0) == tuple(plan.utterances)
    names = [utterance.name for utterance in in_turn(plan.utterances, 3, seed=1)]
    assert names == sorted(names)


def test_without_sounds_there_is_no_table(passed: tuple[Pass, Rows, np.ndarray], tmp_path: Path) -> None:
    plan, rows, middle = passed
    unknown = np.full_like(middle, np.nan)
    assert offset_table(plan, rows, unknown, 0) == []
    one = np.where(rows.letters.utterance == 2, middle, np.nan)
    assert offset_table(plan, rows, one, 0) == []
    write_csv(tmp_path / "table.csv", OFFSET_COLUMNS, [])
    with (tmp_path / "table.csv").open() as file:
        assert next(csv.reader(file)) == list(OFFSET_COLUMNS)
