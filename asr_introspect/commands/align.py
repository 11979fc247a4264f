"""``asr-introspect align``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from asr_introspect.commands.common import Checkpoint, Common, CorpusPath, Device, MaxUtterances
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.errors import UsageError
from asr_introspect.experiments.align import align as align_corpus
from asr_introspect.experiments.align_phones import align_phones, align_pronounced
from asr_introspect.experiments.inputs import as_recogniser
from asr_introspect.progress import say


def align(
    *,
    corpus: CorpusPath,
    out: Annotated[Path, Parameter(help="The file to write: JSON lines, one per utterance.")],
    checkpoint: Checkpoint = None,
    textgrids: Annotated[
        Path | None,
        Parameter(
            help="Also write a Praat TextGrid of words and letters (or phones) per utterance to this folder."
        ),
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
            help="Pronunciations, lines of a word and its phones. With --phones: of rare words, in ARPAbet. "
            "With the checkpoint of a phoneme net: of all words of the transcripts, in its symbols; one of "
            "ARPAbet finds those of English words that are not in the lexicon itself (extra phones)."
        ),
    ] = None,
    spans: Annotated[
        Literal["midpoints", "likelihood", "spikes"] | None,
        Parameter(
            help="With a phoneme net, which emits a phone in one or two steps: how the steps between two "
            "phones are shared. midpoints: they meet in the middle; likelihood: where the posteriors of both "
            "say; spikes: not at all. midpoints if not given."
        ),
    ] = None,
    device: Device = "auto",
    max_utterances: MaxUtterances = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Find when each letter, or phone, and word of the transcripts is spoken (CTC forced alignment).

    Each line of OUT is {"utterance", "duration", "words": [{"word", "start", "end"}], "letters": [{"symbol",
    "start", "end", "score"}]}, times in seconds. A letter spans the steps of 20 ms that carry it, score is
    the mean posterior over them; blanks and spaces belong to no letter. The recogniser places letters where
    it is sure of them, which need not be where they sound: see the offsets that introspect reports.
    Utterances above 60 s and those with more letters than steps are skipped and named.

    With the checkpoint of a phoneme net, or with --phones, OUT has "phones" in place of "letters"; train
    --times and introspect --alignments read it. Of several pronunciations of a word the likeliest is taken.

    Example: asr-introspect align --corpus LibriSpeech/test-clean --out aligned.jsonl --textgrids aligned

    Example: asr-introspect align --corpus SPEECH --checkpoint PHONEME_NET --lexicon WORDS.txt --out p.jsonl
    """
    if phones:
        _refuse(checkpoint, "--checkpoint", "--phones does not use one")
        _refuse(spans, "--spans", "it belongs to the checkpoint of a phoneme net")
        spoken = align_phones(
            corpus, lexicon=lexicon, max_utterances=max_utterances, out=out, textgrids=textgrids
        )
        say_skipped(spoken.skipped)
        say(f"{len(spoken.alignments):,} utterances aligned, {len(spoken.skipped):,} skipped")
        print(out)
        return
    recogniser = as_recogniser(checkpoint, device)
    if lexicon is not None or not recogniser.symbols.spells_text:
        pronounced = align_pronounced(
            corpus,
            recogniser,
            lexicon,
            fill=spans or "midpoints",
            max_utterances=max_utterances,
            out=out,
            textgrids=textgrids,
        )
        say_skipped(pronounced.skipped)
        say(
            f"{len(pronounced.alignments):,} utterances aligned, {len(pronounced.skipped):,} skipped; "
            f"{pronounced.several:,} spoken words have several pronunciations, {pronounced.other:,} of them "
            "another than their first"
        )
        print(out)
        return
    _refuse(spans, "--spans", "it belongs to the checkpoint of a phoneme net")
    found = align_corpus(corpus, recogniser, max_utterances=max_utterances, out=out, textgrids=textgrids)
    say_skipped(found.skipped)
    say(f"{len(found.utterances):,} utterances aligned, {len(found.skipped):,} skipped")
    print(out)


def _refuse(value: object, flag: str, reason: str) -> None:
    if value is not None:
        raise UsageError(f"{flag} cannot be used here: {reason}")
