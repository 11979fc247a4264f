"""The main job: a recogniser and a corpus in, a run folder with everything the report shows out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile

from asr_introspect.corpus.alignments import Alignment, read_alignments
from asr_introspect.corpus.audio import SAMPLE_RATE, read_audio
from asr_introspect.corpus.manifest import corpus_sha256
from asr_introspect.corpus.reading import alignments_folder
from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.corpus.skipped import write_skipped
from asr_introspect.errors import IntrospectError, UsageError, unknown_name
from asr_introspect.experiments import profile_pass
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, model_hash
from asr_introspect.experiments.profile_pass import (
    LETTERS_GRADIENT,
    PHONEMES_NONE,
    Pass,
    Rows,
    all_rows,
    merged_moments,
    streamed,
)
from asr_introspect.experiments.report import report
from asr_introspect.experiments.run_clusters import CLUSTER_COLUMNS, csv_row, write_clusters
from asr_introspect.experiments.run_findings import (
    alignment_findings,
    lag_findings,
    pattern_findings,
    structure_findings,
)
from asr_introspect.experiments.run_offsets import METHODS, OFFSET_COLUMNS, offset_csv_row, offset_table
from asr_introspect.experiments.run_relevance import (
    can_be_shown,
    letter_relevance,
    spectrogram_of,
    write_relevance,
)
from asr_introspect.experiments.run_tables import (
    chosen,
    corpus_record,
    letter_lags,
    model_record,
    write_csv,
    write_instances,
    write_lags,
    write_offsets,
    write_utterances,
)
from asr_introspect.features import mel_frequencies
from asr_introspect.files import read_json, run_folder, write_json, writing
from asr_introspect.introspection.findings import Finding, nearness_finding
from asr_introspect.introspection.patterns import write_patterns
from asr_introspect.introspection.profiles import write_moments
from asr_introspect.progress import say
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import INPUT, Spectrograms
from asr_introspect.resources import bundled

RELEVANCE_UTTERANCES = 12
"""Over so many utterances the share of relevance near a letter is measured, the one shown among them."""


SOUNDS = {"phone": "the phone they spell", "alignment": "their span in the recogniser's own alignment"}
"""What stands for a letter's sound, as ``lags.csv`` and the findings name it."""


@dataclass(frozen=True)
class Introspection:
    """What the main job made: the run folder, the page in it, its findings, what of the corpus was skipped.

    A shard has no page and no findings.
    """

    folder: Path
    report: Path | None
    findings: tuple[Finding, ...]
    utterances: int
    letters: int
    phonemes: int
    skipped: tuple[Skipped, ...]


