"""Recognisers for tests that need one, but none that has learnt anything."""

from __future__ import annotations

from pathlib import Path

from asr_introspect.features import FeatureConfig
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.checkpoint import Recogniser, load_model, save_model
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.symbols import SymbolTable, letters

TINY = NetworkConfig(narrow=8, wide=12)


def tiny_checkpoint(folder: Path, symbols: SymbolTable | None = None, *, seed: int = 0) -> Path:
    """A checkpoint of random weights that emits many letters."""
    table = symbols or letters()
    net = Wav2Letter(TINY, len(table))
    net.initialise(torch_generator(seed, "tiny checkpoint"))
    net.layer12.convolution.weight.data *= 50
    path = folder / "tiny.safetensors"
    save_model(path, net.state_dict(), TINY, FeatureConfig(), table, None, {})
    return path


def tiny_recogniser(folder: Path, symbols: SymbolTable | None = None) -> Recogniser:
    """:func:`tiny_checkpoint`, loaded."""
    return load_model(tiny_checkpoint(folder, symbols))
