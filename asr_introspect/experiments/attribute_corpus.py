"""The relevance of every emitted letter of a corpus, streamed to one HDF5 file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from asr_introspect.attribution import Relevance
from asr_introspect.attribution import attribute as explain
from asr_introspect.attribution.composites import COMPOSITES
from asr_introspect.attribution.methods import METHODS
from asr_introspect.corpus.manifest import corpus_sha256
from asr_introspect.corpus.records import Corpus, Skipped, Utterance
from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, model_hash
from asr_introspect.files import locked, read_json, versions, write_json, writing
from asr_introspect.introspection.instances import emissions
from asr_introspect.progress import bar, quietly
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, LONGEST_SECONDS, Forward, forward_pass
from asr_introspect.resources import bundled

FORMAT = 1
GROUP = 16
"""Utterances that are computed, and stored, at once: what a stopped run loses at most."""
LEDGER = ("outgoing", "incoming", "bias", "stabiliser")


@dataclass(frozen=True)
class Attributed:
    """What was written: the file, how many utterances and letters are in it, and what was skipped."""

    path: Path
    utterances: int
    letters: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Question:
    """What every utterance is asked."""

    recogniser: Recogniser
    method: str
    composite: str
    against: str | int | None
    half: bool
    sentence: bool

    def explain(self, inputs: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor | None) -> Relevance:
        options: dict[str, Any] = {}
        if self.method == "lrp" and self.recogniser.bounds is not None:
            options["bounds"] = self.recogniser.bounds
        if self.method == "grad-cam":
            options["upsample"] = True  # frames, as everything else in the file
        found = explain(
            self.recogniser.network,
            inputs,
            targets,
            self.method,
            self.composite,
            lengths=lengths,
            against=self.against,
            **options,
        )
        assert isinstance(found, Relevance)
        return found


def attribute_corpus(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser | None = None,
    out: Path | str | None = None,
    *,
    method: str = "lrp",
    composite: str = "epsilon-relative",
    against: str = "mean",
    sentence: bool = False,
    half: bool = False,
    device: str = "auto",
    max_utterances: int | None = None,
    overwrite: bool = False,
) -> Attributed:
    """The relevance of every emitted letter (each maximal run of one best symbol but the blank) of a corpus.

    The file holds per letter ``windows`` ``(N, F, W)`` (one chunk each), ``starts`` (first frame, may be
    negative), ``scores``, ``leak``, ``utterance`` (row of ``utterances``), ``step``, ``symbol``, ``label``;
    ``ledger`` ``(N, layers, 4)`` with the attributes ``layers``, ``rules`` and ``columns``. With ``half``
    windows are float16, each divided by its ``scale``. With ``sentence`` a group of that name holds the sum
    of all letters' maps per utterance, ``(F, T)``, by row number.

    A run that was stopped goes on where it was when called again and ends with the same file.

    Parameters
    ----------
    checkpoint
        The bundled reference if not given.
    out
        ``relevance.h5`` in the working directory if not given.
    against
        The contrast: ``mean`` of the other symbols, ``runner-up``, ``blank``, ``none``, or a symbol.
    overwrite
        Replace a file of other settings.

    Raises
    ------
    UsageError
        An unknown method, composite or contrast, or a composite of z^B and a checkpoint without bounds.
    IntrospectError
        Nothing of the corpus is usable, or ``out`` belongs to another run or cannot be written.
    """
    recogniser = as_recogniser(checkpoint, device)
    _check(method, composite)
    chosen = _contrast(recogniser, against)
    if method == "lrp" and composite.endswith("-box") and recogniser.bounds is None:
        raise UsageError(f"{composite} needs the bounds of the features, which this checkpoint does not have")
    speech = as_corpus(corpus, max_utterances)
    model_path = None if isinstance(checkpoint, Recogniser) else Path(checkpoint or bundled("reference"))
    settings = {
        "format": FORMAT,
        "checkpoint": model_hash(recogniser, model_path),
        "corpus": corpus_sha256(speech),
        "method": method,
        "composite": composite if method == "lrp" else "",
        "against": against,
        "sentence": sentence,
        "half": half,
    }
    path = Path("relevance.h5" if out is None else out)
    question = _Question(recogniser, method, composite, chosen, half, sentence)
    work = path.with_name(f".{path.name}.work")
    with locked(work):
        _prepare(path, work, settings, overwrite)
        if path.exists():
            shutil.rmtree(work)
            return _finished(path)
        skipped: list[Skipped] = []
        parts = list(_parts(question, speech.utterances, work, skipped))
        used = len(speech.utterances) - len(skipped)
        _join(path, parts, question, speech.utterances, settings, [*speech.skipped, *skipped], used)
        shutil.rmtree(work)
    return _finished(path)


def _check(method: str, composite: str) -> None:
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if composite not in (*COMPOSITES, "speech"):
        raise unknown_name("composite", composite, COMPOSITES)


def _contrast(recogniser: Recogniser, against: str) -> str | int | None:
    symbols = recogniser.symbols
    if against == "none":
        return None
    if against in ("mean", "runner-up"):
        return against
    if against == "blank":
        return symbols.blank
    if against not in symbols.symbols:
        raise unknown_name("contrast", against, ["mean", "runner-up", "blank", "none", *symbols.symbols])
    return symbols.symbols.index(against)


def _prepare(path: Path, work: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Makes sure that what lies there already is of this run, or removes it if that is wanted."""
    record = work / "settings.json"
    if record.exists() and read_json(record) != settings:
        if not overwrite:
            raise IntrospectError(
                f"{path} was begun with other settings; name another --out, or add --overwrite"
            )
        for part in (*work.glob("*.npz"), *work.glob("0*.json")):
            part.unlink()
    if path.exists():
        if overwrite and _settings(path) != settings:
            path.unlink()
        elif _settings(path) != settings:
            raise IntrospectError(f"{path} is of another run; name another --out, or add --overwrite")
    write_json(record, settings)


