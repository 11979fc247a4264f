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
from asr_introspect.recogniser.beam import BeamConfig, choose_decoder
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.decoding import text
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
    decoder: str = "greedy",
    language_model: Path | str | None = None,
    beam: BeamConfig = BeamConfig(),  # noqa: B008 - frozen
    device: str = "auto",
    out: Path | str | None = None,
    skipped: list[Skipped] | None = None,
) -> list[Transcription]:
    """The transcription of each file, in the order given.

    Parameters
    ----------
    files
        Sound files of any length; those above 60 s go through the network in overlapping pieces.
    checkpoint
        The bundled reference if not given.
    decoder, language_model, beam
        See :func:`~asr_introspect.recogniser.beam.choose_decoder`.
    out
        Where to write the lines ``path<TAB>text``.
    skipped
        Takes the files that cannot be used; without it the first of them is an error.

    Raises
    ------
    IntrospectError
        A file, the checkpoint or the language model cannot be used, or ``out`` cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    decode = choose_decoder(recogniser.symbols, decoder, language_model, beam)
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
        for position, logits in zip(forward.positions, forward.valid_logits(), strict=True):
            heard[position] = text(decode(logits), recogniser.symbols)
    found = [Transcription(utterances[position].audio, heard[position]) for position in sorted(heard)]
    if out is not None:
        write_text(out, "".join(f"{each.line()}\n" for each in found))
    return found
