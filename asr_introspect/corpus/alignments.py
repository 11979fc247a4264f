"""Phone alignments: words and phones in time, from and to Praat's TextGrids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from praatio import textgrid
from praatio.utilities.errors import PraatioException

from asr_introspect.corpus.records import Segment
from asr_introspect.errors import IntrospectError
from asr_introspect.files import writing

SILENCES = frozenset({"", "sil", "sp", "spn", "nsn", "<eps>", "<sil>"})
WORDS_TIER, PHONES_TIER = "words", "phones"


@dataclass(frozen=True, slots=True)
class Alignment:
    """Words and phones of an utterance in time and in order, without silences; phones keep their stress."""

    words: tuple[Segment, ...]
    phones: tuple[Segment, ...]


def without_stress(phone: str) -> str:
    """A phone in upper case without its stress digit: ``AH0`` is ``AH``."""
    return phone.upper().rstrip("0123456789")


def read_textgrid(path: Path | str) -> Alignment:
    """The words and phones of a TextGrid (long or short format; tiers ``words`` and ``phones``).

    Silences (``sil``, ``sp``, ``spn``, ``nsn``, empty) are dropped. Words come in upper case; phones are as
    they stand there. The Montreal Forced Aligner's tiers of a speaker (``84 - words``) do where there is one.

    Raises
    ------
    IntrospectError
        The file cannot be read, is no TextGrid, or lacks one of the tiers.
    """
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except OSError as error:
        raise IntrospectError(f"cannot read {path}: {error.strerror or error}") from error
    except (PraatioException, ValueError, IndexError, KeyError, AttributeError, UnicodeError) as error:
        raise IntrospectError(f"{path} is not a TextGrid") from error
    try:
        words, phones = (grid.getTier(tier_name(grid.tierNames, name)) for name in (WORDS_TIER, PHONES_TIER))
    except ValueError as error:
        raise IntrospectError(f"{path} has {error}") from error
    return Alignment(
        tuple(Segment(word.symbol.upper(), word.start, word.end) for word in _segments(words.entries)),
        _segments(phones.entries),
    )


def tier_name(names: Iterable[str], kind: str) -> str:
    """The tier of words or phones: called so in any case of letters, or the only one called ``... - words``.

    Raises
    ------
    ValueError
        There is none, or several; the message names the tiers.
    """
    known = list(names)
    exact = [name for name in known if name.strip().lower() == kind]
    of_speakers = [name for name in known if name.strip().lower().endswith(f"- {kind}")]
    if len(found := exact or of_speakers) == 1:
        return found[0]
    listed = ", ".join(map(repr, known)) or "none"
    number = "several tiers" if found else "no tier"
    raise ValueError(f"{number} named {kind} (tiers: {listed})")


def _segments(entries: Iterable[tuple[float, float, str]]) -> tuple[Segment, ...]:
    labelled = ((label.strip(), start, end) for start, end, label in entries)
    return tuple(
        Segment(label, float(start), float(end))
        for label, start, end in labelled
        if label.lower() not in SILENCES
    )


def write_textgrid(path: Path | str, alignment: Alignment, duration: float) -> None:
    """Writes a TextGrid of words and phones, as long as its last segment needs; see :func:`write_tiers`."""
    end = max([duration, *(segment.end for segment in (*alignment.words, *alignment.phones))])
    write_tiers(path, {WORDS_TIER: alignment.words, PHONES_TIER: alignment.phones}, end)


def write_tiers(path: Path | str, tiers: Mapping[str, Sequence[Segment]], duration: float) -> None:
    """Writes a short-format TextGrid of an utterance of ``duration`` seconds, a tier per name, atomically.

    Raises
    ------
    IntrospectError
        The file cannot be written, or segments overlap.
    """
    duration = round(duration, 6)
    try:
        grid = textgrid.Textgrid()
        for name, segments in tiers.items():
            entries = [
                (round(segment.start, 6), round(min(segment.end, duration), 6), segment.symbol)
                for segment in segments
            ]
            if entries:
                grid.addTier(textgrid.IntervalTier(name, entries, 0.0, duration))
            else:
                grid.addTier(textgrid.IntervalTier(name, [(0.0, duration, "")], 0.0, duration))
        with writing(path) as temporary:
            grid.save(
                str(temporary), format="short_textgrid", includeBlankSpaces=True, reportingMode="silence"
            )
    except PraatioException as error:
        raise IntrospectError(f"cannot write {path}: {error}") from error
