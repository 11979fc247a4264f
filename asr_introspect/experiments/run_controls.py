"""Controls of the depth curve: an untrained network of the same shape, and a classical frame classifier.

Both look at the trained network's instances, where its gradients found them: their own would mean nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from asr_introspect.corpus.records import Utterance
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_labels import Windows
from asr_introspect.experiments.pass_plan import BATCH_SECONDS, LETTERS_GRADIENT
from asr_introspect.experiments.pass_sketches import FRAMES, SKETCHED, SliceSketches, drawn_places, slice_file
from asr_introspect.experiments.run_sketches import (
    Sampled,
    divisions_of,
    evidence_of,
    sketch_evidence,
    sketched,
)
from asr_introspect.experiments.run_tables import write_csv
from asr_introspect.introspection.distances import Labelled, draws_for
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.offsets import aligned
from asr_introspect.introspection.profiles import Key
from asr_introspect.random import generator, torch_generator
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.network import MaskedBatchNorm1d, Wav2Letter
from asr_introspect.recogniser.passes import INPUT, Forward, Spectrograms, forward_pass

UNTRAINED = "untrained"
NORM_SECONDS = 600.0
"""Speech over which the untrained network's batch-norm statistics are estimated *(choice)*."""
FOLDS = 5


def untrained(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    *,
    seed: int = 0,
    spectrograms: Spectrograms | None = None,
) -> Recogniser:
    """A recogniser of the same shape with the initial weights of a seed.

    Its batch-norm statistics are means over batches of the speech at hand (no label is used): with those of
    initialisation its activations would have no scale at all.
    """
    network = Wav2Letter(recogniser.network.config, len(recogniser.symbols)).to(recogniser.device)
    network.initialise(torch_generator(seed, "untrained control"))
    network.eval()
    norms = [each for each in network.modules() if isinstance(each, MaskedBatchNorm1d)]
    seconds = 0.0
    with torch.no_grad():
        for number, forward in enumerate(_inputs(recogniser, utterances, spectrograms), 1):
            for norm in norms:
                norm.train()
                norm.momentum = 1 / number  # the running value is then the mean over batches
            network(forward.activations[INPUT], forward.frames.to(recogniser.device))
            seconds += float(forward.frames.sum()) * recogniser.features.frame_seconds
            if seconds >= NORM_SECONDS:
                break
    network.eval()
    return replace(recogniser, network=network, training={})


def _inputs(
    recogniser: Recogniser, utterances: Sequence[Utterance], spectrograms: Spectrograms | None
) -> Iterator[Forward]:
    """The network's inputs in batches; what cannot be read is skipped, as it was before."""
    return forward_pass(
        recogniser,
        utterances,
        layers=(INPUT,),
        batch_seconds=BATCH_SECONDS,
        spectrograms=spectrograms,
        skipped=[],
        what="statistics of the untrained network",
    )


def control_sketches(gathered: Gathered, recogniser: Recogniser, work: Path) -> Gathered:
    """Sketches of another recogniser's activations where the run's instances lie, in ``work/sketches``.

    Returns the run with these sketches in place of its own.
    """
    plan = replace(gathered.plan, recogniser=recogniser)
    sketches = SliceSketches(plan)
    assert plan.sketch_seed is not None
    places = sorted(
        {int(record["row"]) for record in gathered.rows.utterances}
        & drawn_places(plan.utterances, plan.sketch_seed)
    )
    row = {int(record["row"]): i for i, record in enumerate(gathered.rows.utterances)}
    spectrograms = None if plan.spectrograms is None else functools.partial(_at, plan.spectrograms, places)
    for forward in forward_pass(
        recogniser,
        [plan.utterances[place] for place in places],
        layers=tuple(plan.layout),
        batch_seconds=BATCH_SECONDS,
        spectrograms=spectrograms,
        what="sketches of the control",
    ):
        own = [places[position] for position in forward.positions]
        windows = [
            _windows(gathered, key, [row[place] for place in own]) for key in SKETCHED if _has(gathered, key)
        ]
        sketches.add(forward, own, windows)
    sketches.write(slice_file(work, 0))
    return replace(gathered, plan=plan, work=work)


def _at(spectrograms: Spectrograms, places: Sequence[int], position: int) -> Tensor:
    return spectrograms(places[position])


def _has(gathered: Gathered, key: Key) -> bool:
    return key.labels in gathered.rows.instances and (key != LETTERS_GRADIENT or bool(gathered.rows.found))


