"""A speech-recognition introspection suite: look inside convolutional recognisers.

``load_model(path)`` and ``read_corpus(path)`` give what everything else takes; ``bundled("reference")`` and
``bundled("demo")`` are the recogniser and the speech that come with the package. Each command of the command
line is a function here. Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_introspect.corpus.reading import prepare, read_corpus
    from asr_introspect.experiments.train import train
    from asr_introspect.recogniser.checkpoint import load_model
    from asr_introspect.resources import bundled

__all__ = ["bundled", "load_model", "prepare", "read_corpus", "train"]

_HOMES = {
    "bundled": "resources",
    "load_model": "recogniser.checkpoint",
    "prepare": "corpus.reading",
    "read_corpus": "corpus.reading",
    "train": "experiments.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
