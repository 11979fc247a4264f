"""``asr-introspect prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import CORPUS_HELP, Common, MaxUtterances
from asr_introspect.corpus.download import download as download_subset
from asr_introspect.corpus.reading import prepare as prepare_corpus
from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.errors import UsageError
from asr_introspect.progress import say


def prepare(
    corpus: Annotated[Path | None, Parameter(help=CORPUS_HELP)] = None,
    *,
    out: Annotated[Path, Parameter(help="The manifest to write (JSON lines).")],
    download: Annotated[
        list[str] | None,
        Parameter(
            help="In place of a corpus: fetch these subsets of LibriSpeech from openslr.org (dev-clean, "
            "dev-other, test-clean, test-other: 0.3 GB each; train-clean-100 6 GB, train-clean-360 23 GB, "
            "train-other-500 30 GB), check and unpack them. Stopped at any point, the same command goes on.",
            consume_multiple=True,
            negative=(),
        ),
    ] = None,
    download_to: Annotated[
        Path | None, Parameter(help="Where LibriSpeech/SUBSET shall lie; the manifest's folder if not given.")
    ] = None,
    max_utterances: MaxUtterances = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Check a corpus once, all of its sound included, and write a manifest that later commands read fast.

    What cannot be used is skipped, counted and named: sound that is unreadable, empty, truncated, not
    finite or shorter than 20 ms; missing transcripts; digits and unknown symbols in transcripts; transcripts
    too long for their audio. All of it is listed in OUT.skipped.csv. Other sample rates are resampled to
    16 kHz, several channels mixed down, lower case and accents folded.

    Examples: asr-introspect prepare LibriSpeech/test-clean --out test-clean.jsonl

    asr-introspect prepare --download test-clean --out speech/test-clean.jsonl
    """
    if (corpus is None) == (not download):
        raise UsageError("prepare needs either a corpus or --download with a subset of LibriSpeech")
    if download_to is not None and not download:
        raise UsageError("--download-to says where --download puts its subsets; there is none")
    speech: Path | Corpus | None = corpus
    if download:
        folder = out.parent if download_to is None else download_to
        parts = [read_corpus(download_subset(subset, folder)) for subset in download]
        speech = Corpus(
            tuple(utterance for part in parts for utterance in part.utterances),
            tuple(item for part in parts for item in part.skipped),
        )
    assert speech is not None
    found = prepare_corpus(speech, out, max_utterances)
    say_skipped(found.skipped)
    speakers = {utterance.speaker for utterance in found.utterances if utterance.speaker}
    say(
        f"{len(found.utterances):,} utterances, {found.seconds / 3600:.2f} h, {len(speakers):,} speakers, "
        f"{len(found.skipped):,} skipped"
    )
    print(out)