def _settings(path: Path) -> Any:
    try:
        with h5py.File(path) as file:
            return json.loads(file.attrs["settings"])
    except (OSError, KeyError, ValueError, TypeError):
        return None


def _finished(path: Path) -> Attributed:
    with h5py.File(path) as file:
        skipped = [Skipped(*row) for row in json.loads(file.attrs["skipped"])]
        return Attributed(path, int(file.attrs["used"]), len(file["step"]), tuple(skipped))


# ------------------------------------------------------------------------- computing


def _parts(
    question: _Question, utterances: Sequence[Utterance], work: Path, skipped: list[Skipped]
) -> Iterator[Path]:
    """Computes what is not there yet, group by group, and yields the files of all parts in order."""
    with bar("attribute", sum(each.duration for each in utterances)) as moving:
        for first in range(0, len(utterances), GROUP):
            group = utterances[first : first + GROUP]
            done = work / f"{first:08}.json"
            if not done.exists():
                with quietly():
                    left_out = _explained(question, group, first, work)
                write_json(done, [[item.item, item.reason] for item in left_out])
            skipped.extend(Skipped(*row) for row in read_json(done))
            for position in range(first, first + len(group)):
                yield from sorted(work.glob(f"{position:08}-*.npz"))
            moving.update(sum(each.duration for each in group))


def _explained(question: _Question, group: Sequence[Utterance], first: int, work: Path) -> list[Skipped]:
    """Explains the letters of some utterances, writes a part per utterance; returns what was skipped."""
    skipped: list[Skipped] = []
    for forward in forward_pass(question.recogniser, group, layers=[INPUT], skipped=skipped):
        targets = _emitted(question.recogniser, forward)
        sentences = [np.zeros(tuple(forward.activations[INPUT].shape[1:])) for _ in forward.positions]
        for piece, (targets_here, relevance) in enumerate(_relevance(question, forward, targets)):
            for item, position in enumerate(forward.positions):
                rows = (targets_here[:, 0] == item).nonzero()[:, 0]
                if not len(rows):
                    continue
                mine = relevance.take(rows.to(relevance.windows.device))
                columns = _columns(mine, targets_here[rows], first + position, question.half)
                _write_part(work / f"{first + position:08}-{piece:04}.npz", columns)
                if question.sentence:
                    sentences[item] = _summed(sentences[item], mine)
        for item, position in enumerate(forward.positions) if question.sentence else ():
            total = sentences[item][..., : int(forward.frames[item])].astype(np.float32)
            name = f"sentence/{first + position:05}"
            _write_part(work / f"{first + position:08}-sentence.npz", {name: total})
    return skipped


def _emitted(recogniser: Recogniser, forward: Forward) -> torch.Tensor:
    """Item, step and class of every emitted letter of a batch, ``(N, 3)``."""
    rows: list[tuple[int, int, int]] = []
    for item, utterance in enumerate(forward.utterances):
        logits = forward.logits[item, :, : int(forward.lengths[item])]
        found = emissions(recogniser, logits, item, utterance.duration)
        rows += zip([item] * len(found["step"]), found["step"].tolist(), found["label"].tolist(), strict=True)
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)


