"""Phone alignments of a corpus: what kind of files they are is seen from their names and contents.

Four kinds are read: Praat's TextGrids (one per utterance), CTM (``utterance channel start duration symbol``;
words and phones in a file each), JSON (lines as ``align`` writes them, or the Montreal Forced Aligner's one
file per utterance), and the condensed text of LibriSpeech-Alignments (words only).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from asr_introspect.corpus.alignment_text import read_condensed, read_ctm, read_json_alignments, sniff
from asr_introspect.corpus.alignments import Alignment, read_textgrid
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.errors import IntrospectError
from asr_introspect.progress import say

KINDS = {
    "TextGrid": (".textgrid",),
    "JSON": (".json", ".jsonl"),
    "CTM": (".ctm",),
    "condensed text": (".alignment.txt",),
}
"""What the files of each kind are called at their ends; of kinds side by side the first one counts."""

NAMED = 3


@dataclass(frozen=True)
class CorpusAlignments:
    """The alignments that were found for a corpus.

    Parameters
    ----------
    alignments
        By the name of the utterance.
    kind
        One of :data:`KINDS`.
    missing
        The names of utterances without an alignment, the unreadable ones among them.
    unreadable
        Files and utterances whose alignment cannot be used, and why.
    """

    alignments: Mapping[str, Alignment]
    kind: str
    missing: tuple[str, ...]
    unreadable: tuple[Skipped, ...]

    @property
    def has_phones(self) -> bool:
        """Whether any alignment has a phone; condensed text and words alone have none."""
        return any(alignment.phones for alignment in self.alignments.values())


def read_alignments(
    place: Path | str, utterances: Sequence[Utterance], skipped: list[Skipped] | None = None
) -> dict[str, Alignment]:
    """The alignments in :func:`find_alignments`, by utterance name; unreadable ones go to ``skipped``."""
    found = find_alignments(place, utterances)
    if skipped is not None:
        skipped.extend(found.unreadable)
    return dict(found.alignments)


def find_alignments(place: Path | str, utterances: Sequence[Utterance]) -> CorpusAlignments:
    """The alignments of those utterances that have one in a file, or in a folder or anywhere below it.

    An alignment belongs to an utterance by its name (in the file, or that of its own file): the utterance's
    name, else the stem of its sound file; among several, the one whose folders agree most with the sound
    file's. How many are missing is said, with the first names.

    Raises
    ------
    IntrospectError
        There is nothing at the place, it holds no alignments, or none of any of the utterances.
    """
    place = Path(place)
    kind, files = _files(place)
    wanted = {name for utterance in utterances for name in (utterance.name, utterance.audio.stem)}
    unreadable: list[Skipped] = []
    held: dict[str, Sequence[tuple[Path, Alignment | Path]]] = {}
    if kind == "TextGrid":
        for path in files:
            held[path.stem] = [*held.get(path.stem, ()), (path, path)]
    else:
        held.update(_read_all(kind, files, wanted, utterances, unreadable))
    found: dict[str, Alignment] = {}
    for utterance in utterances:
        candidates = held.get(utterance.name) or held.get(utterance.audio.stem)
        if not candidates:
            continue
        chosen = max(candidates, key=lambda each: _agreement(each[0], utterance.audio))[1]
        try:
            found[utterance.name] = read_textgrid(chosen) if isinstance(chosen, Path) else chosen
        except IntrospectError as error:
            unreadable.append(Skipped(utterance.name, str(error)))
    if not found:
        raise _nothing(place, kind, utterances, held, unreadable)
    missing = tuple(utterance.name for utterance in utterances if utterance.name not in found)
    if missing:
        broken = f" ({len(unreadable):,} unreadable)" if unreadable else ""
        named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        say(f"no phone alignment for {len(missing):,} of {len(utterances):,} utterances{broken}: {named}")
    return CorpusAlignments(found, kind, missing, tuple(unreadable))


def textgrid_places(utterances: Sequence[Utterance], out: Path) -> dict[str, Path]:
    """Where the TextGrid of each utterance lies: under the two folders above its sound, or more.

    As many as tell all sound files apart; two never share a place, not even where case is ignored.
    """
    parts = [utterance.audio.resolve().parts[1:] for utterance in utterances]
    folders, most = 2, max(map(len, parts), default=0)
    while folders < most and len({own[-folders - 1 :] for own in parts}) < len(set(parts)):
        folders += 1
    places: dict[str, Path] = {}
    taken: set[str] = set()
    for utterance, own in zip(utterances, parts, strict=True):
        place = out.joinpath(*own[-folders - 1 : -1])
        name, number = utterance.audio.stem, 1
        while str(place / name).casefold() in taken:
            number += 1
            name = f"{utterance.audio.stem} ({number})"
        taken.add(str(place / name).casefold())
        places[utterance.name] = place / f"{name}.TextGrid"
    return places


def _files(place: Path) -> tuple[str, list[Path]]:
    """The kind of alignments at a place and the files that hold them, in order of their paths."""
    if place.is_file():
        return _kind_by_name(place) or sniff(place), [place]
    if not place.is_dir():
        near = get_close_matches(place.name, _names(place.parent), n=1, cutoff=0.6)
        hint = f"; did you mean {place.parent / near[0]}?" if near else ""
        raise IntrospectError(f"no such file or folder: {place}{hint}")
    by_kind: dict[str, list[Path]] = {}
    others: Counter[str] = Counter()
    for path in sorted(place.rglob("*")):
        if not path.is_file():
            continue
        kind = _kind_by_name(path)
        if kind:
            by_kind.setdefault(kind, []).append(path)
        elif not path.name.startswith("."):
            others[path.suffix or path.name] += 1
    for kind in KINDS:
        if kind in by_kind:
            return kind, by_kind[kind]
    endings = ", ".join(f"*{ending}" for endings in KINDS.values() for ending in endings)
    there = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common(NAMED))
    hint = f"; there are only {there} files" if there else "; it is empty"
    raise IntrospectError(f"{place} holds no phone alignments ({endings}){hint}")


def _kind_by_name(path: Path) -> str | None:
    name = path.name.lower()
    return next((kind for kind, endings in KINDS.items() if name.endswith(endings)), None)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _read_all(
    kind: str,
    files: Sequence[Path],
    wanted: set[str],
    utterances: Sequence[Utterance],
    unreadable: list[Skipped],
) -> dict[str, list[tuple[Path, Alignment]]]:
    """What files that hold many utterances say of each of the wanted ones, with the file that says it."""
    held: dict[str, list[tuple[Path, Alignment]]] = {}
    words = {word for utterance in utterances for word in utterance.text.split()}
    for path in files:
        try:
            if kind == "CTM":
                lines = read_ctm(path, wanted, words)
            elif kind == "JSON":
                lines = read_json_alignments(path, wanted)
            else:
                lines = read_condensed(path, wanted)
        except IntrospectError as error:
            unreadable.append(Skipped(path.name, str(error)))
            continue
        unreadable += lines.unreadable
        for name, alignment in lines.alignments.items():
            held.setdefault(name, []).append((path, alignment))
    if kind == "CTM":
        return {name: _joined(own) for name, own in held.items()}
    return held


def _joined(held: list[tuple[Path, Alignment]]) -> list[tuple[Path, Alignment]]:
    """An utterance's phones with its words, which stand in another file: the nearest one that has them."""
    with_words = [(path, alignment) for path, alignment in held if alignment.words]
    with_phones = [(path, alignment) for path, alignment in held if alignment.phones]
    if not with_words or not with_phones:
        return with_phones or held
    joined = []
    for path, alignment in with_phones:
        _, nearest = max(with_words, key=lambda each: _agreement(each[0], path))
        joined.append((path, Alignment(nearest.words, alignment.phones)))
    return joined


def _nothing(
    place: Path,
    kind: str,
    utterances: Sequence[Utterance],
    held: Mapping[str, object],
    unreadable: Sequence[Skipped],
) -> IntrospectError:
    message = f"{place} holds no readable {kind} of any of the {len(utterances):,} utterances"
    if unreadable:
        return IntrospectError(f"{message} ({'; '.join(item.reason for item in unreadable[:NAMED])})")
    if held and utterances:
        return IntrospectError(f"{message} ({next(iter(held))} is there, {utterances[0].name} is wanted)")
    return IntrospectError(message)


def _agreement(path: Path, other: Path) -> int:
    """How many folders of two paths agree, from the files upwards."""
    count = 0
    for ours, theirs in zip(path.parts[-2::-1], other.parts[-2::-1], strict=False):
        if ours != theirs:
            break
        count += 1
    return count
