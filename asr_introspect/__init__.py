"""A speech-recognition introspection suite: look inside convolutional recognisers.

``load_model(path)`` and ``read_corpus(path)`` give what everything else takes; ``bundled("reference")`` and
``bundled("demo")`` are the recogniser and the speech that come with the package. Each command of the command
line is a function here. The steps of the main job are functions on arrays with named axes: ``forward``,
``emitted``, ``offsets``, ``windows``, ``profiles``, ``distances``, ``cluster`` and their neighbours;
``read_profiles(run)`` and the other ``read_`` functions give what a run folder holds. Nothing is imported
before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_introspect.attribution.attribute import attribute
    from asr_introspect.corpus.alignment_files import read_alignments
    from asr_introspect.corpus.reading import prepare, read_corpus
    from asr_introspect.experiments.align import align
    from asr_introspect.experiments.attribute_corpus import attribute_corpus
    from asr_introspect.experiments.demo import demo
    from asr_introspect.experiments.evaluate import evaluate
    from asr_introspect.experiments.evaluate_phonemes import evaluate_phonemes
    from asr_introspect.experiments.introspect import introspect
    from asr_introspect.experiments.merge import merge
    from asr_introspect.experiments.report import report
    from asr_introspect.experiments.train import train
    from asr_introspect.experiments.transcribe import transcribe
    from asr_introspect.introspection.array_instances import as_instances, emitted, middles_of_sounds, spoken
    from asr_introspect.introspection.arrays import (
        as_activations,
        cluster,
        compare_offsets,
        distances,
        forward,
        offsets,
        profiles,
        subtract_average,
        windows,
    )
    from asr_introspect.introspection.clusters import class_evidence
    from asr_introspect.introspection.lags import lag
    from asr_introspect.introspection.profiles import time_independent
    from asr_introspect.introspection.runs import (
        kinds_of_profiles,
        read_clusters,
        read_instances,
        read_lags,
        read_offset_table,
        read_offsets,
        read_patterns,
        read_profiles,
    )
    from asr_introspect.recogniser.checkpoint import load_model
    from asr_introspect.resources import bundled

__all__ = [
    "align",
    "as_activations",
    "as_instances",
    "attribute",
    "attribute_corpus",
    "bundled",
    "class_evidence",
    "cluster",
    "compare_offsets",
    "demo",
    "distances",
    "emitted",
    "evaluate",
    "evaluate_phonemes",
    "forward",
    "introspect",
    "kinds_of_profiles",
    "lag",
    "load_model",
    "merge",
    "middles_of_sounds",
    "offsets",
    "prepare",
    "profiles",
    "read_alignments",
    "read_clusters",
    "read_corpus",
    "read_instances",
    "read_lags",
    "read_offset_table",
    "read_offsets",
    "read_patterns",
    "read_profiles",
    "report",
    "spoken",
    "subtract_average",
    "time_independent",
    "train",
    "transcribe",
    "windows",
]

_HOMES = {
    "align": "experiments.align",
    "as_activations": "introspection.arrays",
    "as_instances": "introspection.array_instances",
    "attribute": "attribution.attribute",
    "attribute_corpus": "experiments.attribute_corpus",
    "bundled": "resources",
    "class_evidence": "introspection.clusters",
    "cluster": "introspection.arrays",
    "compare_offsets": "introspection.arrays",
    "demo": "experiments.demo",
    "distances": "introspection.arrays",
    "emitted": "introspection.array_instances",
    "evaluate": "experiments.evaluate",
    "evaluate_phonemes": "experiments.evaluate_phonemes",
    "forward": "introspection.arrays",
    "introspect": "experiments.introspect",
    "kinds_of_profiles": "introspection.runs",
    "lag": "introspection.lags",
    "load_model": "recogniser.checkpoint",
    "merge": "experiments.merge",
    "middles_of_sounds": "introspection.array_instances",
    "offsets": "introspection.arrays",
    "prepare": "corpus.reading",
    "profiles": "introspection.arrays",
    "read_alignments": "corpus.alignment_files",
    "read_clusters": "introspection.runs",
    "read_corpus": "corpus.reading",
    "read_instances": "introspection.runs",
    "read_lags": "introspection.runs",
    "read_offset_table": "introspection.runs",
    "read_offsets": "introspection.runs",
    "read_patterns": "introspection.runs",
    "read_profiles": "introspection.runs",
    "report": "experiments.report",
    "spoken": "introspection.array_instances",
    "subtract_average": "introspection.arrays",
    "time_independent": "introspection.profiles",
    "train": "experiments.train",
    "transcribe": "experiments.transcribe",
    "windows": "introspection.arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
