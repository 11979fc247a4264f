"""What commands share: the options of every command, and the types of those that many have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

_EVERY = Group("Of every command", sort_key=90)


@Parameter(name="*", group=_EVERY)
@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every command; the shell acts on them (see :mod:`asr_introspect.commands.shell`)."""

    config: Annotated[
        Path | None,
        Parameter(
            help="YAML file whose keys are the flags of this command without the dashes; a flag on the "
            "command line wins over the file, the file over the defaults."
        ),
    ] = None
    quiet: Annotated[bool, Parameter(negative=(), help="No progress bars and no messages.")] = False
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False


CORPUS_HELP = (
    "Speech: a folder in LibriSpeech's layout (FLAC, WAV, MP3, Ogg or Opus, and *.trans.txt), a "
    "tab-separated table whose header line has path, text and optionally speaker, or a manifest "
    "written by prepare."
)
CorpusPath = Annotated[Path, Parameter(help=CORPUS_HELP)]
Checkpoint = Annotated[
    Path | None,
    Parameter(help="The recogniser (safetensors); the bundled reference recogniser if not given."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Parameter(help="Where to compute; auto takes a GPU where there is one."),
]
Seed = Annotated[int, Parameter(help="Seed of everything that is drawn at random: same seed, same numbers.")]
DecoderName = Annotated[
    Literal["greedy", "beam"],
    Parameter(
        help="greedy: in each step of 20 ms the likeliest symbol, repeats merged, blanks dropped. beam: the "
        "likeliest text over all paths, with --language-model if given (needs the extra beam: pip install "
        "'asr-introspect[beam]'). For reading only: what is looked into never passes a language model."
    ),
]
LanguageModel = Annotated[
    Path | None,
    Parameter(
        help="For --decoder beam: an n-gram model of letters, an ARPA file whose words are single letters "
        "and | for the space, as recipes/librispeech/language_model.py estimates it from transcripts."
    ),
]
MaxUtterances = Annotated[
    int | None, Parameter(help="Stop reading the corpus after so many usable utterances.")
]
Overwrite = Annotated[
    bool,
    Parameter(negative=(), help="Replace what an earlier run with other settings left in the folder."),
]
