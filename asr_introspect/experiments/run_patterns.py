"""``patterns.h5``: mean aligned spectrograms of letters and phonemes, how sure they are, and their sound.

Means come from the pass. Standard errors and the rotation threshold need the windows again: a second pass
over the spectrograms, which needs no network.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch

from asr_introspect.corpus.audio import read_audio
from asr_introspect.errors import IntrospectError
from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_sums import merged_moments
from asr_introspect.features import levels, log_mel, mel_frequencies
from asr_introspect.files import writing
from asr_introspect.introspection.findings import Finding, PatternPeak, pattern_finding
from asr_introspect.introspection.instances import Instances
from asr_introspect.introspection.moments import Moments
from asr_introspect.introspection.pattern_errors import DifferenceErrors, PatternErrors, UtteranceWindows
from asr_introspect.introspection.pattern_findings import significance_finding
from asr_introspect.introspection.pattern_sounds import mean_levels, pattern_sounds
from asr_introspect.introspection.patterns import (
    PatternAxes,
    frequent,
    loudest_cell,
    read_patterns,
    strength,
    write_patterns,
)
from asr_introspect.introspection.profiles import ENOUGH, Key, averaged, in_statistics
from asr_introspect.introspection.rotations import (
    Thresholds,
    chosen_utterances,
    rotation_thresholds,
    shortened,
)
from asr_introspect.progress import say, track
from asr_introspect.random import generator
from asr_introspect.recogniser.passes import INPUT, input_of
from asr_introspect.recogniser.symbols import LETTERS

LEVEL_UTTERANCES = 64
"""Over so many utterances, drawn by seed, the levels are averaged at which patterns are heard *(choice)*."""

SOUNDS = Path("audio") / "patterns"


@dataclass(frozen=True)
class PatternSet:
    """What becomes the patterns of one set of labels.

    Parameters
    ----------
    moments
        Of its frequent groups, at the input.
    instances, position
        Every instance, and the frame that it is about.
    groups
        By instance its groups among those of ``moments``, -1 for none: first its label, then the parts of it
        that it belongs to, ``(N, 1 + splits)``.
    """

    key: Key
    moments: Moments
    instances: Instances
    position: np.ndarray
    groups: np.ndarray

    @functools.cached_property
    def inside(self) -> np.ndarray:
        """Which groups belong to the average."""
        return in_statistics(self.moments.groups, self.key.labels)

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """Where each utterance's instances begin."""
        utterance = self.instances.utterance
        return np.searchsorted(utterance, np.arange(int(utterance.max(initial=-1)) + 2))

    def counts(self, utterances: int) -> np.ndarray:
        """How many instances each utterance has that belong to a frequent group, ``(U,)``."""
        own = self.instances.utterance[self.groups[:, 0] >= 0]
        return np.bincount(own, minlength=utterances)

    def windows(self, number: int, rows: np.ndarray, *, parts: bool) -> UtteranceWindows:
        """The windows of one utterance, those of the parts of groups too if wanted."""
        some = slice(0, 0)
        if number + 1 < len(self.bounds):
            some = slice(int(self.bounds[number]), int(self.bounds[number + 1]))
        position, groups = self.position[some], self.groups[some]
        if not parts:
            return UtteranceWindows(rows, position, groups[:, 0])
        return UtteranceWindows(rows, np.tile(position, groups.shape[1]), groups.T.ravel())


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``patterns.h5`` and ``audio/patterns``; returns what they say."""
    sets = list(pattern_sets(gathered))
    errors: list[PatternErrors] | None = None
    thresholds: list[Thresholds] | None = None
    why = ""
    try:
        errors, thresholds = second_pass(gathered, sets)
    except IntrospectError as error:
        why = f"the speech could not be read again: {error}"
        say(f"patterns without standard errors: {why}")
    heard = _write_sounds(gathered, sets)
    plan, features = gathered.plan, gathered.plan.recogniser.features
    axes = PatternAxes(mel_frequencies(features), features.frame_seconds, plan.recogniser.step_frames)
    path = gathered.folder / "patterns.h5"
    with writing(path) as temporary, h5py.File(temporary, "w") as file:
        for i, own in enumerate(sets):
            sounds, average = heard[i] if heard else ((), "")
            write_patterns(
                file,
                own.key.labels,
                plan.layout[INPUT],
                own.moments,
                axes,
                errors=errors[i] if errors else None,
                thresholds=thresholds[i] if thresholds else None,
                sounds=sounds,
                attributes={"offset": own.key.offset, "average_sound": average, "errors_missing": why},
            )
    _forget_others(gathered.folder, heard)
    return pattern_findings(path, gathered.draws.rotations)


def pattern_sets(gathered: Gathered) -> Iterator[PatternSet]:
    """Of each set of labels the first profiles of plain activations: letters by their gradients."""
    plan, seen = gathered.plan, set()
    for key, layer, found in merged_moments(plan, gathered.work, layers=(INPUT,)):
        if key.weight != "activation" or key.labels in seen or key.labels not in gathered.rows.instances:
            continue
        seen.add(key.labels)
        moments = frequent(found)
        instances = gathered.rows.instances[key.labels]
        position = plan.layout[layer].stride * instances.step
        if key.offset == "gradient":
            position = gathered.rows.found[INPUT]
        place = {name: number for number, name in enumerate(moments.groups)}
        kept = np.array([*(place.get(name, -1) for name in plan.groups(key)), -1], np.int64)
        groups = plan.sets[key.labels].numbered(instances.label, gathered.rows.parts[key.labels])
        yield PatternSet(key, moments, instances, position, kept[groups])


def second_pass(
    gathered: Gathered, sets: Sequence[PatternSet]
) -> tuple[list[PatternErrors], list[Thresholds]]:
    """Standard errors and rotation thresholds of all sets, from the spectrograms of the pass.

    Raises
    ------
    IntrospectError
        An utterance of the pass can no longer be read, or is no longer what it was.
    """
    plan, rows = gathered.plan, gathered.rows
    cone, many = plan.layout[INPUT], len(rows.utterances)
    errors = [DifferenceErrors(own.moments, own.inside, cone.first) for own in sets]
    chosen = [set(chosen_utterances(own.counts(many), seed=gathered.seed).tolist()) for own in sets]
    kept: list[list[UtteranceWindows]] = [[] for _ in sets]
    for number in track(range(many), "standard errors"):
        place = int(rows.utterances[number]["row"])
        spectrogram = input_of(plan.recogniser, plan.utterances[place], place, plan.spectrograms)
        frames = np.ascontiguousarray(spectrogram.cpu().numpy().T, np.float32)
        for own, found, drawn, held in zip(sets, errors, chosen, kept, strict=True):
            found.add(own.windows(number, frames, parts=True))
            if number in drawn:
                windows = own.windows(number, frames, parts=False)
                held.append(shortened(windows, cone.first, cone.positions))
    thresholds = [
        _threshold(own, held, cone.first, cone.positions, gathered.draws.rotations, gathered.seed)
        for own, held in zip(sets, kept, strict=True)
    ]
    return [found.errors() for found in errors], thresholds


def _threshold(
    own: PatternSet, held: Sequence[UtteranceWindows], first: int, positions: int, draws: int, seed: int
) -> Thresholds:
    """The thresholds of the labels; parts of them have none, nor have labels of which none is frequent."""
    if not held:
        none = np.full(len(own.moments.groups), np.nan)
        return Thresholds(none, none, draws, 0, 0)
    found = rotation_thresholds(
        held, own.inside, first, positions, draws=draws, seed=seed, threads=torch.get_num_threads()
    )
    plain = np.array(["|" not in name for name in own.moments.groups], bool)
    return replace(found, threshold=np.where(plain, found.threshold, np.nan))


def _write_sounds(gathered: Gathered, sets: Sequence[PatternSet]) -> list[tuple[tuple[str, ...], str]] | None:
    """Writes the sound of each label's mean and each average; their paths in the run, "" for parts."""
    features = gathered.plan.recogniser.features
    heard = _levels(gathered)
    if heard is None:
        say("patterns without sound: no utterance could be read")
        return None
    means, names = [], []
    for own in sets:
        found = own.moments.means()
        names.append([name for name in own.moments.groups if "|" not in name])
        plain = [i for i, name in enumerate(own.moments.groups) if "|" not in name]
        if own.inside.any():
            means.append(averaged(found, own.moments.count, own.moments.groups, own.key.labels)[None])
            means.append(found[plain])
    sounds = pattern_sounds(
        np.concatenate(means) if means else np.zeros((0, features.mels, 1)),
        heard,
        features,
        seed=gathered.seed,
    )
    paths = []
    for number, sound in enumerate(sounds):
        paths.append((SOUNDS / f"{number:05}.flac").as_posix())
        with writing(gathered.folder / paths[-1]) as temporary:
            soundfile.write(temporary, sound, features.sample_rate, format="FLAC", subtype="PCM_16")
    written = iter(paths)
    listed: list[tuple[tuple[str, ...], str]] = []
    for own in sets:
        if not own.inside.any():
            listed.append(((), ""))
            continue
        average = next(written)
        listed.append(
            (tuple(next(written) if "|" not in name else "" for name in own.moments.groups), average)
        )
    return listed


