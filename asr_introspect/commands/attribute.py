"""``asr-introspect attribute``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from asr_introspect.commands.common import (
    Checkpoint,
    Common,
    CorpusPath,
    Device,
    MaxUtterances,
    Overwrite,
)
from asr_introspect.corpus.skipped import say_skipped
from asr_introspect.experiments.attribute_corpus import attribute_corpus
from asr_introspect.progress import say


def attribute(
    *,
    corpus: CorpusPath,
    out: Annotated[Path, Parameter(help="The HDF5 file to write.")],
    checkpoint: Checkpoint = None,
    method: Annotated[
        str,
        Parameter(
            help="lrp, gradient, gradient-x-input, integrated-gradients, smoothgrad, guided-backprop, "
            "deconvnet, grad-cam, guided-grad-cam, occlusion or deep-taylor."
        ),
    ] = "lrp",
    composite: Annotated[
        str,
        Parameter(
            help="The rules of LRP: epsilon, epsilon-relative, epsilon-plus, epsilon-gamma, "
            "epsilon-alpha2-beta1, each but the first two also with -flat or -box."
        ),
    ] = "epsilon-relative",
    against: Annotated[
        str,
        Parameter(
            help="What a letter is explained against: the mean of the other symbols, runner-up, blank, none "
            "(the raw logit, which is defined up to a constant per step only), or a symbol."
        ),
    ] = "mean",
    sentence: Annotated[
        bool, Parameter(negative=(), help="Also keep, per utterance, the sum of all letters' maps.")
    ] = False,
    float16: Annotated[
        bool,
        Parameter(negative=(), help="Windows in half precision, each relative to its largest value."),
    ] = False,
    device: Device = "auto",
    max_utterances: MaxUtterances = None,
    overwrite: Overwrite = False,
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Explain every emitted letter of a corpus: which part of the spectrogram speaks for it.

    Every letter that the recogniser emits (a run of one best symbol, placed at its likeliest step) gets a
    window of relevance over all frames that it depends on. Written to one HDF5 file: windows, starts,
    scores, leak, ledger, utterance, step, symbol.

    Stopped by Ctrl-C or a kill, the same command goes on where it was and ends with the same file.

    Example: asr-introspect attribute --corpus LibriSpeech/test-clean --out letters.h5
    """
    found = attribute_corpus(
        corpus,
        checkpoint,
        out,
        method=method,
        composite=composite,
        against=against,
        sentence=sentence,
        half=float16,
        device=device,
        max_utterances=max_utterances,
        overwrite=overwrite,
    )
    say_skipped(found.skipped)
    say(f"{found.letters:,} letters of {found.utterances:,} utterances; {len(found.skipped):,} skipped")
    print(found.path)
