"""Phone alignments: words and phones in time, from and to Praat's TextGrids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from praatio import textgrid
from praatio.utilities.errors import PraatioException

from asr_introspect.corpus.records import Segment, Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.files import writing
from asr_introspect.progress import say

SILENCES = frozenset({"", "sil", "sp", "spn", "<eps>", "<sil>"})
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

    Silences (``sil``, ``sp``, ``spn``, empty) are dropped. Words come in upper case.

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
    tiers = {name.lower(): grid.getTier(name) for name in grid.tierNames}
    missing = [name for name in (WORDS_TIER, PHONES_TIER) if name not in tiers]
    if missing:
        raise IntrospectError(f"{path} has no tier named {' or '.join(missing)}")
    words = _segments(tiers[WORDS_TIER].entries)
    return Alignment(
        tuple(Segment(word.symbol.upper(), word.start, word.end) for word in words),
        _segments(tiers[PHONES_TIER].entries),
    )


def _segments(entries: Iterable[tuple[float, float, str]]) -> tuple[Segment, ...]:
    labelled = ((label.strip(), start, end) for start, end, label in entries)
    return tuple(
        Segment(label, float(start), float(end))
        for label, start, end in labelled
        if label.lower() not in SILENCES
    )


def write_textgrid(path: Path | str, alignment: Alignment, duration: float) -> None:
    """Writes a TextGrid of words and phones; see :func:`write_tiers`."""
    write_tiers(path, {WORDS_TIER: alignment.words, PHONES_TIER: alignment.phones}, duration)


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


def read_alignments(
    folder: Path | str, utterances: Sequence[Utterance], skipped: list[Skipped] | None = None
) -> dict[str, Alignment]:
    """The alignments of those utterances that have a TextGrid in a folder or anywhere below it.

    A TextGrid belongs to an utterance by its file name: the utterance's name, else the stem of its sound
    file; among several, the one whose folders agree most with the sound file's. How many are missing is
    said.

    Parameters
    ----------
    skipped
        Takes the TextGrids that cannot be read, and why; they are said in any case.

    Raises
    ------
    IntrospectError
        There is no such folder, or it holds nothing for any of the utterances.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise IntrospectError(f"no such folder: {folder}")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.TextGrid")):
        by_stem.setdefault(path.stem, []).append(path)
    found: dict[str, Alignment] = {}
    unreadable: list[Skipped] = []
    for utterance in utterances:
        candidates = by_stem.get(utterance.name) or by_stem.get(utterance.audio.stem)
        if not candidates:
            continue
        try:
            found[utterance.name] = read_textgrid(_nearest(candidates, utterance.audio))
        except IntrospectError as error:
            unreadable.append(Skipped(utterance.name, str(error)))
    if not found:
        raise IntrospectError(
            f"{folder} holds no readable TextGrid of any of the {len(utterances):,} utterances"
        )
    if len(found) < len(utterances):
        broken = f" ({len(unreadable):,} unreadable)" if unreadable else ""
        missing = len(utterances) - len(found)
        say(f"no phone alignment for {missing:,} of {len(utterances):,} utterances{broken}")
    if skipped is not None:
        skipped.extend(unreadable)
    return found


def _nearest(candidates: Sequence[Path], audio: Path) -> Path:
    """The path whose folders, from the file upwards, agree longest with those of the sound file."""

    def agreement(path: Path) -> int:
        pairs = zip(path.parts[-2::-1], audio.parts[-2::-1], strict=False)
        count = 0
        for ours, theirs in pairs:
            if ours != theirs:
                break
            count += 1
        return count

    return max(candidates, key=agreement)
