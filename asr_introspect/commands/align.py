"""``asr-introspect align``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Checkpoint, Common, CorpusPath, Device, MaxUtterances
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.errors import UsageError
from asr_introspect.experiments.align import align as align_corpus
from asr_introspect.experiments.align import align_phones
from asr_introspect.progress import say


def align(
    *,
    corpus: CorpusPath,
    out: Annotated[Path, Parameter(help="The file to write: JSON lines, one per utterance.")],
    checkpoint: Checkpoint = None,
    textgrids: Annotated[
        Path | None,
        Parameter(help="Also write a Praat TextGrid of words and letters per utterance to this folder."),
    ] = None,
    phones: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Words and phones of English speech by PocketSphinx instead (extra phones; no checkpoint): "
            "what train --times and, as TextGrids, introspect --alignments take.",
        ),
    ] = False,
    lexicon: Annotated[
        Path | None,
        Parameter(
            help="With --phones: pronunciations of rare words, lines of a word and its ARPAbet phones."
        ),
    ] = None,
    device: Device = "auto",
    max_utterances: MaxUtterances = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Find when each letter and word of the transcripts is spoken (CTC forced alignment).

    Each line of OUT is {"utterance", "duration", "words": [{"word", "start", "end"}], "letters": [{"symbol",
    "start", "end", "score"}]}, times in seconds. A letter spans the steps of 20 ms that carry it, score is
    the mean posterior over them; blanks and spaces belong to no letter. The recogniser places letters where
    it is sure of them, which need not be where they sound: see the offsets that introspect reports.
    Utterances above 60 s and those with more letters than steps are skipped and named.

    Example: asr-introspect align --corpus LibriSpeech/dev-clean --out aligned.jsonl --textgrids aligned
    """
    if phones:
        _refuse(checkpoint, "--checkpoint", "--phones does not use one")
        spoken = align_phones(
            corpus, lexicon=lexicon, max_utterances=max_utterances, out=out, textgrids=textgrids
        )
        say_skipped(spoken.skipped)
        say(f"{len(spoken.alignments):,} utterances aligned, {len(spoken.skipped):,} skipped")
        print(out)
        return
    _refuse(lexicon, "--lexicon", "it belongs to --phones")
    found = align_corpus(
        corpus, checkpoint, device=device, max_utterances=max_utterances, out=out, textgrids=textgrids
    )
    say_skipped(found.skipped)
    say(f"{len(found.utterances):,} utterances aligned, {len(found.skipped):,} skipped")
    print(out)


def _refuse(value: object, flag: str, reason: str) -> None:
    if value is not None:
        raise UsageError(f"{flag} cannot be used here: {reason}")
