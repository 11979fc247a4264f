"""Groups follow from transcripts, alignments and tables alone, and instances find theirs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.records import Segment, Utterance
from asr_introspect.experiments.pass_groups import LabelSet, label_set, neighbours
from asr_introspect.experiments.pass_known import listed_timeline, spoken_timeline, transcript
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.introspection import profiles
from asr_introspect.recogniser.symbols import letters
from tests.experiments.recognisers import tiny_recogniser


def word(text: str, phones: str, start: float) -> tuple[Segment, list[Segment]]:
    spans = [Segment(p, start + 0.1 * i, start + 0.1 * (i + 1)) for i, p in enumerate(phones.split())]
    return Segment(text, start, spans[-1].end), spans


CITY, CAT = word("CITY", "S IH1 T IY0", 0.0), word("CAT", "K AE1 T", 0.5)
SPOKEN = Alignment((CITY[0], CAT[0]), (*CITY[1], *CAT[1]))
PHONES = ("AE", "IH", "IY", "K", "S", "T")


def test_the_c_of_city_and_the_c_of_cat() -> None:
    classes = letters().classes("CITY CAT")
    known = transcript("CITY CAT", classes, SPOKEN, PHONES, 1)
    assert [(*PHONES, "silent", "?")[i] for i in known.parts["phone"]] == [
        *("S", "IH", "T", "IY", "?", "K", "AE", "T")
    ]
    names = letters().symbols
    assert "".join(names[i] for i in known.parts["next"]) == "ITY CAT "
    assert "".join(names[i] for i in known.parts["previous"]) == " CITY CA"
    np.testing.assert_allclose(known.middle[[0, 5]], [0.05, 0.55])
    silent = transcript("KNEE", letters().classes("KNEE"), None, PHONES, -1)
    assert (silent.parts["phone"] == -1).all()
    assert silent.parts["next"].tolist()[-1] == silent.parts["previous"].tolist()[0] == -1


def test_neighbours_of_phones_and_pauses() -> None:
    line = spoken_timeline(SPOKEN.phones, PHONES)
    pause = len(PHONES)
    shown = (*PHONES, "pause")
    assert [shown[i] for i in line.parts["next"]] == ["IH", "T", "IY", "pause", "AE", "T", "pause"]
    assert [shown[i] for i in line.parts["previous"]] == ["pause", "S", "IH", "T", "pause", "K", "AE"]
    assert line.parts["stress"].tolist() == [-1, 1, -1, 0, -1, 1, -1]
    assert pause not in line.label
    stressed = spoken_timeline(SPOKEN.phones, ("AE1", "IH1", "IY0", "T"), stressed=True)
    assert stressed.label.tolist() == [1, 3, 2, 0, 3]
    assert spoken_timeline((), PHONES).parts["next"].shape == (0,)
    listed = listed_timeline([(0.1, "b"), (0.4, "a"), (0.5, "a")], ("a", "b"))
    assert listed.label.tolist() == [1, 0, 0]
    assert listed.parts["next"].tolist() == [0, 0, -1]
    before, after = neighbours(np.zeros(0, np.int64))
    assert len(before) == len(after) == 0


def test_parts_that_occur_often_enough_are_groups() -> None:
    """Against counting one by one."""
    random = np.random.default_rng(0)
    values = {"next": tuple("vwx"), "right": ("wrong", "right"), "sex": ()}
    parts = {
        "next": random.integers(-1, 3, 200),
        "right": random.integers(0, 2, 200),
        "sex": np.full(200, -1),
    }
    label = random.choice(4, 200, p=[0.6, 0.3, 0.08, 0.02])
    halves = [(label[s], {k: v[s] for k, v in parts.items()}) for s in (slice(90), slice(90, 200))]
    found = label_set("set", "kind", tuple("abcd"), values, halves)
    counted = Counter(f"{'abcd'[i]}|{'vwx'[v]}" for i, v in zip(label, parts["next"], strict=True) if v >= 0)
    often = {name for name, count in counted.items() if count >= profiles.MINIMUM}
    assert 0 < len(often) < len(counted)
    assert found.groups[:4] == tuple("abcd")
    assert {name for name in found.groups if name[-1] in "vwx"} == often
    assert sum(name.endswith(("wrong", "right")) for name in found.groups) == 8
    assert len(set(found.groups)) == len(found.groups) == 4 + len(often) + 8
    chosen, group = found.grouped(label, parts)
    seen = Counter(found.groups[i] for i in group)
    wanted = Counter("abcd"[i] for i in label)
    wanted.update({name: counted[name] for name in often})
    wanted.update(f"{'abcd'[i]}|{values['right'][v]}" for i, v in zip(label, parts["right"], strict=True))
    assert seen == wanted
    for instance, number in zip(chosen, group, strict=True):
        assert found.groups[number].startswith("abcd"[label[instance]])


def test_no_instance_and_no_group() -> None:
    none = np.zeros(0, np.int64)
    empty = LabelSet("set", "kind", (), {"next": ()}, {"next": np.zeros((0, 0), bool)})
    assert empty.groups == ()
    chosen, group = empty.grouped(none, {"next": none})
    assert len(chosen) == len(group) == 0


def test_groups_need_neither_sound_nor_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MINIMUM", 1)
    utterances = [Utterance("a", tmp_path / "none.wav", "CITY CAT", "7", "F", 1.0)]
    plan = Pass(
        tiny_recogniser(tmp_path),
        utterances,
        {"a": SPOKEN},
        splits=("next", "previous", "phone", "stress", "right", "sex"),
        more_labels=("letters-aligned", "phonemes-stressed"),
    )
    assert list(plan.sets) == ["letters", "phonemes", "letters-aligned", "phonemes-stressed"]
    of_letters = plan.sets["letters"].groups
    assert {"C|S", "C|K", "C|before I", "C|before A", "C|after space", "C|right", "C|F"} <= set(of_letters)
    assert not {"C|T", "C|before C", "B|before A"} & set(of_letters)
    assert "C|right" not in plan.sets["letters-aligned"].groups
    assert "C|S" in plan.sets["letters-aligned"].groups
    of_phones = set(plan.sets["phonemes"].groups)
    assert {"IH|primary", "IY|unstressed", "T|before IY", "T|before pause", "K|after pause"} <= of_phones
    assert not any("right" in name or "silent" in name for name in of_phones)
    assert plan.sets["phonemes-stressed"].labels == ("AE1", "IH1", "IY0", "K", "S", "T")
    assert "T|before IY0" in plan.sets["phonemes-stressed"].groups
