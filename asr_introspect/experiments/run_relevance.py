"""Relevance of every emitted letter of one utterance, and how near it lies to where the letter was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
from torch import Tensor

from asr_introspect.attribution.attribute import attribute
from asr_introspect.attribution.relevance import Coverage, Ledger, Relevance
from asr_introspect.corpus.audio import SAMPLE_RATE, read_audio
from asr_introspect.corpus.records import Utterance
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.run_tables import chosen
from asr_introspect.files import writing
from asr_introspect.introspection.cones import cones
from asr_introspect.introspection.findings import Finding, nearness_finding
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, LONGEST_SECONDS, Spectrograms, forward_pass

COMPOSITE = "epsilon-relative"
AGAINST = "mean"
NEAR_SECONDS = 0.05
RELEVANCE_UTTERANCES = 12
"""Over so many utterances the share of relevance near a letter is measured, the one shown among them."""


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``relevance.h5`` and the sound of the chosen utterance; returns the share of relevance near
    letters.
    """
    plan, rows, folder = gathered.plan, gathered.rows, gathered.folder
    shown = chosen(rows.utterances)
    short = [i for i, record in enumerate(rows.utterances) if can_be_shown(record)]
    order = sorted(short, key=lambda i: (i != shown, abs(i - shown)))[:RELEVANCE_UTTERANCES]
    near, energy, utterance = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    for number in order:
        instance = np.flatnonzero(rows.letters.utterance == number)
        step, label = rows.letters.step[instance], rows.letters.label[instance]
        if len(step) == 0 and number != shown:
            continue
        place = int(rows.utterances[number]["row"])
        spectrogram = spectrogram_of(plan.recogniser, plan.utterances[place], place, plan.spectrograms)
        found = letter_relevance(plan.recogniser, spectrogram, step, label, rows.found[INPUT][instance])
        near.append(found.near)
        energy.append(found.energy)
        utterance.append(np.full(len(step), number))
        if number == shown:
            write_relevance(
                folder / "relevance.h5",
                found,
                recogniser=plan.recogniser,
                step=step,
                label=label,
                instance=instance,
                utterance=number,
            )
            _write_sound(folder, plan, place, number)
    return [
        nearness_finding(*(np.concatenate(part) for part in (near, energy, utterance)), seed=gathered.seed)
    ]


@dataclass(frozen=True)
class LetterRelevance:
    """Relevance of the letters of one utterance on its spectrogram ``(F, T)``.

    ``cosine`` ``(N,)``: of each letter's map with gradient x input; ``near`` and ``energy`` ``(N,)``: the
    share of
    ``|R|``, and of the size of the input, that lies within 50 ms of where the letter was found, out of all
    that the letter's step sees.
    """

    spectrogram: np.ndarray
    relevance: Relevance
    cosine: np.ndarray
    near: np.ndarray
    energy: np.ndarray


def spectrogram_of(
    recogniser: Recogniser, utterance: Utterance, place: int, spectrograms: Spectrograms | None
) -> Tensor:
    """The normalised spectrogram of one utterance, ``(F, T)``, on the recogniser's device."""
    one = None if spectrograms is None else (lambda _: spectrograms(place))
    (forward,) = forward_pass(recogniser, [utterance], layers=[INPUT], spectrograms=one, what="relevance")
    return forward.activations[INPUT][0]


def letter_relevance(
    recogniser: Recogniser, spectrogram: Tensor, step: np.ndarray, label: np.ndarray, found: np.ndarray
) -> LetterRelevance:
    """The relevance of letters at their steps, composite ``epsilon-relative``, against the mean of the
    others.

    Parameters
    ----------
    spectrogram
        ``(F, T)``.
    step, label, found
        Per letter its step, its class, and the frame it is about, ``(N,)``.
    """
    if len(step) == 0:
        none = spectrogram.new_zeros(0)
        empty = Relevance(
            scores=none,
            windows=spectrogram.new_zeros(0, len(spectrogram), cones(recogniser.network)[INPUT].positions),
            starts=torch.zeros(0, dtype=torch.int64),
            shape=tuple(spectrogram.shape),
            layer=INPUT,
            method="lrp",
            ledger=Ledger(),
            leak=none,
            coverage=Coverage(),
        )
        return LetterRelevance(spectrogram.cpu().numpy(), empty, *(np.zeros(0),) * 3)
    device = spectrogram.device
    targets = torch.from_numpy(np.stack([np.zeros_like(step), step, label], axis=1)).to(device)
    network, inputs = recogniser.network, spectrogram[None]
    relevance = attribute(network, inputs, targets, "lrp", COMPOSITE, against=AGAINST)
    times_input = attribute(network, inputs, targets, "gradient-x-input", against=AGAINST)
    ours, theirs = relevance.windows.flatten(1), times_input.windows.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=1, eps=1e-30)
    sizes = torch.nn.functional.pad(spectrogram.abs().sum(0), (relevance.windows.shape[-1],) * 2)
    frames = torch.arange(relevance.windows.shape[-1], device=device)
    seen = relevance.starts[:, None] + frames
    energy = sizes[seen + relevance.windows.shape[-1]]
    reach = round(NEAR_SECONDS / recogniser.features.frame_seconds)
    near = (seen - torch.from_numpy(found).to(device)[:, None]).abs() <= reach
    return LetterRelevance(
        spectrogram.cpu().numpy(),
        relevance,
        cosine.cpu().numpy(),
        _share(relevance.windows.abs().sum(1), near),
        _share(energy, near),
    )


