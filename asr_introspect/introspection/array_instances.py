"""Instances as tables along one axis: what a recogniser emits, what was spoken, or your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray

from asr_introspect.corpus.alignments import Alignment, without_stress
from asr_introspect.corpus.records import Corpus, Utterance
from asr_introspect.introspection.arrays import utterances_of
from asr_introspect.introspection.instances import nearest, runs_of
from asr_introspect.introspection.sounds import letter_sounds
from asr_introspect.recogniser.scoring import edit_alignment
from asr_introspect.recogniser.symbols import PHONEMES


def as_instances(
    utterance: Sequence[Any] | np.ndarray,
    step: Sequence[int] | np.ndarray,
    label: Sequence[str] | np.ndarray,
    **more: Any,
) -> xarray.Dataset:
    """Your own instances: the utterance's row, the output step and the label of each, ``(N,)``; and columns
    of your own.
    """
    columns = {"utterance": utterance, "step": step, "label": label, **more}
    return xarray.Dataset({name: ("instance", np.asarray(values)) for name, values in columns.items()})


def emitted(logits: xarray.DataArray, blank: int | None = None) -> xarray.Dataset:
    """What a CTC recogniser emits: maximal runs of one best symbol, each at its step of highest posterior.

    Parameters
    ----------
    logits
        ``(utterance, position, channel)``, channels being symbols.
    blank
        The class of the blank; that which the array knows, else 0.

    Returns
    -------
    xarray.Dataset
        ``utterance`` (row), ``step``, ``label`` (symbol), ``score`` (posterior) along instance.
    """
    silent = int(logits.attrs.get("blank", 0) if blank is None else blank)
    symbols = np.array([str(name) for name in logits["channel"].values], object)
    columns: dict[str, list[np.ndarray]] = {"utterance": [], "step": [], "label": [], "score": []}
    for row, values in utterances_of(logits):
        found = runs_of(torch.from_numpy(values.T.copy()), silent)
        columns["utterance"].append(np.full(len(found.step), row))
        columns["step"].append(found.step)
        columns["label"].append(symbols[found.label])
        columns["score"].append(found.score)
    return as_instances(**{name: np.concatenate(parts) for name, parts in columns.items()})


def spoken(logits: xarray.DataArray, alignments: Mapping[str, Alignment]) -> xarray.Dataset:
    """The phones of phone alignments as instances, each at the step nearest its middle.

    Parameters
    ----------
    logits
        The output of :func:`~asr_introspect.introspection.arrays.forward`, for its utterances' names and the
        times of its steps.
    alignments
        By utterance name; utterances without one have no phones.

    Returns
    -------
    xarray.Dataset
        ``utterance`` (row), ``step``, ``label`` (without stress), ``start`` and ``end`` (seconds).
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("utterance", "step", "label", "start", "end")}
    for row, values in utterances_of(logits):
        times = logits["seconds"].values[: len(values)]
        aligned = alignments.get(str(logits["utterance"].values[row]))
        half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.0
        # A phone that begins after the last step has no step.
        phones = [each for each in (aligned.phones if aligned else ()) if each.start < times[-1] + half]
        middles = np.array([(each.start + each.end) / 2 for each in phones])
        columns["utterance"] += [row] * len(phones)
        columns["step"] += nearest(times, middles).tolist()
        columns["label"] += [without_stress(each.symbol) for each in phones]
        columns["start"] += [each.start for each in phones]
        columns["end"] += [each.end for each in phones]
    return as_instances(**columns)


def middles_of_sounds(
    letters: xarray.Dataset, utterances: Corpus | Sequence[Utterance], alignments: Mapping[str, Alignment]
) -> xarray.DataArray:
    """When what each letter spells was spoken: seconds of the middle, along instance.

    NaN for letters that are wrong (by the minimal edit alignment with the transcript), silent, or of words
    that the alignment does not have. The letter's step time minus this is its lag.

    Parameters
    ----------
    letters
        What was emitted.
    utterances
        Those of the activations, in the same order.
    alignments
        Words and phones in time, by utterance name.
    """
    spoken_by = utterances.utterances if isinstance(utterances, Corpus) else tuple(utterances)
    middle = np.full(letters.sizes["instance"], np.nan)
    for row, utterance in enumerate(spoken_by):
        aligned = alignments.get(utterance.name)
        if aligned is None:
            continue
        own = np.flatnonzero(letters["utterance"].values == row)
        emitted_symbols = [str(each) for each in letters["label"].values[own]]
        known = letter_sounds(utterance.text, aligned, PHONEMES).middle
        for i, j in edit_alignment(emitted_symbols, utterance.text):
            if i is not None and j is not None and emitted_symbols[i] == utterance.text[j]:
                middle[own[i]] = known[j]
    return xarray.DataArray(middle, dims="instance", attrs={"unit": "seconds"})