def _relevance(
    question: _Question, forward: Forward, targets: torch.Tensor
) -> Iterator[tuple[torch.Tensor, Relevance]]:
    """The letters of a batch with their relevance; those of more than 60 s in pieces with their context."""
    inputs = forward.activations[INPUT]
    recogniser = question.recogniser
    longest = round(LONGEST_SECONDS / recogniser.features.frame_seconds)
    if not len(targets):
        return
    if inputs.shape[-1] <= longest:
        yield targets, question.explain(inputs, targets.to(inputs.device), forward.frames.to(inputs.device))
        return
    before, after = recogniser.network.context()
    step_frames = recogniser.step_frames
    before += before % step_frames
    for start in range(0, inputs.shape[-1] // step_frames, longest // step_frames):
        stop = start + longest // step_frames
        here = targets[(targets[:, 1] >= start) & (targets[:, 1] < stop)]
        if not len(here):
            continue
        low = max(step_frames * start - before, 0)
        high = min(step_frames * stop + after, inputs.shape[-1])
        inner = here - torch.tensor([0, low // step_frames, 0])
        found = question.explain(inputs[..., low:high].contiguous(), inner.to(inputs.device), None)
        yield here, replace(found, starts=found.starts + low, shape=tuple(inputs.shape[1:]))


def _columns(
    relevance: Relevance, targets: torch.Tensor, utterance: int, half: bool
) -> dict[str, np.ndarray]:
    """What the file holds per letter."""
    windows = relevance.windows.cpu().numpy()
    scale = np.ones(len(windows), np.float32)
    if half:
        largest = np.abs(windows).reshape(len(windows), -1).max(1)
        scale = np.where(largest > 0, largest, 1.0).astype(np.float32)
        windows = (windows / scale.reshape(-1, *(1,) * (windows.ndim - 1))).astype(np.float16)
    found = {
        "windows": windows,
        "scale": scale,
        "starts": relevance.starts.cpu().numpy(),
        "scores": relevance.scores.cpu().numpy(),
        "leak": relevance.leak.cpu().numpy(),
        "utterance": np.full(len(windows), utterance, np.int64),
        "step": targets[:, 1].numpy(),
        "label": targets[:, 2].numpy(),
    }
    entries = relevance.ledger.entries
    if entries:
        columns = [torch.stack([getattr(entry, name) for entry in entries], 1) for name in LEDGER]
        found["ledger"] = torch.stack(columns, 2).float().cpu().numpy()
    return found


def _summed(total: np.ndarray, relevance: Relevance) -> np.ndarray:
    """A map of the whole utterance plus all letters' windows; the result may have lost its channels."""
    windows = relevance.windows.double().cpu().numpy()
    width, frames = windows.shape[-1], total.shape[-1]
    if windows.ndim == 2:  # Grad-CAM: no channel axis
        total = total if total.ndim == 1 else np.zeros(frames)
    for start, window in zip(relevance.starts.tolist(), windows, strict=True):
        low, high = max(start, 0), min(start + width, frames)
        if low < high:
            total[..., low:high] += window[..., low - start : high - start]
    return total


# ------------------------------------------------------------------------- writing


def _write_part(path: Path, columns: dict[str, np.ndarray]) -> None:
    with writing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]


def _join(
    path: Path,
    parts: Sequence[Path],
    question: _Question,
    utterances: Sequence[Utterance],
    settings: dict[str, Any],
    skipped: Sequence[Skipped],
    used: int,
) -> None:
    """One file from the files of all groups."""
    layers = _ledger_names(question)
    letters = 0
    with writing(path) as temporary, h5py.File(temporary, "w") as file:
        for part_path in parts:
            with np.load(part_path, allow_pickle=False) as part:
                for name in part.files:
                    if name.startswith("sentence/"):
                        file.create_dataset(name, data=part[name], compression="gzip", shuffle=True)
                    else:
                        _append(file, name, part[name])
                letters += len(part["step"]) if "step" in part.files else 0
        if letters == 0:
            raise IntrospectError("no letter was emitted in any usable utterance: nothing to attribute")
        text = h5py.string_dtype()
        names = question.recogniser.symbols.names(file["label"][:].tolist())
        file.create_dataset("symbol", data=np.array(names, dtype=object), dtype=text)
        file.create_dataset(
            "utterances", data=np.array([each.name for each in utterances], dtype=object), dtype=text
        )
        described = (("layers", layers[0]), ("rules", layers[1]), ("columns", LEDGER))
        for name, values in described if "ledger" in file else ():
            file["ledger"].attrs[name] = list(values)
        file.attrs["settings"] = json.dumps(settings)
        file.attrs["skipped"] = json.dumps([[item.item, item.reason] for item in skipped])
        file.attrs["used"] = used
        file.attrs["versions"] = json.dumps(versions())
        file.attrs["frame_seconds"] = question.recogniser.features.frame_seconds
        file.attrs["step_frames"] = question.recogniser.step_frames


def _append(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Adds rows to a data set; windows have one compressed chunk per letter."""
    if name not in file:
        large = name == "windows"
        file.create_dataset(
            name,
            data=values,
            maxshape=(None, *values.shape[1:]),
            chunks=(1 if large else 1024, *(max(size, 1) for size in values.shape[1:])),
            **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}),
        )
        return
    dataset = file[name]
    before = len(dataset)
    dataset.resize(before + len(values), axis=0)
    dataset[before:] = values


def _ledger_names(question: _Question) -> tuple[list[str], list[str]]:
    """The layers and rules of the ledger's entries, from one letter on noise."""
    network = question.recogniser.network
    inputs = torch.zeros(1, network.config.mels, 4, device=question.recogniser.device)
    found = question.explain(inputs, torch.zeros(1, 3, dtype=torch.long, device=inputs.device), None)
    entries = found.ledger.entries
    return [entry.layer for entry in entries], [entry.rule for entry in entries]