def _share(amounts: Tensor, where: Tensor) -> np.ndarray:
    """The share of each row's amount that lies where asked; NaN where there is none at all."""
    return ((amounts * where).sum(1) / amounts.sum(1)).cpu().numpy()


def write_relevance(
    path: Path,
    found: LetterRelevance,
    *,
    recogniser: Recogniser,
    step: np.ndarray,
    label: np.ndarray,
    instance: np.ndarray,
    utterance: int,
) -> None:
    """``relevance.h5``: windows and starts per letter, ledger, the spectrogram, and the sum of all maps."""
    relevance = found.relevance
    windows = relevance.windows.cpu().numpy()
    # float16 ends at 65,504 and loses small numbers: each map is stored relative to its largest value.
    largest = np.abs(windows).max((1, 2), initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    packed = {"compression": "gzip", "shuffle": True} if len(step) else {}
    sentence = relevance.dense().sum(0).cpu().numpy() if len(step) else np.zeros_like(found.spectrogram)
    with writing(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("lrp")
        group.create_dataset("windows", data=(windows / scale[:, None, None]).astype(np.float16), **packed)
        group.create_dataset("scale", data=scale.astype(np.float32))
        group.create_dataset("starts", data=relevance.starts.cpu().numpy())
        group.create_dataset("scores", data=relevance.scores.cpu().numpy())
        names = np.array(recogniser.symbols.names(label.tolist()), dtype=object)
        group.create_dataset("symbol", data=names, dtype=h5py.string_dtype())
        group.create_dataset("step", data=step)
        group.create_dataset("instance", data=instance)
        group.create_dataset("leak", data=relevance.leak.cpu().numpy())
        group.create_dataset("cosine", data=found.cosine)
        group.create_dataset("near", data=found.near)
        group.create_dataset("energy", data=found.energy)
        group.create_dataset("spectrogram", data=found.spectrogram.astype(np.float32), **packed)
        group.create_dataset("sentence", data=sentence.astype(np.float32), **packed)
        group.create_dataset("ledger", data=_ledger(relevance))
        group.attrs.update(
            {
                "composite": COMPOSITE,
                "against": AGAINST,
                "cosine_to_gradient_x_input": float(np.mean(found.cosine)) if len(step) else float("nan"),
                "leak": float(relevance.leak.mean()) if len(step) else float("nan"),
                "utterance": utterance,
                "anchor": cones(recogniser.network)[INPUT].anchor,
                "frame_seconds": recogniser.features.frame_seconds,
            }
        )


def _ledger(relevance: Relevance) -> np.ndarray:
    """Per layer the mean over letters of relevance in, out, lost to biases and to stabilisers."""
    names = np.dtype(
        [
            ("layer", "S40"),
            ("rule", "S24"),
            *((c, "f8") for c in ("outgoing", "incoming", "bias", "stabiliser")),
        ]
    )
    columns = ("outgoing", "incoming", "bias", "stabiliser")
    rows = [
        (
            entry.layer.encode(),
            entry.rule.encode(),
            *(float(getattr(entry, column).double().mean()) for column in columns),
        )
        for entry in relevance.ledger.entries
    ]
    return np.array(rows, dtype=names)


def can_be_shown(record: Mapping[str, float]) -> bool:
    """Whether an utterance is short enough for the relevance of all its letters at once."""
    return record["duration"] <= LONGEST_SECONDS


def _write_sound(folder: Path, plan: Pass, place: int, number: int) -> None:
    sound = read_audio(plan.utterances[place].audio)
    with writing(folder / "audio" / f"{number:05}.flac") as temporary:
        soundfile.write(temporary, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
