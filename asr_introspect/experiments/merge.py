"""Makes one run of the shards of a corpus."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.experiments.gathered import Draws
from asr_introspect.experiments.introspect import Introspection, introspect
from asr_introspect.experiments.pass_sums import slices_done
from asr_introspect.files import locked, read_json, write_json, writing
from asr_introspect.introspection.cones import Cone
from asr_introspect.introspection.moments import merge as merge_moments
from asr_introspect.introspection.profiles import keys_in, read_exact, write_moments

PART = "introspect"


def merge(out: Path | str, parts: Sequence[Path | str], *, overwrite: bool = False) -> Introspection:
    """One run of the folders that ``introspect`` wrote for shards 1/n to n/n of a corpus.

    Moments are merged in the order of the shards, whatever the order in which they are given, and equal those
    of one pass over the whole to 1e-12; tables are the same. Everything after the pass is then computed: the
    checkpoint and the corpus must lie where the shards found them.

    Parameters
    ----------
    out
        The new run folder.
    overwrite
        Replace what the folder holds.

    Raises
    ------
    UsageError
        No parts are given.
    IntrospectError
        A part is not a finished shard, parts are of different runs or settings, one is missing or there
        twice;
        ``out`` holds a run already.
    """
    if not parts:
        raise UsageError("there is nothing to merge: name the folders of all shards")
    folder = Path(out)
    if (folder / "run.json").exists() and not overwrite:
        raise IntrospectError(f"{folder} holds a run already; name another folder, or add --overwrite")
    shards = _ordered([Path(part) for part in parts])
    identity, settings = shards[0][1], {**shards[0][2], "shard": None}
    with locked(folder):
        work = folder / "work"
        if work.exists():
            shutil.rmtree(work)
        (work / "slices").mkdir(parents=True)
        (work / "sketches").mkdir()
        for place, _, _ in shards:
            for rows in sorted((place / "work" / "slices").glob("*.*")):
                shutil.copyfile(rows, work / "slices" / rows.name)
            for sketches in sorted((place / "work" / "sketches").glob("*.h5")):
                shutil.copyfile(sketches, work / "sketches" / sketches.name)
        _merge_moments(work, [place / "work" for place, _, _ in shards])
        write_json(work / "plan.json", {"identity": identity, "settings": settings})
    if settings["checkpoint"] is None or settings["corpus"] is None:
        raise IntrospectError("shards of a recogniser or corpus that lay in memory only cannot be merged")
    return introspect(
        settings["corpus"],
        settings["checkpoint"],
        folder,
        alignments=settings["alignments"],
        device=settings["device"].partition(":")[0],
        seed=settings["seed"],
        max_utterances=settings["max_utterances"],
        splits=settings["splits"],
        labels=settings["labels"],
        tables=list(settings["tables"]),
        sketches=settings["sketches"],
        control=settings["control"],
        weights=settings["weights"],
        reductions=settings["reductions"],
        draws=Draws(**settings["draws"]),
        overwrite=overwrite,
    )


def _ordered(parts: Sequence[Path]) -> list[tuple[Path, dict[str, str], dict[str, Any]]]:
    """The parts in the order of their shards, with the identity and the settings that they share."""
    found = []
    for part in parts:
        record = read_json(part / "run.json")
        try:
            own = record["parts"][PART]
            identity, settings, complete = record["identity"], own["settings"], own["complete"]
            shard = settings["shard"]
        except (KeyError, TypeError) as error:
            raise IntrospectError(f"{part} is not a run of introspect") from error
        if shard is None:
            raise IntrospectError(f"{part} is not a shard: it was made without --shard")
        if not complete:
            raise IntrospectError(f"{part} is not finished; run its introspect again")
        found.append((part, identity, settings))
    first = found[0]
    for part, identity, settings in found[1:]:
        if identity != first[1]:
            raise IntrospectError(f"{part} is of another checkpoint or corpus than {first[0]}")
        names = [n for n in settings if n != "shard" and settings[n] != first[2].get(n)]
        if names:
            raise IntrospectError(f"{part} has other settings than {first[0]} ({', '.join(sorted(names))})")
    found.sort(key=lambda each: each[2]["shard"])
    of = first[2]["shard"][1]
    numbers = [tuple(each[2]["shard"]) for each in found]
    wanted = [(number, of) for number in range(1, of + 1)]
    if numbers != wanted:
        given = ", ".join(f"{number}/{total}" for number, total in numbers)
        raise IntrospectError(f"all shards 1/{of} to {of}/{of} are needed, each once; given are {given}")
    return found


def _merge_moments(work: Path, parts: Sequence[Path]) -> None:
    """``work/moments.h5`` of all parts, a layer at a time; a shard without slices has none."""
    with contextlib.ExitStack() as opened:
        having = [part for part in parts if (part / "moments.h5").exists()]
        files = [opened.enter_context(h5py.File(part / "moments.h5", "r")) for part in having]
        temporary = opened.enter_context(writing(work / "moments.h5"))
        merged = opened.enter_context(h5py.File(temporary, "w"))
        merged.attrs["slices"] = sum(slices_done(part) for part in having)
        places = {(key, layer): None for file in files for key in keys_in(file) for layer in file[key.path]}
        for key, layer in places:
            own = [file for file in files if f"{key.path}/{layer}" in file]
            attributes = own[0][key.path][layer].attrs
            first = int(attributes["first_position"])
            found = functools.reduce(merge_moments, (read_exact(file, key, layer) for file in own))
            cone = Cone(
                layer,
                int(attributes["position_stride"]),
                first,
                found.mean.shape[2],
                int(attributes["position_frames"]),
                0.0,
            )
            write_moments(merged, key, cone, found, exact=True, step_frames=int(attributes["step_frames"]))
