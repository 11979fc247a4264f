"""The report as text: the same findings and tables, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from asr_introspect.reporting.charts import WhiskerChart
from asr_introspect.reporting.page import Views

MISSING = "This run does not hold this part; report.html says how to get it."


def render_text(seen: Views) -> str:
    """``report.md``: notices, findings, error rates, lags, patterns, evidence of clusters, provenance.

    What comes from the run is escaped, so that no name becomes markup.
    """
    parts = [
        _top(seen),
        _errors(seen),
        _utterance(seen),
        _timing(seen),
        _patterns(seen),
        _clusters(seen),
        _splits(seen),
        _made(seen),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", plain)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, cells escaped; "" without rows."""
    lines = ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(header) + " |", "|" + " --- |" * len(header), *lines])


def _top(seen: Views) -> str:
    notices = "\n\n".join(f"> {escaped(notice)}" for notice in seen.summary.notices)
    findings = "\n".join(
        f"{i}. {escaped(str(finding['sentence']))}" for i, finding in enumerate(seen.summary.findings, 1)
    )
    facts = table(("", ""), (*seen.summary.model, *seen.summary.speech))
    return f"{notices}\n\n# {escaped(seen.summary.title)}\n\n{facts}\n\n## Findings\n\n{findings or MISSING}"


def _errors(seen: Views) -> str:
    rates = table(
        ("", "rate", "95 % interval", "basis"),
        ((r.name, r.rate, r.interval, r.basis) for r in seen.summary.rates),
    )
    speakers = _chart(seen.summary.speakers, "speaker", "letter error") if seen.summary.speakers else ""
    return f"## Errors\n\n{rates or MISSING}\n\n{speakers}"


def _chart(chart: WhiskerChart, what: str, value: str) -> str:
    return table(
        (what, value, "95 % interval", "n"), ((r.name, r.text, r.interval, r.count) for r in chart.rows)
    )


def _utterance(seen: Views) -> str:
    u = seen.utterance
    if u is None:
        return f"## One utterance\n\n{MISSING}"
    rows = ((t.name, f"{t.seconds:.3f}", t.verdict, t.score, t.offset) for t in u.letters)
    words = table(
        ("", ""),
        (("utterance", u.name), ("reference", u.reference), ("heard", u.hypothesis), ("rule", u.rule)),
    )
    header = (
        "letter",
        "time, s",
        "right?",
        "score above the mean of the others",
        "found, from the step's centre",
    )
    kept = (
        "layer",
        "rule",
        "came from above",
        "stayed in biases",
        "in stabilisers",
        "went on",
        "stayed, of score",
    )
    return f"## One utterance\n\n{words}\n\n{table(header, rows)}\n\n{table(kept, u.ledger)}"


def _timing(seen: Views) -> str:
    t = seen.timing
    if t is None:
        return f"## Timing\n\n{MISSING}"
    rows = table(
        ("letter placed by", "n", "median lag", "95 % interval", "mean", "spread, ms"),
        ((r.what, r.count, r.median, r.interval, r.mean, r.spread) for r in t.rows),
    )
    histograms = "\n".join(
        f"- Offsets by {escaped(h.method)}, {escaped(h.layer)}: {escaped(h.summary)}." for h in t.histograms
    )
    letters = "\n\n".join(
        f"### {escaped(name)}\n\n{_chart(chart, 'letter', 'median')}" for name, chart in t.per_letter
    )
    header = (
        *("letter placed by", "variance explained, %", "points over the step itself", "less noise, %"),
        *("by the mean of all letters", "correlation", "lag", "spread, ms", "unseen"),
    )
    methods = "\n\n".join(
        f"### Alignment at {escaped(m.layer)}\n\n{escaped(m.verdict)}\n\n{table(header, m.rows)}"
        for m in t.methods
    )
    methods += f"\n\n{escaped(t.rests_on)}." if t.methods else ""
    what = f"A lag is the time of a rightly heard letter minus {t.sound}; positive: the letter comes after."
    return f"## Timing\n\n{what}\n\n{rows}\n\n{histograms}\n\n{methods}\n\n{letters}"


def _patterns(seen: Views) -> str:
    if not seen.patterns:
        return f"## Letter patterns\n\n{MISSING}"
    header = ("", "n", "strongest within ±200 ms", "cells beyond chance", "average over pattern")
    layers = ("layer", "average over pattern, median", "smallest", "largest", "n")
    parts = ["## Letter patterns"]
    for p in seen.patterns:
        rows = (
            (t.name, f"{t.count:,}" + (" (few)" if t.few else ""), t.strongest, t.share or "–", t.ratio)
            for t in p.letters
        )
        parts += [f"### {escaped(p.title.capitalize())}", table(header, rows)]
        if p.errors_missing:
            parts.append(f"No standard errors: {escaped(p.errors_missing)}.")
        if p.left_out:
            parts.append(f"Too rare: {escaped(', '.join(p.left_out))}.")
        parts.append(table(layers, p.overshadowing))
    return "\n\n".join(part for part in parts if part)


def _clusters(seen: Views) -> str:
    c = seen.clusters
    if c is None:
        return f"## Clusters\n\n{MISSING}"
    curves = "\n\n".join(f"### {escaped(curve.title)}\n\n{table(c.header, curve.rows)}" for curve in c.curves)
    return f"## Clusters\n\n{escaped(c.metric)} distance, {escaped(c.linkage)} linkage.\n\n{curves}"


def _splits(seen: Views) -> str:
    parts = []
    for s in seen.splits:
        header = ("layer", s.same_group, "95 % interval", "null, 95 %", "p", s.same_part, "95 % interval")
        pairs = table(("", "part", "part", *s.pair_layers), s.pairs)
        parts.append(
            f"### {escaped(s.title)}\n\n{table(header, s.rows)}\n\n{pairs}\n\n{escaped(s.rests_on)}."
        )
    what = "Squared distances as a share of those of what shares neither group nor part."
    return "\n\n".join(["## Parts of letters and phonemes", what, *parts]) if parts else ""


def _made(seen: Views) -> str:
    s = seen.summary
    skipped = table(("item", "reason"), s.skipped) or "Nothing."
    files = table(("file", "size", "holds"), ((f.name, f.size, f.holds) for f in s.files))
    command = "    " + s.command.replace("\n", " ") if s.command else ""
    made = table(("", ""), s.made)
    return f"## Skipped\n\n{skipped}\n\n## How this was made\n\n{command}\n\n{made}\n\n{files}"