def introspect(
    corpus: Path | str | Corpus,
    checkpoint: Path | str | Recogniser | None = None,
    out: Path | str | None = None,
    *,
    alignments: Path | str | None = None,
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
    overwrite: bool = False,
    shard: tuple[int, int] | None = None,
    splits: Sequence[str] = (),
    spectrograms: Spectrograms | None = None,
    argv: Sequence[str] | None = None,
) -> Introspection:
    """Looks inside a recogniser with a corpus: offsets, patterns, profiles, clusters, relevance, findings.

    One streaming pass in memory that does not grow with the corpus. A run that was stopped goes on where it
    was when it is called again, and ends with the same numbers.

    Parameters
    ----------
    checkpoint
        The bundled reference if not given.
    out
        The run folder; a temporary one if not given.
    alignments
        Folder of TextGrids; if not given, the corpus's own ``alignments`` where it has one. Without any there
        are no phonemes.
    overwrite
        Replace what the folder holds of another run.
    shard
        ``(i, n)``: only the pass over the i-th of n parts of the corpus, counted from 1;
        :func:`~asr_introspect.experiments.merge.merge` makes one run of all parts.
    splits
        Profiles are also made of parts of each group: ``right`` (right and wrong letters), ``speaker``,
        ``sex``. Their groups are named ``C|right``; they are outside averages and statistics. Each part takes
        as much memory as the whole.
    spectrograms
        Where inputs come from in place of sound, by the utterance's place in the corpus.

    Raises
    ------
    IntrospectError
        Checkpoint or corpus cannot be used, nothing of the corpus is usable, or the folder belongs to another
        run.
    """
    recogniser = as_recogniser(checkpoint, device)
    speech = as_corpus(corpus, max_utterances)
    skipped = list(speech.skipped)
    phones, place = _phones(corpus, alignments, speech, skipped)
    model_path = None if isinstance(checkpoint, Recogniser) else Path(checkpoint or bundled("reference"))
    corpus_path = None if isinstance(corpus, Corpus) else Path(corpus)
    identity = {"checkpoint": model_hash(recogniser, model_path), "corpus": corpus_sha256(speech)}
    settings: dict[str, Any] = {
        "checkpoint": None if model_path is None else str(model_path),
        "corpus": None if corpus_path is None else str(corpus_path),
        "alignments": None if place is None else str(place),
        "device": str(recogniser.device),
        "max_utterances": max_utterances,
        "seed": seed,
        "shard": None if shard is None else list(shard),
        "splits": list(splits),
    }
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="asr-introspect-"))
    plan = Pass(
        recogniser,
        speech.utterances,
        phones,
        spectrograms,
        slice_seconds=profile_pass.SLICE_SECONDS,
        shard=checked_shard(shard),
        splits=checked_splits(splits),
    )
    with run_folder(folder, "introspect", settings, identity, seed=seed, argv=argv, overwrite=overwrite):
        work = _work(folder, {"identity": identity, "settings": settings})
        rows = all_rows(plan, [part for _, part in streamed(plan, work)])
        skipped += rows.skipped
        write_skipped(folder / "skipped.csv", skipped)
        counts = (len(rows.utterances), len(rows.letters), len(rows.phonemes))
        if shard is not None:
            return Introspection(folder, None, (), *counts, tuple(skipped))
        if not rows.utterances:
            raise IntrospectError(
                f"nothing in the corpus could be used: {len(skipped):,} skipped, see {folder}/skipped.csv"
            )
        is_bundled = _is_bundled(model_path, "reference")
        write_json(
            folder / "model.json", model_record(recogniser, model_path, identity["checkpoint"], is_bundled)
        )
        synthetic = _is_bundled(corpus_path, "demo")
        write_json(
            folder / "corpus.json",
            corpus_record(speech, corpus_path, synthetic, rows.utterances, skipped, seed),
        )
        findings = _look_inside(plan, folder, work, rows, seed)
    return Introspection(folder, report(folder), tuple(findings), *counts, tuple(skipped))


def _look_inside(plan: Pass, folder: Path, work: Path, rows: Rows, seed: int) -> list[Finding]:
    """Everything after the pass: tables, profiles, patterns, clusters, relevance; returns the findings."""
    write_utterances(folder / "utterances.csv", rows.utterances)
    write_instances(folder / "instances.csv", [rows.letters, rows.phonemes])
    write_offsets(folder / "offsets.csv", {"gradient": rows.found})
    sound, middle = _sound(rows)
    lags = letter_lags(rows.letters, rows.found, middle, plan.layout, plan.recogniser, seed)
    write_lags(folder / "lags.csv", lags, sound)
    names = [name for name in METHODS if name != "phone" or sound == "phone"]
    methods = offset_table(plan, rows, middle, seed, names)
    write_csv(folder / "offset_table.csv", OFFSET_COLUMNS, [offset_csv_row(row) for row in methods])
    _write_profiles(plan, folder, work)
    structure = write_clusters(folder / "profiles.h5", folder / "clusters.h5", seed)
    write_csv(folder / "clusters.csv", CLUSTER_COLUMNS, [csv_row(row) for row in structure])
    findings = [
        *lag_findings(lags, SOUNDS[sound]),
        *alignment_findings(methods, seed),
        *structure_findings(structure, seed),
        *pattern_findings(folder / "patterns.h5"),
        *_relevance(plan, folder, rows, seed),
    ]
    write_json(folder / "findings.json", [finding.record() for finding in findings])
    return findings


