"""What every analysis starts from: a recogniser and a corpus, given by path or as they are."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from asr_introspect.corpus.reading import read_corpus
from asr_introspect.corpus.records import Corpus
from asr_introspect.files import sha256
from asr_introspect.recogniser.checkpoint import Recogniser, load_model
from asr_introspect.recogniser.passes import find_device
from asr_introspect.resources import checkpoint_or_reference

BUNDLED = "bundled reference"


def as_recogniser(checkpoint: Path | str | Recogniser | None, device: str = "auto") -> Recogniser:
    """The recogniser of a checkpoint on a device; the bundled reference, said, where none is given.

    A recogniser that is given as such stays where it is.

    Raises
    ------
    IntrospectError
        The checkpoint cannot be used, or ``cuda`` is asked for where there is none.
    """
    if isinstance(checkpoint, Recogniser):
        return checkpoint
    place = find_device(device)
    return load_model(checkpoint_or_reference(checkpoint), place)


def as_corpus(corpus: Path | str | Corpus, max_utterances: int | None = None) -> Corpus:
    """The corpus at a path, or the one given; its first ``max_utterances``."""
    if not isinstance(corpus, Corpus):
        return read_corpus(corpus, max_utterances)
    return dataclasses.replace(corpus, utterances=corpus.utterances[:max_utterances])


def checkpoint_name(checkpoint: Path | str | Recogniser | None) -> str:
    """How results name the checkpoint they come from."""
    if checkpoint is None:
        return BUNDLED
    return "" if isinstance(checkpoint, Recogniser) else str(checkpoint)


def model_hash(recogniser: Recogniser, path: Path | None) -> str:
    """The checkpoint's SHA-256; of a recogniser without a file that of its weights."""
    if path is not None:
        return sha256(path)
    digest = hashlib.sha256()
    for name, tensor in sorted(recogniser.network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
