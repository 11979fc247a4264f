"""Alignments of many utterances in one file: CTM, JSON, LibriSpeech-Alignments' condensed text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_introspect.corpus.alignments import SILENCES, Alignment, tier_name, without_stress
from asr_introspect.corpus.pronunciations import PHONES
from asr_introspect.corpus.records import Segment, Skipped
from asr_introspect.errors import IntrospectError
from asr_introspect.files import reading

CONDENSED = re.compile(r'(\S+)\s+"([^"]*)"\s+"([^"]*)"\s*')
POSITION = re.compile(r"_[BIES]$")
"""Kaldi's mark of a phone's place in its word, which is no part of the phone."""

ROUNDING_SECONDS = 0.0101
"""Segments may overlap by so much: files give times in steps of 10 ms or in few decimals."""


@dataclass(frozen=True)
class Lines:
    """The alignments in a file by the names of utterances there, and the lines that cannot be used."""

    alignments: Mapping[str, Alignment]
    unreadable: tuple[Skipped, ...] = ()


def sniff(path: Path) -> str:
    """The kind of alignments in a file, by its first lines.

    Raises
    ------
    IntrospectError
        It cannot be read, or is of no kind that we know.
    """
    with reading(path) as file:
        first = next((line for line in file if line.strip() and not line.startswith(";;")), "")
    if first.lstrip().startswith("{"):
        return "JSON"
    if CONDENSED.fullmatch(first.rstrip("\n")):
        return "condensed text"
    if "ooTextFile" in first:
        return "TextGrid"
    if _is_ctm(first.split()):
        return "CTM"
    raise IntrospectError(
        f"{path} is no phone alignment: neither a TextGrid, nor CTM (utterance channel start duration "
        "symbol), nor JSON as align writes it, nor LibriSpeech-Alignments' condensed text"
    )


def read_ctm(path: Path, wanted: set[str], vocabulary: set[str]) -> Lines:
    """The words or the phones of the wanted utterances; which of the two, :func:`holds_phones` says.

    Marks of a phone's place in its word (``AH0_B``) are left out, and so are silences and comments (``;;``).

    Raises
    ------
    IntrospectError
        The file cannot be read or is no CTM, or it cannot be told whether it holds words or phones.
    """
    segments: dict[str, list[Segment]] = {}
    with reading(path) as file:
        for number, line in enumerate(file, 1):
            fields = line.split()
            if not fields or line.startswith(";;"):
                continue
            if not _is_ctm(fields):
                raise IntrospectError(
                    f"{path}, line {number}: not utterance, channel, start, duration, symbol"
                )
            if fields[0] in wanted:
                start = float(fields[2])
                # The sum of two decimal numbers is meant to be one.
                end = round(start + float(fields[3]), 6)
                segments.setdefault(fields[0], []).append(Segment(POSITION.sub("", fields[4]), start, end))
    if not segments:
        return Lines({})
    symbols = {each.symbol for spoken in segments.values() for each in spoken}
    phones = holds_phones(path, symbols, vocabulary)
    return _usable(
        (name, () if phones else spoken, spoken if phones else ()) for name, spoken in segments.items()
    )


def _is_ctm(fields: Sequence[str]) -> bool:
    try:
        return len(fields) >= 5 and all(math.isfinite(float(field)) for field in fields[2:4])
    except ValueError:
        return False


def holds_phones(path: Path, symbols: Iterable[str], vocabulary: set[str]) -> bool:
    """Whether a CTM holds phones rather than words: by its name, else by its symbols.

    Raises
    ------
    IntrospectError
        Its name does not say, and its symbols are neither English phones nor words of the corpus.
    """
    name = path.name.lower()
    if any(part in name for part in ("phone", "phn")):
        return True
    if any(part in name for part in ("word", "wrd")):
        return False
    spoken = {symbol for symbol in symbols if symbol.lower() not in SILENCES}
    if sum(without_stress(symbol) in PHONES for symbol in spoken) > 0.9 * len(spoken):
        return True
    if sum(symbol.upper() in vocabulary for symbol in spoken) > 0.5 * len(spoken):
        return False
    raise IntrospectError(
        f"cannot tell whether {path} holds words or phones; call it NAME.words.ctm or NAME.phones.ctm"
    )


def read_condensed(path: Path, wanted: set[str]) -> Lines:
    """The words of the wanted utterances in LibriSpeech-Alignments' condensed text; it has no phones.

    A line is ``NAME ",WORD,,WORD," "0.49,0.89,..."``: words and the time at which each ends; an empty word is
    a silence.

    Raises
    ------
    IntrospectError
        The file cannot be read, or a line is not of that form; the message names the line.
    """
    spoken: dict[str, list[Segment]] = {}
    with reading(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            match = CONDENSED.fullmatch(line.rstrip("\n"))
            words = match[2].split(",") if match else []
            try:
                ends = [float(end) for end in match[3].split(",")] if match else []
            except ValueError:
                ends = []
            if not match or len(words) != len(ends):
                raise IntrospectError(f'{path}, line {number}: not NAME ",WORD,...," "END,..."')
            if match[1] in wanted:
                spoken[match[1]] = [
                    Segment(word, start, end)
                    for word, start, end in zip(words, [0.0, *ends], ends, strict=False)
                ]
    return _usable((name, words, ()) for name, words in spoken.items())


def read_json_alignments(path: Path, wanted: set[str]) -> Lines:
    """The wanted utterances of JSON lines as ``align`` writes them, or of one file of the Montreal Aligner.

    Raises
    ------
    IntrospectError
        The file cannot be read or is neither; the message names the line.
    """
    found: list[tuple[str, Sequence[Segment], Sequence[Segment]]] = []
    with reading(path) as file:
        content = file.read()
    for number, entry in _json_values(path, content):
        try:
            if "tiers" in entry:
                if path.stem in wanted:
                    found.append((path.stem, *_tiers(entry["tiers"])))
            elif str(entry["utterance"]) in wanted:
                found.append(_line(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            where = f"{path}, line {number}" if number else str(path)
            raise IntrospectError(f"{where}: not an alignment ({error!r})") from error
    return _usable(found)


def _json_values(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    """Each JSON value and its line, counted from 1; (0, value) where the file is one value."""
    try:
        yield 0, json.loads(content)
        return
    except RecursionError as error:
        raise IntrospectError(f"{path} is not JSON") from error
    except ValueError:
        pass
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise IntrospectError(f"{path}, line {number}: not JSON") from error


def _line(entry: Mapping[str, Any]) -> tuple[str, list[Segment], list[Segment]]:
    """A line of ``align``: with ``letters`` in place of phones it has words only."""
    words = [Segment(str(word["word"]), float(word["start"]), float(word["end"])) for word in entry["words"]]
    phones = [
        Segment(str(phone["symbol"]), float(phone["start"]), float(phone["end"]))
        for phone in entry.get("phones", ())
    ]
    return str(entry["utterance"]), words, phones


def _tiers(tiers: Mapping[str, Any]) -> tuple[list[Segment], list[Segment]]:
    words, phones = (
        [Segment(str(label), float(start), float(end)) for start, end, label in tiers[name]["entries"]]
        for name in (tier_name(tiers, kind) for kind in ("words", "phones"))
    )
    return words, phones


def _usable(spoken: Iterable[tuple[str, Sequence[Segment], Sequence[Segment]]]) -> Lines:
    """The alignments whose segments stand in order, silences left out, words in upper case."""
    found: dict[str, Alignment] = {}
    unreadable: list[Skipped] = []
    for name, words, phones in spoken:
        try:
            upper = [Segment(word.symbol.upper(), word.start, word.end) for word in _in_order(words)]
            found[name] = Alignment(tuple(upper), tuple(_in_order(phones)))
        except ValueError as error:
            unreadable.append(Skipped(name, f"its alignment cannot be used: {error}"))
    return Lines(found, tuple(unreadable))


def _in_order(segments: Sequence[Segment]) -> list[Segment]:
    kept: list[Segment] = []
    for each in sorted(segments, key=lambda segment: segment.start):
        symbol = each.symbol.strip()
        if symbol.lower() in SILENCES:
            continue
        start = each.start
        if kept and start < kept[-1].end <= start + ROUNDING_SECONDS:
            start = kept[-1].end
        if not (0 <= start < each.end < math.inf):
            raise ValueError(f"{symbol} from {each.start} to {each.end} s")
        if kept and start < kept[-1].end:
            raise ValueError(f"{kept[-1].symbol} and {symbol} overlap at {each.start} s")
        kept.append(Segment(symbol, start, each.end))
    return kept