def _sound(rows: Rows) -> tuple[str, np.ndarray]:
    """What letters lag behind: the phone they spell where that is known of any, else their aligned span."""
    name = "phone" if np.isfinite(rows.sounds["spoken"]).any() else "alignment"
    return name, rows.sounds["spoken" if name == "phone" else "aligned"]


def _write_profiles(plan: Pass, folder: Path, work: Path) -> None:
    """``profiles.h5`` and ``patterns.h5`` from the merged moments, a layer at a time."""
    features = plan.recogniser.features
    shown = {LETTERS_GRADIENT: "letters", PHONEMES_NONE: "phonemes"}
    with (
        writing(folder / "profiles.h5") as profiles,
        writing(folder / "patterns.h5") as patterns,
        h5py.File(profiles, "w") as profile_file,
        h5py.File(patterns, "w") as pattern_file,
    ):
        for key, layer, found in merged_moments(plan, work):
            write_moments(
                profile_file, key, plan.layout[layer], found, step_frames=plan.recogniser.step_frames
            )
            if layer == INPUT and key in shown:
                write_patterns(
                    pattern_file,
                    shown[key],
                    plan.layout[INPUT],
                    found,
                    mel_frequencies(features),
                    features.frame_seconds,
                    plan.recogniser.step_frames,
                )


def _relevance(plan: Pass, folder: Path, rows: Rows, seed: int) -> list[Finding]:
    """``relevance.h5`` and the sound of the chosen utterance; the share of relevance near each letter."""
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
    return [nearness_finding(*(np.concatenate(part) for part in (near, energy, utterance)), seed=seed)]


def _write_sound(folder: Path, plan: Pass, place: int, number: int) -> None:
    sound = read_audio(plan.utterances[place].audio)
    with writing(folder / "audio" / f"{number:05}.flac") as temporary:
        soundfile.write(temporary, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def _phones(
    corpus: Path | str | Corpus, alignments: Path | str | None, speech: Corpus, skipped: list[Skipped]
) -> tuple[Mapping[str, Alignment], Path | None]:
    """The phone alignments that were named, or that lie with the corpus; none is no error unless named."""
    place = None
    if alignments is not None or not isinstance(corpus, Corpus):
        place = alignments_folder("." if isinstance(corpus, Corpus) else corpus, alignments)
    if place is None:
        say("no phone alignments: letters only (--alignments names a folder of TextGrids)")
        return {}, None
    try:
        return read_alignments(place, speech.utterances, skipped), place
    except IntrospectError as error:
        if alignments is not None:
            raise
        say(f"letters only: {error}")
        return {}, None


def checked_splits(splits: Sequence[str]) -> tuple[str, ...]:
    """The splits, each once, if they are known."""
    for split in splits:
        if split not in profile_pass.SPLITS:
            raise unknown_name("split", split, profile_pass.SPLITS)
    return tuple(dict.fromkeys(splits))


def checked_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """A shard (i, n) with 1 <= i <= n; the whole is (1, 1)."""
    if shard is None:
        return 1, 1
    number, of = shard
    if not 1 <= number <= of:
        raise UsageError(f"a shard is i/n with i from 1 to n, not {number}/{of}")
    return number, of


def _is_bundled(path: Path | None, name: str) -> bool:
    try:
        return path is not None and path.resolve() == bundled(name).resolve()
    except IntrospectError:
        return False


def _work(folder: Path, plan: Mapping[str, Any]) -> Path:
    """The folder of what is done so far, emptied if that was for another run."""
    work = folder / "work"
    record = work / "plan.json"
    wanted = json.loads(json.dumps(plan))
    if work.exists() and not (record.exists() and read_json(record) == wanted):
        shutil.rmtree(work)
    if not record.exists():
        write_json(record, wanted)
    return work
