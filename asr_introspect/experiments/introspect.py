"""The main job: a recogniser and a corpus in, a run folder with everything the report shows out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from asr_introspect.corpus.alignments import Alignment
from asr_introspect.corpus.label_tables import read_label_tables
from asr_introspect.corpus.manifest import corpus_sha256
from asr_introspect.corpus.records import Corpus, Skipped
from asr_introspect.corpus.skipped import write_skipped
from asr_introspect.errors import IntrospectError, UsageError, known_names, unknown_name
from asr_introspect.experiments import (
    pass_plan,
    run_clusters,
    run_controls,
    run_lags,
    run_offsets,
    run_patterns,
    run_profiles,
    run_relevance,
    run_splits,
    run_tables,
)
from asr_introspect.experiments.gathered import Draws, Gathered
from asr_introspect.experiments.inputs import as_corpus, as_recogniser, model_hash
from asr_introspect.experiments.pass_groups import SPLITS
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import all_rows
from asr_introspect.experiments.phones import AUTO, phone_source, phones_in_run, read_phones
from asr_introspect.experiments.profile_pass import streamed
from asr_introspect.experiments.report import report
from asr_introspect.experiments.run_controls import UNTRAINED
from asr_introspect.experiments.run_tables import corpus_record, model_record
from asr_introspect.files import read_json, run_folder, write_json
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.profiles import Reduction
from asr_introspect.introspection.saliency import WEIGHTS
from asr_introspect.recogniser.checkpoint import Recogniser
from asr_introspect.recogniser.passes import Spectrograms
from asr_introspect.resources import bundled

PARTS: tuple[Callable[[Gathered], list[Finding]], ...] = (
    run_tables.part,
    run_lags.part,
    run_offsets.part,
    run_profiles.part,
    run_clusters.part,
    run_controls.part,
    run_patterns.part,
    run_splits.part,
    run_relevance.part,
)
"""What is made of a pass, in this order: each writes its files to the run folder and returns its findings."""


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
    lexicon: Path | str | None = None,
    device: str = "auto",
    seed: int = 0,
    max_utterances: int | None = None,
    overwrite: bool = False,
    shard: tuple[int, int] | None = None,
    splits: Sequence[str] = (),
    labels: Sequence[str] = (),
    tables: Sequence[Path | str] = (),
    sketches: bool = True,
    control: str | None = None,
    weights: Sequence[str] = (),
    reductions: Sequence[Reduction] = (),
    draws: Draws | None = None,
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
        Phone alignments, a file or a folder (TextGrids, CTM, JSON; see
        :mod:`~asr_introspect.corpus.alignment_files`); if not given, the corpus's own ``alignments`` where it
        has some. ``auto``: PocketSphinx aligns English speech (extra ``phones``); its TextGrids are kept in
        ``out/alignments``. Without any there are no phonemes.
    lexicon
        For ``auto``: pronunciations of words that PocketSphinx's dictionary lacks.
    overwrite
        Replace what the folder holds of another run.
    shard
        ``(i, n)``: only the pass over the i-th of n parts of the corpus, counted from 1;
        :func:`~asr_introspect.experiments.merge.merge` makes one run of all parts.
    splits
        Profiles are also made of parts of each group: ``right`` (right and wrong letters), ``speaker``,
        ``sex``, ``next`` and ``previous`` (what follows, what went before), ``phone`` (that a letter spells),
        ``stress`` (of a phoneme). Their groups are named ``C|right``, ``C|before I``, ``C|S``; they are
        outside averages and statistics. Each part takes as much disk as the whole; of neighbours, phones and
        stress only parts that transcripts and alignments hold ten times.
    labels
        Further sets of labels beside emitted letters and phonemes: ``letters-aligned``, the letters of the
        transcript where the forced alignment puts them; ``phonemes-stressed``, phones with their stress.
    tables
        A user's own labels: CSV or TSV files with the columns utterance, time (seconds), label; each file's
        profiles have its name.
    sketches
        Keep a sketch of each instance: cross-validated distances, nulls and intervals are made from them.
    control
        ``untrained``: the same evidence from a network of the same shape with initial weights, at the
        recogniser's instances; a second pass.
    weights
        Saliency-adjusted profiles of emitted letters beside those of plain activations: ``gradient``,
        ``gradient-activation``, ``relevance`` (see :mod:`~asr_introspect.introspection.saliency`). The first
        two together take about twice as long as the offsets, the third somewhat more.
    reductions
        Cluster profiles of plain activations also without time: ``mean``, ``maximum``, ``sorted`` (see
        :func:`~asr_introspect.introspection.profiles.time_independent`).
    draws
        How many draws the evidence rests on.
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
    asked, weighted = checked_labels(recogniser, labels), known_names("weight", weights, WEIGHTS)
    chosen = known_names("reduction", reductions, get_args(Reduction))
    without_time = tuple(name for name in get_args(Reduction) if name in chosen)
    listed = read_label_tables(tables, speech.utterances)
    skipped += [each for table in listed for each in table.skipped]
    source = phone_source(corpus, alignments, lexicon, of_shard=shard is not None)
    phones = read_phones(source, speech)
    if source.place != AUTO:
        _check_phones([*splits, *asked], phones.alignments)
    model_path = None if isinstance(checkpoint, Recogniser) else Path(checkpoint or bundled("reference"))
    corpus_path = None if isinstance(corpus, Corpus) else Path(corpus)
    identity = {"checkpoint": model_hash(recogniser, model_path), "corpus": corpus_sha256(speech)}
    settings: dict[str, Any] = {
        "checkpoint": None if model_path is None else str(model_path),
        "corpus": None if corpus_path is None else str(corpus_path),
        **source.settings(phones),
        "device": str(recogniser.device),
        "max_utterances": max_utterances,
        "seed": seed,
        "shard": None if shard is None else list(shard),
        "splits": list(splits),
        "labels": list(asked),
        "tables": {str(table.path): table.sha256 for table in listed},
        "sketches": sketches,
        "control": control,
        "weights": list(weighted),
        "reductions": list(without_time),
        "draws": asdict(draws or Draws()),
    }
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="asr-introspect-"))
    numbered, split = checked_shard(shard), known_names("split", splits, SPLITS)
    if control not in (None, UNTRAINED):
        raise unknown_name("control", str(control), (UNTRAINED,))
    if control is not None and not sketches:
        raise UsageError("a control is compared by sketches: leave out sketches=False")
    with run_folder(folder, "introspect", settings, identity, seed=seed, argv=argv, overwrite=overwrite):
        phones = phones_in_run(source, phones, speech, folder)
        skipped += phones.skipped
        _check_phones([*splits, *asked], phones.alignments)
        plan = Pass(
            recogniser,
            speech.utterances,
            phones.alignments,
            spectrograms,
            slice_seconds=pass_plan.SLICE_SECONDS,
            shard=numbered,
            splits=split,
            sketch_seed=seed if sketches else None,
            weights=weighted,
            more_labels=asked,
            tables=listed,
        )
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
            corpus_record(speech, corpus_path, synthetic, rows.utterances, skipped, seed)
            | {"phones": phones.summary()},
        )
        findings = _look_inside(
            Gathered(plan, rows, work, folder, seed, control, draws or Draws(), without_time)
        )
    return Introspection(folder, report(folder), tuple(findings), *counts, tuple(skipped))


def _look_inside(gathered: Gathered) -> list[Finding]:
    """Everything after the pass, part by part; returns the findings."""
    findings = [finding for part in PARTS for finding in part(gathered)]
    write_json(gathered.folder / "findings.json", [finding.record() for finding in findings])
    return findings


def checked_labels(recogniser: Recogniser, labels: Sequence[str]) -> tuple[str, ...]:
    """The further sets of labels, each once, if they are known and the recogniser has them."""
    asked = known_names("set of labels", labels, pass_plan.MORE_LABELS)
    if "letters-aligned" in labels and not recogniser.symbols.spells_text:
        raise UsageError("letters-aligned needs a recogniser of letters: this one does not spell text")
    return asked


OF_PHONES = ("phone", "stress", "phonemes-stressed")
"""Splits and sets of labels that there cannot be without phones."""


def _check_phones(asked: Sequence[str], phones: Mapping[str, Alignment]) -> None:
    lacking = [name for name in asked if name in OF_PHONES]
    if lacking and not any(each.phones for each in phones.values()):
        names = " and ".join(lacking)
        raise IntrospectError(f"{names} cannot be had without phone alignments: name some with --alignments")


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
