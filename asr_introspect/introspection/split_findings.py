"""Findings on parts of groups: in which layer the parts of a letter or phoneme differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_introspect.introspection.bootstrap import Interval
from asr_introspect.introspection.findings import Finding

WHAT = {
    "right": "right and wrong emissions of one {one}",
    "speaker": "one {one} of different speakers",
    "sex": "one {one} of women and men",
    "next": "one {one} before different {many}",
    "previous": "one {one} after different {many}",
    "phone": "one {one} that spells different phones",
    "stress": "one {one} of different stress",
}
ONE = {"letters": ("letter", "letters"), "phonemes": ("phoneme", "phonemes")}


@dataclass(frozen=True)
class SplitLayer:
    """How far apart the parts of groups are at one layer (:class:`~introspection.parts.Apart`)."""

    layer: str
    same_group: Interval
    same_part: Interval
    null: tuple[float, float]
    p_value: float


def split_finding(labels: str, split: str, layers: Sequence[SplitLayer]) -> Finding:
    """The layer in which the parts of a group are farthest apart, and where they are nearest.

    ``difference``: there is a layer whose whole interval lies above 0 and above the null's upper end; of such
    layers the farthest is named. Intervals are not made wider for there being several layers *(choice)*.
    """
    one, many = ONE[labels]
    what = WHAT[split].format(one=one, many=many)
    known = [each for each in layers if np.isfinite(each.same_group.value)]
    if not known:
        return Finding(f"split-{labels}-{split}", f"{_upper(what)}: no layer tells {many} apart.", *_NONE)
    differing = [each for each in known if each.same_group.low > max(each.null[1], 0.0)]
    most = max(differing or known, key=lambda each: each.same_group.value)
    least = min(known, key=lambda each: each.same_group.value)
    differs = bool(differing)
    interval = f"[{most.same_group.low:.2f}, {most.same_group.high:.2f}]"
    if differs:
        sentence = (
            f"{_upper(what)}: farthest apart at {most.layer}, {most.same_group.value:.2f} {interval} of the "
            f"squared distance of {many} that share neither; least at {least.layer}, "
            f"{least.same_group.value:.2f}."
        )
        sentence += _crossing(split, one, known)
    else:
        sentence = (
            f"{_upper(what)}: no difference at any layer; at most {most.same_group.value:.2f} {interval} of "
            f"the squared distance of {many} that share neither, at {most.layer}."
        )
    return Finding(
        f"split-{labels}-{split}",
        sentence,
        most.same_group.value,
        most.same_group.low,
        most.same_group.high,
        0.0,
        "share of the squared distance of other groups",
        differs,
    )


def _crossing(split: str, one: str, known: Sequence[SplitLayer]) -> str:
    """From which layer on the phones of one letter lie nearer together than the letters of one phone, judged
    by intervals that do not touch.
    """
    if split != "phone":
        return ""
    by_letter = [each.same_group.high < each.same_part.low for each in known]
    by_phone = [each.same_part.high < each.same_group.low for each in known]
    if all(by_letter) or all(by_phone):
        nearer, other = ("letter", "phone") if all(by_letter) else ("phone", "letter")
        return f" In every layer what shares its {nearer} lies nearer together than what shares its {other}."
    first = len(by_letter) - by_letter[::-1].index(False)
    if first == len(by_letter) or any(by_letter[:first]):
        return ""
    return (
        f" From {known[first].layer} on the phones of one {one} lie nearer together than the {one}s of one "
        "phone."
    )


_NONE = (*(float("nan"),) * 3, 0.0, "share of the squared distance of other groups", False)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
