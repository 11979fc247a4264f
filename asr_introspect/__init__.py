"""A speech-recognition introspection suite: look inside convolutional recognisers.

``load_model(path)`` and ``read_corpus(path)`` give what everything else takes; ``bundled("reference")`` and
``bundled("demo")`` are the recogniser and the speech that come with the package. Each command of the command
line is a function here. Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_introspect.corpus.reading import prepare, read_corpus
    from asr_introspect.experiments.align import align
    from asr_introspect.experiments.attribute_corpus import attribute_corpus
    from asr_introspect.experiments.demo import demo
    from asr_introspect.experiments.evaluate import evaluate
    from asr_introspect.experiments.introspect import introspect
    from asr_introspect.experiments.merge import merge
    from asr_introspect.experiments.report import report
    from asr_introspect.experiments.train import train
    from asr_introspect.experiments.transcribe import transcribe
    from asr_introspect.recogniser.checkpoint import load_model
    from asr_introspect.resources import bundled

__all__ = [
    "align",
    "attribute_corpus",
    "bundled",
    "demo",
    "evaluate",
    "introspect",
    "load_model",
    "merge",
    "prepare",
    "read_corpus",
    "report",
    "train",
    "transcribe",
]

_HOMES = {
    "align": "experiments.align",
    "attribute_corpus": "experiments.attribute_corpus",
    "bundled": "resources",
    "demo": "experiments.demo",
    "evaluate": "experiments.evaluate",
    "introspect": "experiments.introspect",
    "load_model": "recogniser.checkpoint",
    "merge": "experiments.merge",
    "prepare": "corpus.reading",
    "read_corpus": "corpus.reading",
    "report": "experiments.report",
    "train": "experiments.train",
    "transcribe": "experiments.transcribe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
