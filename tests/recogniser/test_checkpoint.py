"""Checkpoints: what comes back, and what each kind of bad file says."""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from asr_introspect.errors import IntrospectError
from asr_introspect.features import FeatureConfig
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.checkpoint import HEADER, load_model, read_header, save_model
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter
from asr_introspect.recogniser.symbols import SymbolTable, letters

CONFIG = NetworkConfig(mels=16, narrow=6, wide=8)
FEATURES = FeatureConfig(mels=16, normalise="utterance")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good checkpoint."""
    net = Wav2Letter(CONFIG, 29)
    net.initialise(torch_generator(0, "checkpoint"))
    bounds = (np.linspace(-3, -2, 16), np.linspace(2, 3, 16))
    where = tmp_path / "model.safetensors"
    save_model(where, net.state_dict(), CONFIG, FEATURES, letters(), bounds, {"epochs": 3, "seed": 1})
    return where


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Writes the checkpoint again with its header and its tensors changed."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    tensors = safetensors.torch.load_file(path)
    change(header, tensors)
    safetensors.torch.save_file(tensors, path, metadata={HEADER: json.dumps(header)})


def test_what_was_saved_comes_back(path: Path) -> None:
    found = load_model(path)
    assert found.network.config == CONFIG
    assert found.features == FEATURES
    assert found.symbols == letters()
    assert found.training == {"epochs": 3, "seed": 1}
    assert found.bounds is not None
    assert np.allclose(found.bounds, (np.linspace(-3, -2, 16), np.linspace(2, 3, 16)), atol=1e-4)
    assert not found.network.training
    assert all(parameter.dtype == torch.float32 for parameter in found.network.parameters())
    net = Wav2Letter(CONFIG, 29)
    net.initialise(torch_generator(0, "checkpoint"))
    for name, stored in found.network.state_dict().items():
        original = net.state_dict()[name].float()
        # Weights pass through float16, which has 11 significant bits.
        exact = original.half().float() if ".convolution." in name else original
        assert torch.equal(stored.float(), exact), name


def test_weights_are_float16_and_norms_float32(path: Path) -> None:
    for name, tensor in safetensors.torch.load_file(path).items():
        assert tensor.dtype == (torch.float16 if ".convolution." in name else torch.float32), name


def test_the_header_holds_all_that_was_decided(path: Path) -> None:
    header = read_header(path)
    assert set(header) == {"format", "network", "features", "symbols", "bounds", "training", "revision"}
    assert header["features"] == asdict(FEATURES)


def test_others_may_read_it_as_any_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_time_map(path: Path) -> None:
    found = load_model(path)
    assert found.step_time(0) == pytest.approx(0.015)
    assert found.step_time(np.array([100])) == pytest.approx([2.015])
    assert found.step_span(3, 5, 10.0) == pytest.approx((0.065, 0.125))
    assert found.step_span(3, 5, 0.1) == pytest.approx((0.065, 0.1))


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def truncated_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickled(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


class Harmful:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/asr-introspect-was-fooled"),))


def harmful(path: Path) -> None:
    path.write_bytes(pickle.dumps(Harmful()))


def text(path: Path) -> None:
    path.write_text("not a checkpoint")


def foreign(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)


def foreign_header(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, metadata={HEADER: "[1, 2]"})


def newer(path: Path) -> None:
    rewrite(path, lambda header, _: header.update(format=2))


def other_architecture(path: Path) -> None:
    rewrite(path, lambda header, _: header["network"].update(wide=9))


def missing_weight(path: Path) -> None:
    rewrite(path, lambda _, tensors: tensors.__delitem__("layer3.convolution.weight"))


def unknown_weight(path: Path) -> None:
    rewrite(path, lambda _, tensors: tensors.update({"layer13.convolution.weight": torch.zeros(2)}))


def other_symbols(path: Path) -> None:
    rewrite(path, lambda header, _: header["symbols"]["symbols"].append("Ä"))


def symbols_twice(path: Path) -> None:
    rewrite(path, lambda header, _: header["symbols"]["symbols"].__setitem__(3, "B"))


def blank_outside(path: Path) -> None:
    rewrite(path, lambda header, _: header["symbols"].update(blank=29))


def not_finite(path: Path) -> None:
    rewrite(path, lambda _, tensors: tensors["layer5.convolution.weight"].view(-1)[0].fill_(float("nan")))


def negative_variance(path: Path) -> None:
    rewrite(path, lambda _, tensors: tensors["layer2.normalisation.running_var"].fill_(-1.0))


def unknown_setting(path: Path) -> None:
    rewrite(path, lambda header, _: header["network"].update(heads=4))


def unknown_activation(path: Path) -> None:
    rewrite(path, lambda header, _: header["network"].update(activation="sine"))


def text_for_a_number(path: Path) -> None:
    rewrite(path, lambda header, _: header["network"].update(wide="many"))


def other_mels(path: Path) -> None:
    rewrite(path, lambda header, _: (header["features"].update(mels=40), header.update(bounds=None)))


def enormous(path: Path) -> None:
    rewrite(path, lambda header, _: header["network"].update(wide=10**7))


def unknown_normalisation(path: Path) -> None:
    rewrite(path, lambda header, _: header["features"].update(normalise="speaker"))


def short_bounds(path: Path) -> None:
    rewrite(path, lambda header, _: header.update(bounds=[[0.0], [1.0]]))


def no_network(path: Path) -> None:
    rewrite(path, lambda header, _: header.__delitem__("network"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no checkpoint at"),
        (folder, "no checkpoint at"),
        (truncated, "not a whole safetensors file"),
        (truncated_header, "not a whole safetensors file"),
        (empty, "not a whole safetensors file"),
        (pickled, "not a whole safetensors file"),
        (harmful, "not a whole safetensors file"),
        (text, "not a whole safetensors file"),
        (foreign, "not a checkpoint of asr-introspect"),
        (foreign_header, "not a checkpoint of asr-introspect"),
        (newer, "written by a newer asr-introspect"),
        (other_architecture, "of another architecture: layer10.convolution.weight is"),
        (missing_weight, "of another architecture: layer3.convolution.weight is missing"),
        (unknown_weight, "of another architecture: layer13.convolution.weight is not part of it"),
        (other_symbols, "names 30 symbols, its network has 29 classes"),
        (symbols_twice, "its header does not describe a recogniser: .*twice"),
        (blank_outside, "its header does not describe a recogniser: .*blank"),
        (not_finite, "layer5.convolution.weight holds values that are not finite"),
        (negative_variance, "layer2.normalisation.running_var holds negative variances"),
        (unknown_setting, "its header does not describe a recogniser: unknown settings heads"),
        (unknown_activation, "its header does not describe a recogniser: .*sine"),
        (text_for_a_number, "its header does not describe a recogniser"),
        (other_mels, "its features have 40 Mel bins, its network reads 16"),
        (short_bounds, "its header does not describe a recogniser: .*bounds"),
        (enormous, "of another architecture"),
        (unknown_normalisation, "its header does not describe a recogniser: .*speaker"),
        (no_network, "its header does not describe a recogniser"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(path: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(path)
    with pytest.raises(IntrospectError, match=said) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/asr-introspect-was-fooled").exists()


def test_a_table_that_is_not_letters_is_kept(tmp_path: Path) -> None:
    table = SymbolTable(("AA", "<blank>", "B"), blank=1)
    net = Wav2Letter(CONFIG, 3)
    save_model(tmp_path / "p.safetensors", net.state_dict(), CONFIG, FEATURES, table, None, {})
    found = load_model(tmp_path / "p.safetensors")
    assert found.symbols == table
    assert found.bounds is None


def test_an_unwritable_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IntrospectError, match="cannot write"):
        save_model(
            tmp_path / "file" / "m.safetensors",
            Wav2Letter(CONFIG, 29).state_dict(),
            CONFIG,
            FEATURES,
            letters(),
            None,
            {},
        )