def _windows(gathered: Gathered, key: Key, rows: Sequence[int]) -> Windows:
    """The windows of some utterances of a run, by their rows in its table."""
    instances = gathered.rows.instances[key.labels]
    chosen = [np.flatnonzero(instances.utterance == each) for each in rows]
    at = np.concatenate(chosen)
    item = np.repeat(np.arange(len(rows)), [len(each) for each in chosen])
    found = {}
    if key == LETTERS_GRADIENT:
        found = {layer: positions[at] for layer, positions in gathered.rows.found.items()}
    return Windows(
        key, item, aligned(found, gathered.plan.layout, instances.step[at]), instances.label[at], {}
    )


def untrained_evidence(gathered: Gathered, *, seed: int = 0) -> list[Sampled]:
    """The evidence of an untrained network of the same shape at the run's instances."""
    plan = gathered.plan
    control = untrained(plan.recogniser, plan.utterances, seed=seed, spectrograms=plan.spectrograms)
    return sketch_evidence(control_sketches(gathered, control, gathered.work / UNTRAINED))


def frame_scores(found: Labelled, seed: int) -> np.ndarray:
    """Log posteriors of a linear discriminant analysis of each instance's frames, centred, ``(N, G)``.

    Trained on the other folds of the utterances than the instance's own. Covariances are shrunk (Ledoit &
    Wolf 2004); classes are weighed alike, so that frequency is no information.
    """
    utterances = len(found.speaker)
    fold = generator(seed, "folds of the frame classifier", utterances).permutation(utterances) % FOLDS
    own = fold[np.repeat(found.utterance, np.diff(found.edges))]
    size = len(found.groups)
    scores = np.zeros((len(found.group), size))
    frames = found.values[:, :-1].astype(np.float64)
    for each in range(FOLDS):
        trained, held = own != each, own == each
        classes = np.unique(found.group[trained])
        if len(classes) < 2 or not held.any():
            continue
        analysis = LinearDiscriminantAnalysis(
            solver="lsqr", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes))
        ).fit(frames[trained], found.group[trained])
        scores[np.ix_(held, classes)] = analysis.predict_log_proba(frames[held]).clip(-50)
    centred: np.ndarray = scores - scores.mean(1, keepdims=True)
    return centred


def frame_evidence(gathered: Gathered) -> list[Sampled]:
    """The evidence of a frame classifier's scores: the row before the first layer of the depth curve.

    Sixteen frames about the position that an instance is about (160 ms), in 32 bands and 8 pairs of frames.
    """
    rows: list[Sampled] = []
    for key in SKETCHED:
        found = sketched(gathered, key, FRAMES)
        if found is None:
            continue
        divisions = divisions_of(key.labels, found.groups)
        scores = frame_scores(found, gathered.seed).astype(np.float32)
        values = np.concatenate([scores, scores.mean(1, keepdims=True)], axis=1)
        judged = replace(found, values=np.ascontiguousarray(values), ones=np.ones(scores.shape[1]))
        counts = gathered.draws
        draws = draws_for(judged, seed=gathered.seed, rotations=counts.rotations, resamples=counts.resamples)
        rows += evidence_of(key, FRAMES, judged, draws, divisions, gathered.seed)
    return rows


CONTROL_COLUMNS = (
    *("control", "labels", "offset", "layer", "metric", "classes", "groups", "silhouette", "low", "high"),
    *("null_low", "null_high", "p_value", "rotated_low", "rotated_high", "rotated_p", "plain_sketches"),
)


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``controls.csv`` of a run with sketches: the frame classifier, and what else was asked for."""
    rows = [("frame-classifier", each) for each in frame_evidence(gathered)]
    if gathered.control == UNTRAINED:
        rows += [(UNTRAINED, each) for each in untrained_evidence(gathered, seed=gathered.seed)]
    if rows:
        write_csv(gathered.folder / "controls.csv", CONTROL_COLUMNS, [_csv_row(*row) for row in rows])
    return []


def _csv_row(control: str, each: Sampled) -> tuple[object, ...]:
    return (
        *(control, each.key.labels, each.key.offset, each.layer, each.metric, each.classes, len(each.groups)),
        *(each.silhouette.value, each.silhouette.low, each.silhouette.high),
        *(each.permuted.low, each.permuted.high, each.permuted.p_value),
        *(each.rotated.low, each.rotated.high, each.rotated.p_value, each.plain),
    )
