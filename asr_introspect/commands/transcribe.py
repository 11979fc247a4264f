"""``asr-introspect transcribe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Checkpoint, Common, DecoderName, Device, LanguageModel
from asr_introspect.corpus.records import Skipped
from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments.transcribe import transcribe as transcribe_files
from asr_introspect.recogniser.beam import BeamConfig


def transcribe(
    files: Annotated[list[Path], Parameter(help="Sound files: FLAC, WAV, MP3, Ogg or Opus, of any length.")],
    /,
    *,
    checkpoint: Checkpoint = None,
    decoder: DecoderName = "greedy",
    language_model: LanguageModel = None,
    beam: BeamConfig = BeamConfig(),  # noqa: B008 - frozen
    device: Device = "auto",
    out: Annotated[Path | None, Parameter(help="Write the lines to this file, too.")] = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Write down what is said in sound files, one line per file: path, tab, text.

    A file that cannot be read is named at the end, the others are transcribed all the same, and the exit
    code is 1.

    Example: asr-introspect transcribe talk.wav interview.mp3
    """
    if not files:
        raise UsageError("no sound file given (see asr-introspect transcribe --help)")
    skipped: list[Skipped] = []
    heard = transcribe_files(
        files,
        checkpoint,
        decoder=decoder,
        language_model=language_model,
        beam=beam,
        device=device,
        out=out,
        skipped=skipped,
    )
    for transcription in heard:
        print(transcription.line())
    if skipped:
        named = "; ".join(f"{item.item}: {item.reason}" for item in skipped)
        raise IntrospectError(f"not transcribed: {named}")
