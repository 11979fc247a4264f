"""Checkpoints: one safetensors file with everything that is needed to use a recogniser, and no code in it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from asr_introspect.errors import IntrospectError, UsageError
from asr_introspect.features import FeatureConfig
from asr_introspect.files import revision, writing
from asr_introspect.recogniser.network import LAYERS, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.symbols import SymbolTable

HEADER = "asr_introspect"
FORMAT = 1

Config = TypeVar("Config", FeatureConfig, NetworkConfig)


@dataclass(frozen=True)
class Recogniser:
    """A network with what is needed to use it.

    Parameters
    ----------
    network
        In eval mode.
    features
        How waveforms become its inputs.
    symbols
        What its classes stand for.
    bounds
        Per Mel bin the 0.1 and the 99.9 % quantile of the training features, two arrays ``(F,)``, or None.
    training
        The record of how it was trained.
    """

    network: Wav2Letter
    features: FeatureConfig
    symbols: SymbolTable
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = LAYERS
    step_frames: int = 2

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    def step_time(self, step: int | np.ndarray) -> Any:
        """Seconds to the centre of the receptive field of an output step, ``(2i + 1.5) * 10 ms``.

        Step ``i`` sees frames ``2i - 101`` to ``2i + 104``, whose centre is frame ``2i + 1.5``.
        """
        return (self.step_frames * step + 1.5) * self.features.frame_seconds

    def step_span(self, first: int, last: int, duration: float) -> tuple[float, float]:
        """Start and end in seconds of steps ``first`` to ``last``, clipped to the utterance.

        Steps a to b span ``[(2a + 0.5), (2b + 2.5)) * 10 ms``.
        """
        frame = self.features.frame_seconds
        start = (self.step_frames * first + 0.5) * frame
        end = (self.step_frames * last + 2.5) * frame
        return min(max(start, 0.0), duration), min(max(end, 0.0), duration)


def save_model(
    path: Path | str,
    state: Mapping[str, Tensor],
    network: NetworkConfig,
    features: FeatureConfig,
    symbols: SymbolTable,
    bounds: tuple[np.ndarray, np.ndarray] | None,
    training: Mapping[str, Any],
) -> None:
    """Writes a checkpoint atomically: weights in float16, batch norm in float32, the rest in the header."""
    header = {
        "format": FORMAT,
        "network": dataclasses.asdict(network),
        "features": dataclasses.asdict(features),
        "symbols": {"symbols": list(symbols.symbols), "blank": symbols.blank},
        "bounds": None if bounds is None else [[round(float(v), 4) for v in side] for side in bounds],
        "training": dict(training),
        "revision": revision(),
    }
    stored = {
        name: (tensor.half() if ".convolution." in name else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    with writing(path) as temporary:
        # save_file would make a file that nobody else may read.
        temporary.write_bytes(safetensors.torch.save(stored, metadata={HEADER: json.dumps(header)}))


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a checkpoint: format, network, features, symbols, bounds, training, revision.

    Raises
    ------
    IntrospectError
        The file is missing, truncated, not safetensors, foreign or newer; one line that names it.
    """
    path = Path(path)
    if not path.is_file():
        raise IntrospectError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(os.fspath(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise IntrospectError(f"{path} is not a whole safetensors file: {error}") from error
    try:
        header = json.loads(metadata[HEADER])
        newer = int(header["format"]) > FORMAT
    except (KeyError, ValueError, TypeError) as error:
        raise IntrospectError(f"{path} is not a checkpoint of asr-introspect (no valid header)") from error
    if newer:
        raise IntrospectError(f"{path} was written by a newer asr-introspect; update to read it")
    assert isinstance(header, dict)
    return header


def load_model(path: Path | str, device: str | torch.device = "cpu") -> Recogniser:
    """The recogniser of a checkpoint, in eval mode, float32, on ``device``.

    Raises
    ------
    IntrospectError
        The file is missing, truncated, foreign, newer, of another architecture than its header says, its
        symbol table does not fit, or a weight is not finite.
    """
    path = Path(path)
    header = read_header(path)
    try:
        config = _config(NetworkConfig, header["network"])
        features = _config(FeatureConfig, header["features"])
        symbols = SymbolTable(tuple(header["symbols"]["symbols"]), int(header["symbols"]["blank"]))
        bounds = _bounds(header.get("bounds"), features.mels)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, UsageError) as error:
        raise IntrospectError(f"{path}: its header does not describe a recogniser: {error}") from error
    state = safetensors.torch.load_file(path)
    _check(state, config, features, symbols, path)
    network = Wav2Letter(config, len(symbols))
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    return Recogniser(network.to(device).eval(), features, symbols, bounds, header.get("training") or {})


def _config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The settings of a header, each of the type of its default."""
    known = {entry.name: entry.default for entry in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}")
    for name, value in values.items():
        wanted = (int, float) if isinstance(known[name], float) else type(known[name])
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


def _bounds(values: Any, mels: int) -> tuple[np.ndarray, np.ndarray] | None:
    if values is None:
        return None
    low, high = (np.asarray(side, dtype=np.float64) for side in values)
    if low.shape != (mels,) or high.shape != (mels,):
        raise ValueError(f"bounds are given for {low.size} and {high.size} Mel bins of {mels}")
    return low, high


def _check(
    state: Mapping[str, Tensor],
    config: NetworkConfig,
    features: FeatureConfig,
    symbols: SymbolTable,
    path: Path,
) -> None:
    """Says what of the stored weights does not fit the header or is no number."""
    if features.mels != config.mels:
        raise IntrospectError(
            f"{path}: its features have {features.mels} Mel bins, its network reads {config.mels}"
        )
    last = state.get(f"{LAYERS[-1]}.convolution.weight")
    if last is not None and len(last) != len(symbols):
        raise IntrospectError(
            f"{path}: its table names {len(symbols)} symbols, its network has {len(last)} classes"
        )
    with torch.device("meta"):  # shapes without memory, whatever the header claims
        fitting = Wav2Letter(config, len(symbols)).state_dict().items()
    shapes = {name: tuple(each.shape) for name, each in fitting if not name.endswith("num_batches_tracked")}
    for name in [*shapes, *sorted(set(state) - set(shapes))]:
        found = tuple(state[name].shape) if name in state else None
        if found != shapes.get(name):
            said = "is missing" if found is None else f"is {found}, not {shapes.get(name)}"
            said = said if name in shapes else "is not part of it"
            raise IntrospectError(f"{path} is of another architecture: {name} {said}")
        if not bool(torch.isfinite(state[name]).all()):
            raise IntrospectError(f"{path}: {name} holds values that are not finite")
        if name.endswith("running_var") and bool((state[name] < 0).any()):
            raise IntrospectError(f"{path}: {name} holds negative variances")
