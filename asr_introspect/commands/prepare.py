"""``asr-introspect prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import Common, CorpusPath, MaxUtterances
from asr_introspect.corpus.reading import prepare as prepare_corpus
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.progress import say


def prepare(
    corpus: CorpusPath,
    *,
    out: Annotated[Path, Parameter(help="The manifest to write (JSON lines).")],
    max_utterances: MaxUtterances = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Check a corpus once, all of its sound included, and write a manifest that later commands read fast.

    What cannot be used is skipped, counted and named: sound that is unreadable, empty, truncated, not
    finite or shorter than 20 ms; missing transcripts; digits and unknown symbols in transcripts; transcripts
    too long for their audio. All of it is listed in OUT.skipped.csv. Other sample rates are resampled to
    16 kHz, several channels mixed down, lower case and accents folded.

    Example: asr-introspect prepare LibriSpeech/dev-clean --out dev-clean.jsonl
    """
    found = prepare_corpus(corpus, out, max_utterances)
    say_skipped(found.skipped)
    speakers = {utterance.speaker for utterance in found.utterances if utterance.speaker}
    say(
        f"{len(found.utterances):,} utterances, {found.seconds / 3600:.2f} h, {len(speakers):,} speakers, "
        f"{len(found.skipped):,} skipped"
    )
    print(out)