def _levels(gathered: Gathered) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and deviation of the log-Mel energies, averaged over utterances; None if none can be read."""
    plan, features = gathered.plan, gathered.plan.recogniser.features
    order = generator(gathered.seed, "levels of patterns").permutation(len(gathered.rows.utterances))
    found = []
    for number in sorted(order[:LEVEL_UTTERANCES].tolist()):
        utterance = plan.utterances[int(gathered.rows.utterances[number]["row"])]
        try:
            waveform = read_audio(utterance.audio, features.sample_rate)
        except IntrospectError:  # a run from a cache may have no sound
            continue
        mean, deviation = levels(log_mel(waveform, features), features.normalise)
        found.append((mean.numpy(), deviation.numpy()))
    return mean_levels(found) if found else None


def _forget_others(folder: Path, heard: Sequence[tuple[tuple[str, ...], str]] | None) -> None:
    """Removes sounds of an earlier run with more labels."""
    named = {path for sounds, average in heard or () for path in (*sounds, average)}
    for old in (folder / SOUNDS).glob("*.flac"):
        if old.relative_to(folder).as_posix() not in named:
            old.unlink()


def pattern_peaks(path: Path) -> list[PatternPeak]:
    """The letters' patterns against their noise; letters with fewer than 20 instances are left out."""
    with h5py.File(path) as file:
        if "letters" not in file:
            return []
    plain = read_patterns(path, average="none", minimum=ENOUGH)
    letters = [name for name in plain["group"].values if name in LETTERS]
    if len(letters) < 2:
        return []
    patterns = read_patterns(path, minimum=ENOUGH)
    sizes = dict(zip(patterns["group"].values, strength(patterns), strict=True))
    peaks = []
    for letter in letters:
        own = patterns.sel(group=letter)
        counts = np.maximum(own["count"].values, 1)
        noise = float(np.sqrt(np.nanmean(own["variance"].values / counts)))
        hertz, milliseconds, value = loudest_cell(patterns, letter)
        peaks.append(
            PatternPeak(
                str(letter), int(counts.max()), float(sizes[letter]), noise, hertz, milliseconds, value
            )
        )
    return peaks


def pattern_findings(path: Path, draws: int) -> list[Finding]:
    """The letters with the strongest patterns, where there are enough; how much of them is not chance."""
    peaks = pattern_peaks(path)
    if not peaks:
        return []
    return [pattern_finding(peaks), *_significance(path, draws)]


def _significance(path: Path, draws: int) -> list[Finding]:
    patterns = read_patterns(path, minimum=ENOUGH)
    if "significant" not in patterns:
        return []
    letters = [
        name
        for name, threshold in zip(patterns["group"].values, patterns["threshold"].values, strict=True)
        if name in LETTERS and np.isfinite(threshold)
    ]
    shares = {name: float(patterns["significant"].sel(group=name).mean()) for name in letters}
    return [significance_finding(shares, draws)] if shares else []
