"""All forms against torch's own convolution: values, gradients, transposes, kept weights, the rule."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_introspect.convolution import (
    Convolution1d,
    Padding1d,
    choice,
    convolve,
    form,
    functions,
    pad,
    transpose_convolve,
    using_form,
)
from asr_introspect.convolution.blocks import Blocks, matrices
from asr_introspect.errors import UsageError

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}


def close(found: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Equal within the type's tolerance of the largest value."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    limit = TOLERANCES[expected.dtype] if tolerance is None else tolerance
    if expected.numel():
        worst = (found.detach().double() - expected.detach().double()).abs().max().item()
        assert worst <= limit * max(expected.detach().abs().max().item(), 1e-30)


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(dtype)


shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "channels": st.integers(1, 9),
        "outputs": st.integers(1, 9),
        "taps": st.integers(1, 50),
        "stride": st.integers(1, 4),
        "more": st.integers(0, 90),
        "padding": st.tuples(st.integers(0, 24), st.integers(0, 24)),
        "dtype": st.sampled_from(list(TOLERANCES)),
        "seed": st.integers(0, 2**31),
    }
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.sampled_from(["direct", "blocks", "columns", "auto"]), st.booleans(), st.booleans())
def test_value_and_gradients_are_those_of_conv1d(
    shape: dict[str, Any], name: choice.Form, biased: bool, last: bool
) -> None:
    dtype, seed, stride = shape["dtype"], shape["seed"], shape["stride"]
    frames = max(1, shape["taps"] + shape["more"] - sum(shape["padding"]))
    inputs = random(seed, shape["batch"], shape["channels"], frames, dtype=dtype)
    if last:
        inputs = inputs.transpose(1, 2).contiguous().transpose(1, 2)
    weight = random(seed + 1, shape["outputs"], shape["channels"], shape["taps"], dtype=dtype)
    bias = random(seed + 2, shape["outputs"], dtype=dtype) if biased else None
    leaves = [t.requires_grad_() for t in (inputs, weight, bias) if t is not None]
    expected = F.conv1d(F.pad(inputs, shape["padding"]), weight, bias, stride)
    gradient = random(seed + 3, *expected.shape, dtype=dtype)
    with using_form(name):
        found = convolve(pad(inputs, shape["padding"]), weight, bias, stride)
        with torch.no_grad():
            kept = [convolve(pad(inputs, shape["padding"]), weight, bias, stride) for _ in range(2)]
            back = transpose_convolve(gradient, weight, stride)
    for value in (found, *kept):
        close(value, expected)
    close(back, F.conv_transpose1d(gradient, weight, stride=stride))
    pairs = zip(
        torch.autograd.grad(found, leaves, gradient),
        torch.autograd.grad(expected, leaves, gradient),
        strict=True,
    )
    for by_blocks, direct in pairs:
        close(by_blocks, direct)


def test_transforms_of_a_block_are_fourier_transforms() -> None:
    blocks = Blocks(taps=7, length=20)
    signal, weight = random(1, 20), random(2, 7)
    small = matrices(blocks, torch.float64)
    rows, expected = (small.analysis @ signal).view(10, 2), torch.fft.rfft(signal)
    close(rows[1:], torch.view_as_real(expected[1:-1]))
    close(rows[0], expected[[0, -1]].real)
    columns, expected = (
        (small.weight @ weight).view(2, 10),
        torch.fft.rfft(F.pad(weight, (0, 13))).conj().resolve_conj(),
    )
    close(columns.T[1:], torch.view_as_real(expected[1:-1]))


@pytest.mark.parametrize("name", ["blocks", "columns"])
@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_only_the_gradients_asked_for(needed: tuple[int, ...], name: choice.Form) -> None:
    tensors = [random(1, 2, 3, 40), random(2, 4, 3, 6), random(3, 4)]
    wanted = [tensors[i].requires_grad_() for i in needed]
    with using_form(name):
        found = torch.autograd.grad(convolve(*tensors).square().sum(), wanted)
    for value, expected in zip(
        found, torch.autograd.grad(F.conv1d(*tensors).square().sum(), wanted), strict=True
    ):
        close(value, expected)


@pytest.mark.parametrize("name", ["blocks", "columns"])
def test_gradient_of_the_gradient(name: choice.Form) -> None:
    inputs, weight = random(1, 1, 2, 20).requires_grad_(), random(2, 3, 2, 5).requires_grad_()
    with using_form(name):
        assert torch.autograd.gradcheck(convolve, (inputs, weight))
        assert torch.autograd.gradgradcheck(convolve, (inputs, weight))


@pytest.mark.parametrize("stride", [1, 2])
def test_in_pieces_as_in_one(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, weight, bias = random(1, 3, 4, 300), random(2, 5, 4, 8), random(3, 5)
    windows = random(4, 30, 5, 9)
    with using_form("blocks"), torch.no_grad():
        whole, back = convolve(inputs, weight, bias, stride), transpose_convolve(windows, weight, stride)
        for largest in (1, 1000, 3000, 10_000):
            monkeypatch.setattr(functions, "LARGEST_PASSING", largest)
            close(convolve(inputs, weight, bias, stride), whole)
            close(transpose_convolve(windows, weight, stride), back)


def test_kept_weights_are_dropped_when_the_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    transformed = []
    real = functions.by_blocks.spectra
    monkeypatch.setattr(functions.by_blocks, "spectra", lambda *given: transformed.append(1) or real(*given))
    inputs, weight = random(1, 1, 3, 50), nn.Parameter(random(2, 4, 3, 7))
    with using_form("blocks"), torch.no_grad():
        for _ in range(3):
            close(convolve(inputs, weight), F.conv1d(inputs, weight))
        assert len(transformed) == 1
        weight.mul_(2)
        close(convolve(inputs, weight), F.conv1d(inputs, weight))
        assert len(transformed) == 2
        weight.data = random(3, 4, 3, 7)
        close(convolve(inputs, weight), F.conv1d(inputs, weight))
        assert len(transformed) == 3
        for seed in range(20):  # weights that come and go, at the same places in memory
            passing = random(seed, 4, 3, 7)
            close(convolve(inputs, passing), F.conv1d(inputs, passing))


def test_kept_weights_are_bounded_and_go_with_their_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    functions._kept.clear()
    monkeypatch.setattr(functions, "LARGEST_KEPT", 3 * Blocks(7, 22).length * 12 * 8)
    inputs, weights = random(1, 1, 3, 50), [random(seed, 4, 3, 7) for seed in range(9)]
    with using_form("blocks"), torch.no_grad():
        for weight in weights:
            convolve(inputs, weight)
        assert [
            entry[0]() is weight for entry, weight in zip(functions._kept.values(), weights[-3:], strict=True)
        ]
        assert len(functions._kept) == 3
        del weights[:], weight
        convolve(inputs, random(9, 4, 3, 7))
    assert len(functions._kept) <= 1


def test_an_optimiser_step_is_seen_by_the_next_evaluation() -> None:
    layer = Convolution1d(3, 4, 7)
    inputs = random(1, 2, 3, 60, dtype=torch.float32)
    for fused in (False, True):
        optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
        for _ in range(3):
            with using_form("blocks"):
                with torch.no_grad():
                    close(layer(inputs), F.conv1d(inputs, layer.weight, layer.bias))
                layer(inputs).square().mean().backward()
            optimiser.step()


def test_bfloat16_is_as_near_to_float32_as_conv1d_is() -> None:
    inputs, weight = random(1, 4, 32, 200).relu(), random(2, 48, 32, 32) / 32
    exact = F.conv1d(inputs, weight)

    def error(value: Tensor) -> float:
        return ((value.double() - exact).norm() / exact.norm()).item()

    low = inputs.bfloat16(), weight.bfloat16()
    direct = error(F.conv1d(*low))
    for name in ("direct", "blocks"):
        with using_form(name):
            assert error(convolve(*low)) < 2.5 * direct
            with torch.autocast("cpu", dtype=torch.bfloat16):
                under = convolve(inputs.float(), weight.float())
            assert under.dtype == torch.bfloat16
            assert error(under) < 2.5 * direct


@pytest.mark.parametrize("name", ["direct", "blocks"])
def test_gradients_under_autocast_have_the_types_of_the_leaves(name: choice.Form) -> None:
    inputs = random(1, 2, 3, 70, dtype=torch.float32).requires_grad_()
    layer = Convolution1d(3, 4, 9)
    with using_form(name), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(inputs).float().square().sum().backward()
    low = inputs.grad, layer.weight.grad, layer.bias.grad
    inputs.grad = None
    layer.zero_grad()
    layer(inputs).square().sum().backward()
    for found, expected in zip(low, (inputs.grad, layer.weight.grad, layer.bias.grad), strict=True):
        close(found, expected, tolerance=0.05)


@pytest.mark.parametrize("name", ["direct", "blocks", "auto"])
def test_the_same_call_gives_the_same_bits(name: choice.Form) -> None:
    inputs, weight = random(1, 2, 128, 90, dtype=torch.float32), random(2, 128, 128, 7, dtype=torch.float32)
    weight.requires_grad_()
    with using_form(name):
        first, second = (torch.autograd.grad(convolve(inputs, weight).sum(), weight)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_items_do_not_meet() -> None:
    """An utterance in a batch has the values it has alone, at its borders too."""
    inputs, weight = random(1, 3, 4, 100), random(2, 5, 4, 7)
    with using_form("blocks"), torch.no_grad():
        batch = convolve(inputs, weight)
        for item in range(3):
            close(convolve(inputs[item : item + 1], weight), batch[item : item + 1])


def test_channels_last_is_kept() -> None:
    inputs = random(1, 2, 3, 50)
    for name in ("direct", "blocks"):
        with using_form(name):
            found = Convolution1d(3, 4, 7).double()(Padding1d((3, 3))(inputs))
        assert found.stride(1) == 1
        assert pad(found, (2, 1)).stride(1) == 1


def test_modules_are_those_of_torch() -> None:
    layer = Convolution1d(3, 4, 7, stride=2)
    plain = nn.Conv1d(3, 4, 7, stride=2)
    plain.load_state_dict(layer.state_dict())
    inputs = random(1, 2, 3, 50, dtype=torch.float32)
    close(layer(inputs), plain(inputs))
    assert isinstance(layer, nn.Conv1d)
    assert isinstance(Padding1d((1, 2)), nn.ConstantPad1d)
    close(copy.deepcopy(layer)(inputs), plain(inputs))
    for options in ({"padding": 2}, {"dilation": 2}, {"groups": 3, "out_channels": 6}):
        settings_ = {"in_channels": 3, "out_channels": 4, "kernel_size": 7} | options
        layer, plain = Convolution1d(**settings_), nn.Conv1d(**settings_)
        plain.load_state_dict(layer.state_dict())
        with using_form("blocks"):
            close(layer(inputs), plain(inputs))


def test_what_torch_refuses_is_refused() -> None:
    with pytest.raises(RuntimeError):
        convolve(random(1, 1, 2, 5), random(2, 3, 2, 6))
    with pytest.raises(RuntimeError):
        convolve(random(1, 1, 2, 9), random(2, 3, 4, 6))


def test_the_rule() -> None:
    layer1, kernel7, layer10 = (torch.Size(s) for s in ((256, 128, 48), (256, 256, 7), (512, 256, 32)))
    assert choice.choose(layer1, 2, torch.float32) == 56
    assert choice.choose(kernel7, 1, torch.float32) == 22
    assert choice.choose(kernel7, 1, torch.float64) is None
    assert choice.choose(layer10, 1, torch.bfloat16) == 72
    assert choice.choose(torch.Size((512, 512, 1)), 1, torch.float32) is None
    assert choice.choose(torch.Size((32, 32, 7)), 1, torch.float32) is None
    assert choice.choose_transposed(kernel7, 1, torch.Size((100, 256, 38)), torch.float32) == 44
    assert choice.choose_transposed(layer10, 1, torch.Size((100, 512, 1)), torch.float32) is None


@pytest.mark.parametrize(("units", "expected"), [(True, None), (False, 22)])
def test_short_kernels_in_bfloat16_are_direct_on_matrix_units(
    units: bool, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "has_matrix_units", lambda: units)
    assert choice.choose(torch.Size((256, 256, 7)), 1, torch.bfloat16) == expected


def test_the_form_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert form() == "auto"
    monkeypatch.setenv(choice.VARIABLE, "direct")
    assert form() == "direct"
    with using_form("blocks"):
        assert form() == "blocks"
    assert form() == "direct"
    monkeypatch.setenv(choice.VARIABLE, "block")
    with pytest.raises(UsageError, match="blocks"):
        form()
    with pytest.raises(UsageError, match="direct"), using_form("dirct"):  # type: ignore[arg-type]
        pass
