"""``profiles.h5``: mean and variance of every group at every layer, from the moments of the pass."""

from __future__ import annotations

import h5py

from asr_introspect.experiments.gathered import Gathered
from asr_introspect.experiments.pass_sums import merged_moments
from asr_introspect.files import writing
from asr_introspect.introspection.findings import Finding
from asr_introspect.introspection.profiles import write_moments


def part(gathered: Gathered) -> list[Finding]:
    """Writes ``profiles.h5``, a layer at a time."""
    plan = gathered.plan
    steps = plan.recogniser.step_frames
    with writing(gathered.folder / "profiles.h5") as temporary, h5py.File(temporary, "w") as file:
        for key, layer, moments in merged_moments(plan, gathered.work):
            write_moments(file, key, plan.layout[layer], moments, step_frames=steps)
    return []
