"""The top of the page: which model, which speech, how well it hears it, and how the page came about."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from asr_introspect.reporting.charts import Whisker, WhiskerChart, whiskers
from asr_introspect.reporting.run import Run
from asr_introspect.reporting.tables import number
from asr_introspect.reporting.words import counted, duration, fixed, percent, percent_range

WEAK = 0.22
"""Above this letter error the first line says that the recogniser is a weak one."""


@dataclass(frozen=True)
class Rate:
    """An error rate in words."""

    name: str
    rate: str
    interval: str
    basis: str


@dataclass(frozen=True)
class File:
    """A file of the run that the page links to."""

    name: str
    size: str
    holds: str


@dataclass(frozen=True)
class SummaryView:
    """Everything above and below the figures."""

    title: str
    speech_name: str
    notices: tuple[str, ...]
    model: tuple[tuple[str, str], ...]
    speech: tuple[tuple[str, str], ...]
    rates: tuple[Rate, ...]
    speakers: WhiskerChart | None
    findings: tuple[Mapping[str, Any], ...]
    skipped: tuple[tuple[str, str], ...]
    skipped_more: int
    command: str
    made: tuple[tuple[str, str], ...]
    files: tuple[File, ...]


GUESSED_BY = {
    "lexicon": "the user's lexicon",
    "cmudict": "the CMU dictionary",
    "gruut": "gruut's lexicon",
    "model": "a letter-to-phone model",
}
"""Whose word it is how a word is pronounced that PocketSphinx's dictionary lacks."""

HOLDS = {
    "findings.json": "the findings with their numbers",
    "corpus.json": "speakers and error rates",
    "model.json": "the recogniser's header",
    "run.json": "command, settings, versions, hashes",
    "utterances.csv": "a row per utterance: reference, hypothesis, edits",
    "instances.csv": "a row per letter and phoneme instance",
    "offsets.csv": "found positions per letter and layer",
    "lags.csv": "lags per method, layer and letter",
    "offset_table.csv": "alignment methods and controls on the same letters",
    "skipped.csv": "what was left out, and why",
    "phones.json": "which alignment the phones come from",
    "pronunciations.csv": "pronunciations of words that PocketSphinx did not know",
    "clusters.csv": "silhouettes, their intervals and nulls, cophenetic correlations",
    "controls.csv": "the same silhouettes of a frame classifier, and of an untrained network if asked for",
    "clusters_by_speaker.csv": "the same silhouettes from each speaker's utterances alone",
    "sketches.csv": "what sketches take, and how far their distances are from exact ones",
    "clusters.h5": "distances and trees",
    "splits.csv": "how far apart the parts of groups are, by layer",
    "split_pairs.csv": "how far apart the commonest parts of each group are, by layer",
    "patterns.h5": "mean aligned windows, counts, standard errors, thresholds",
    "profiles.h5": "mean activations per layer",
    "relevance.h5": "relevance windows and the conservation ledger",
}


def summary_view(run: Run) -> SummaryView:
    """The frame of the page."""
    corpus, model = run.corpus, run.model
    name = str(model.get("name") or "a recogniser")
    return SummaryView(
        title=f"Inside the recogniser “{name}”",
        speech_name=f"the corpus “{PurePath(str(corpus['path'])).name}”"
        if corpus.get("path")
        else "this speech",
        notices=_notices(run),
        model=_model_facts(model),
        speech=_speech_facts(corpus),
        rates=tuple(
            rate
            for rate in (
                _rate("Letter error", corpus.get("letter_error"), "reference characters"),
                _rate("Word error", corpus.get("word_error"), "reference words"),
            )
            if rate is not None
        ),
        speakers=_speakers(corpus),
        findings=tuple(finding for finding in run.findings if finding.get("sentence")),
        skipped=tuple((row.get("item", ""), row.get("reason", "")) for row in run.skipped[:200]),
        skipped_more=max(len(run.skipped) - 200, 0),
        command=command_line([str(word) for word in run.part.get("argv", ())]),
        made=_made(run),
        files=tuple(
            File(name, _size((run.folder / name).stat().st_size), holds)
            for name, holds in HOLDS.items()
            if (run.folder / name).is_file()
        ),
    )


def _notices(run: Run) -> tuple[str, ...]:
    """What a reader must know before anything else; the corpus and the recogniser in one first line."""
    first, notices = [], []
    corpus = run.corpus
    if corpus.get("synthetic"):
        first.append("The voices in this report are synthetic: no person speaks in this corpus.")
    error, where = model_error(run)
    if error > WEAK:
        first.append(
            f"The recogniser is a weak one: its letter error is {percent(error)} {where}, above "
            f"{percent(WEAK, 0)}. What is shown is what this recogniser does, not what a good one would."
        )
    if run.part.get("complete") is False:
        notices.append("The run was stopped before it was complete; the same command goes on with it.")
    return (*((" ".join(first),) if first else ()), *notices)


def model_error(run: Run) -> tuple[float, str]:
    """The recogniser's letter error and where it was measured: its held-out figure, else this corpus's."""
    training = run.model.get("training") or {}
    for key, where in (("test_error", "on test speakers"), ("error", "on its development speakers")):
        if np.isfinite(number(training.get(key))):
            return number(training[key]), where
    return number((run.corpus.get("letter_error") or {}).get("rate")), "on this corpus"


