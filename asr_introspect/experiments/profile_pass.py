"""The one streaming pass over a corpus: forward, instances, offsets, moments; flat memory, resumable.

The corpus is cut into slices from its list of utterances alone. What a slice gives (rows of tables, moments)
does not depend on other slices; after each one its rows and the moments of all slices so far, merged in
order, are written to ``work/``. A run that was stopped goes on after the last whole slice and ends with the
same bits.

``pass_plan`` says what is computed, ``pass_labels`` which instances a batch holds, ``pass_sums`` what is
added up, ``pass_rows`` and ``pass_sketches`` what is kept of each utterance and instance.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from asr_introspect.corpus.records import Skipped
from asr_introspect.experiments.pass_labels import Labelling
from asr_introspect.experiments.pass_plan import Pass
from asr_introspect.experiments.pass_rows import Rows, read_rows, write_rows
from asr_introspect.experiments.pass_sketches import SliceSketches, slice_file
from asr_introspect.experiments.pass_sums import SliceSums, merge_into, slices_done
from asr_introspect.progress import say
from asr_introspect.recogniser.passes import forward_pass


def streamed(plan: Pass, work: Path) -> Iterator[tuple[int, Rows]]:
    """Runs the slices that are not done, and yields (slice, its rows) for every slice in order.

    When it is through, ``work/moments.h5`` holds the moments of the whole corpus.
    """
    done = slices_done(work)
    if done:
        say(f"going on after slice {done} of {len(plan.own)}")
    for position, number in enumerate(plan.own):
        if position < done:
            yield number, read_rows(plan, work, number)
            continue
        rows, found, sketches = run_slice(plan, plan.slices[number])
        write_rows(work, number, rows)
        if sketches is not None:
            sketches.write(slice_file(work, number))
        merge_into(plan, work, found, position + 1)
        yield number, rows


def run_slice(plan: Pass, places: range) -> tuple[Rows, SliceSums, SliceSketches | None]:
    """One slice: its rows, its sums and, where wanted, its sketches."""
    skipped: list[Skipped] = []
    labelling, sums = Labelling(plan, places), SliceSums(plan)
    sketches = None if plan.sketch_seed is None else SliceSketches(plan)
    for forward in forward_pass(
        plan.recogniser,
        [plan.utterances[place] for place in places],
        layers=tuple(plan.layout),
        batch_seconds=plan.batch_seconds,
        spectrograms=None if plan.spectrograms is None else functools.partial(_of_slice, plan, places),
        skipped=skipped,
        what=f"introspect {places.start + 1:,} to {places.stop:,} of {len(plan.utterances):,}",
    ):
        windows = labelling.add(forward)
        sums.add(forward, windows)
        if sketches is not None:
            sketches.add(forward, [places[position] for position in forward.positions], windows)
    return labelling.rows(skipped), sums, sketches


def _of_slice(plan: Pass, places: range, position: int) -> Tensor:
    assert plan.spectrograms is not None
    return plan.spectrograms(places[position])
