"""Transcribes sound files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_introspect.corpus.audio import AudioError, probe
from asr_introspect.corpus.entries import Notes
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.experiments.inputs import as_recogniser
from asr_introspect.files import write_text
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import greedy_batch, text
from asr_introspect.recogniser.passes import forward_pass


@dataclass(frozen=True, slots=True)
class Transcription:
    """What a recogniser heard in a file."""

    path: Path
    text: str

    def line(self) -> str:
        """``path<TAB>text``."""
        return f"{self.path}\t{self.text}"


def transcribe(
    files: Sequence[Path | str],
    checkpoint: Path | str | Recogniser | None = None,
    *,
    device: str = "auto",
    out: Path | str | None = None,
    skipped: list[Skipped] | None = None,
) -> list[Transcription]:
    """The greedy transcription of each file, in the order given.

    Parameters
    ----------
    files
        Sound files of any length; those above 60 s go through the network in overlapping pieces.
    checkpoint
        The bundled reference if not given.
    out
        Where to write the lines ``path<TAB>text``.
    skipped
        Takes the files that cannot be used; without it the first of them is an error.

    Raises
    ------
    IntrospectError
        A file cannot be used, the checkpoint cannot be used, or ``out`` cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    utterances, notes = [], Notes()
    for path in files:
        try:
            header = probe(path)
        except AudioError as error:
            if skipped is None:
                raise
            skipped.append(Skipped(str(path), error.reason))
            continue
        notes.header(header)
        utterances.append(Utterance(str(path), Path(path), "", "", "", header.duration))
    notes.say()
    heard: dict[int, str] = {}
    for forward in forward_pass(recogniser, utterances, skipped=skipped, what="transcribe"):
        decoded = greedy_batch(forward.logits, forward.lengths, recogniser.symbols.blank)
        for position, classes in zip(forward.positions, decoded, strict=True):
            heard[position] = text(classes, recogniser.symbols)
    found = [Transcription(utterances[position].audio, heard[position]) for position in sorted(heard)]
    if out is not None:
        write_text(out, "".join(f"{each.line()}\n" for each in found))
    return found