def _model_facts(model: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    network, training, features = (model.get(key) or {} for key in ("network", "training", "features"))
    facts = []
    if model.get("path"):
        path = PurePath(str(model["path"]))
        facts.append(
            ("Checkpoint", f"{path.name}, comes with the package" if model.get("bundled") else str(path))
        )
    if network:
        widths = f"{network.get('narrow')} and {network.get('wide')} channels, {network.get('activation')}"
        facts.append(("Network", f"Wav2Letter, {widths}"))
    if np.isfinite(number(model.get("parameters"))):
        facts.append(("Parameters", f"{number(model['parameters']) / 1e6:.1f} million"))
    if features:
        facts.append(
            ("Input", f"{features.get('mels')} Mel bands, log, z-normalised per {features.get('normalise')}")
        )
    if training:
        hours, updates = number(training.get("hours")), number(training.get("updates"))
        parts = [f"{fixed(hours, 1)} hours of speech" if np.isfinite(hours) else ""]
        parts.append(f"{updates:,.0f} updates" if np.isfinite(updates) else "")
        facts.append(("Trained on", ", ".join(part for part in parts if part) or "not recorded"))
    return tuple(facts)


def _speech_facts(corpus: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = [("Corpus", str(corpus["path"]))] if corpus.get("path") else []
    if np.isfinite(number(corpus.get("utterances"))):
        amount = (
            f"{counted(number(corpus['utterances']), 'utterance')}, {duration(number(corpus.get('seconds')))}"
        )
        facts.append(("Speech", f"{amount}, {counted(number(corpus.get('speakers')), 'speaker')}"))
    if np.isfinite(number(corpus.get("skipped"))):
        facts.append(("Skipped", counted(number(corpus["skipped"]), "item")))
    if isinstance(corpus.get("phones"), Mapping):
        facts.append(("Phones", _phones_fact(corpus["phones"])))
    return tuple(facts)


def _phones_fact(phones: Mapping[str, Any]) -> str:
    """Which alignment the phones come from, how many there are and how many words' phones are guesses."""
    source = phones.get("source")
    if not source:
        return "no phone alignments: letters only"
    amount = (
        f"{counted(number(phones.get('phones')), 'phone')} in "
        f"{counted(number(phones.get('utterances')), 'utterance')}"
    )
    missing = number(phones.get("missing"))
    without = f", none for {counted(missing, 'utterance')}" if missing > 0 else ""
    if source != "PocketSphinx":
        return f"{source}, {phones.get('place')}; {amount}{without}"
    own = [f"aligned by PocketSphinx {phones.get('version')}; {amount}{without}"]
    if np.isfinite(shift := number(phones.get("shifted_seconds"))):
        own.append(f"boundaries moved {1000 * shift:.0f} ms later, by which it is known to be early")
    pronunciations = phones.get("pronunciations") or {}
    guesses = ", ".join(
        f"{number(pronunciations.get(name)):,.0f} by {said}"
        for name, said in GUESSED_BY.items()
        if number(pronunciations.get(name)) > 0
    )
    if guesses:
        share = percent(number(phones.get("guessed_share")))
        own.append(f"{share} of the spoken words are not in its dictionary: pronounced {guesses}")
    return "; ".join(own)


def _rate(name: str, found: Any, unit: str) -> Rate | None:
    if not isinstance(found, Mapping) or not np.isfinite(number(found.get("rate"))):
        return None
    basis = f"{number(found.get('edits')):,.0f} edits over {number(found.get('length')):,.0f} {unit}"
    over = f"; 95\N{NO-BREAK SPACE}% bootstrap over {found['over']}" if found.get("over") else ""
    return Rate(
        name,
        percent(number(found["rate"])),
        percent_range(number(found.get("low")), number(found.get("high"))),
        basis + over,
    )


def _speakers(corpus: Mapping[str, Any]) -> WhiskerChart | None:
    sexes = {"F": "woman", "M": "man"}
    rows = []
    for found in corpus.get("per_speaker") or []:
        name = str(found.get("speaker") or "unnamed")
        sex = sexes.get(str(found.get("sex") or ""), "")
        rows.append(
            Whisker(
                f"{name} ({sex})" if sex and sex != name else name,
                number(found.get("letter_error")),
                number(found.get("low")),
                number(found.get("high")),
                int(np.nan_to_num(number(found.get("utterances")))),
            )
        )
    return whiskers(rows, percent, lambda value: percent(value, 0), reference=0.0) if rows else None


def command_line(argv: Sequence[str]) -> str:
    """The command as it is typed: the program by its name, wherever it was installed, words quoted."""
    if not argv:
        return ""
    name = PurePath(argv[0]).name
    program = ["python", "-m", "asr_introspect"] if name == "__main__.py" else [name]
    return shlex.join([*program, *argv[1:]])


def _made(run: Run) -> tuple[tuple[str, str], ...]:
    part = run.part
    facts = [("Seed", str(part.get("seed", "")))]
    if part.get("revision"):
        facts.append(("Code revision", str(part["revision"])))
    versions = part.get("versions") or {}
    facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    for name, value in (run.record.get("identity") or {}).items():
        facts.append((f"{str(name).capitalize()} SHA-256", str(value)))
    settings = part.get("settings") or {}
    facts.append(
        (
            "Settings",
            ", ".join(f"{name} {_plain(value)}" for name, value in settings.items() if name != "seed"),
        )
    )
    return tuple((name, text) for name, text in facts if text)


def _plain(value: Any) -> str:
    """A setting in words."""
    if value is None:
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(count / 1e3, 0.1):.1f} kB"
