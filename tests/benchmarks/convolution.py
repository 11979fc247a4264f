"""Both forms of the convolution beside torch's ``conv1d``, per layer and for whole networks of both presets.

``python tests/benchmarks/convolution.py`` prints one table of ratios (times faster than ``conv1d``, or than
``conv_transpose1d``), measured in turns in one run; ``--full`` adds the whole full preset. One thread's own
processor time by default, which other work on the machine hardly touches; ``--threads 2`` measures the time
that passes and wants an idle machine. ``--lengths`` prints the lengths of block that the rule was chosen
from.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_introspect.convolution import Convolution1d, convolve, functions, transpose_convolve, using_form
from asr_introspect.recogniser.network import Block, NetworkConfig, Wav2Letter
from asr_introspect.recogniser.network import MaskedBatchNorm1d as Norm

Name = TypeVar("Name", bound=Hashable)

BATCH, STEPS = 8, 350  # 56 seconds of speech
LAYERS = {  # outputs, channels, taps, stride, steps of a window at the output
    "layer 1": (256, 128, 48, 2, 80),
    "layers 2-9": (256, 256, 7, 1, 56),
    "layer 10 small": (512, 256, 32, 1, 2),
    "layer 10 full": (2048, 256, 32, 1, 2),
    "layer 11 small": (512, 512, 1, 1, 1),
    "layer 11 full": (2048, 2048, 1, 1, 1),
}
LENGTHS = {7: (12, 16, 20, 22, 24, 28, 32), 24: (48, 56, 64, 80), 32: (64, 72, 80, 96)}


def measure(calls: Mapping[Name, Callable[[], object]], repeats: int) -> dict[Name, float]:
    """The least milliseconds of each call, taken in turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    least = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            least[name] = min(least[name], 1000 * (clock() - start))
    return least


def layer(name: str, dtype: torch.dtype, repeats: int) -> None:
    """One line: forward with kept weights, each gradient alone, transposes of 100 windows."""
    outputs, channels, taps, stride, steps = LAYERS[name]
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    frames = (STEPS - 1) * stride + taps
    rows = random(BATCH, frames, channels).transpose(1, 2)
    weight, bias = (random(outputs, channels, taps) / 30), random(outputs)
    gradient, windows = random(BATCH, STEPS, outputs).transpose(1, 2), random(100, outputs, steps)

    def forward(form: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                if form == "conv1d":
                    return F.conv1d(rows_first, weight, bias, stride)
                with using_form(form):  # type: ignore[arg-type]
                    return convolve(rows, weight, bias, stride)

        return run

    def backward(by_input: bool, form: str) -> Callable[[], object]:
        plain = form == "conv1d"
        inputs = (rows_first if plain else rows).clone().requires_grad_(by_input)
        learning = weight.clone().requires_grad_(not by_input)
        if plain:
            found = F.conv1d(inputs, learning, bias, stride)
        else:
            with using_form(form):  # type: ignore[arg-type]
                found = convolve(inputs, learning, bias, stride)
        back, leaf = gradient.contiguous() if plain else gradient, inputs if by_input else learning
        return lambda: torch.autograd.grad(found, leaf, back, retain_graph=True)

    def transposed(form: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                if form == "conv1d":
                    return F.conv_transpose1d(windows, weight, stride=stride)
                with using_form(form):  # type: ignore[arg-type]
                    return transpose_convolve(windows, weight, stride)

        return run

    rows_first = rows.contiguous()
    kinds: dict[str, Callable[[str], Callable[[], object]]] = {
        "forward": forward,
        "by input": partial(backward, True),
        "by weight": partial(backward, False),
        "transposed": transposed,
    }
    cells = []
    for kind, make in kinds.items():
        if (name, kind) == ("layer 1", "by input"):  # nothing learns from the gradient by the spectrogram
            cells.append(f"{'-':>28s}")
            continue
        taken = measure({form: make(form) for form in ("conv1d", "direct", "blocks", "auto")}, repeats)
        ratios = (f"{taken['conv1d'] / taken[form]:5.2f}" for form in ("direct", "blocks", "auto"))
        cells.append(f"{taken['conv1d']:7.1f} ms {' '.join(ratios)}")
    print(f"{name:15s} {str(dtype)[6:]:9s} | {' | '.join(cells)}", flush=True)


class _PlainNorm(Norm):
    """The masked batch norm that the network had at first: written out in float32."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        values, weights = input.float(), torch.ones_like(input[:, :1]) if mask is None else mask.float()
        count = weights.sum()
        centred = (values - ((values * weights).sum((0, 2)) / count)[:, None]) * weights
        variance = centred.square().sum((0, 2)) / count
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None], centred, scale[:, None]).to(input.dtype)


def step(config: NetworkConfig, kind: str, dtype: torch.dtype) -> Callable[[], object]:
    """A whole training step but for the loss: 56 s of speech forward, back, clipping and AdamW."""
    network = Wav2Letter(config, 29).train()
    network.initialise(torch.Generator().manual_seed(0))
    if kind == "conv1d":
        for module in network.modules():
            if isinstance(module, Norm):
                module.__class__ = _PlainNorm
            if isinstance(module, Block):
                module.padding = nn.ConstantPad1d(module.padding.padding, 0.0)
            if isinstance(module, Convolution1d):
                module.__class__ = nn.Conv1d
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    spectrograms = torch.randn(BATCH, 128, 2 * STEPS, generator=torch.Generator().manual_seed(1))
    lengths = 2 * STEPS - 10 * torch.arange(BATCH)

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        with (
            using_form("auto" if kind == "conv1d" else kind),  # type: ignore[arg-type]
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            network(spectrograms, lengths).float().square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    return run


def forward(config: NetworkConfig, form: str) -> Callable[[], object]:
    """A forward pass of 56 s of speech through the network as it is looked into: eval, float32, no graph."""
    network = Wav2Letter(config, 29).eval()
    network.initialise(torch.Generator().manual_seed(0))
    spectrograms = torch.randn(BATCH, 128, 2 * STEPS, generator=torch.Generator().manual_seed(1))
    if form == "conv1d":
        for module in network.modules():
            if isinstance(module, Convolution1d):
                module.__class__ = nn.Conv1d

    def run() -> None:
        with torch.no_grad(), using_form("auto" if form == "conv1d" else form):  # type: ignore[arg-type]
            network(spectrograms)

    return run


def passes(config: NetworkConfig, repeats: int) -> None:
    """One line: forward passes; seconds of speech per second with ``conv1d``, and times faster each form."""
    forms = ("conv1d", "direct", "blocks", "auto")
    tell("forward", config, torch.float32, measure({form: forward(config, form) for form in forms}, repeats))


def steps(config: NetworkConfig, dtype: torch.dtype, repeats: int) -> None:
    """One line: seconds of speech per second with ``conv1d``, and how many times faster each form is."""
    taken = measure(
        {kind: step(config, kind, dtype) for kind in ("conv1d", "direct", "blocks", "auto")}, repeats
    )
    tell("step", config, dtype, taken)


def tell(what: str, config: NetworkConfig, dtype: torch.dtype, taken: Mapping[str, float]) -> None:
    """Prints seconds of speech per second with ``conv1d`` and by rule, and the forms' ratios."""
    speech = BATCH * STEPS / 50 * 1000
    ratios = " ".join(f"{taken['conv1d'] / taken[form]:5.2f}" for form in ("direct", "blocks", "auto"))
    rates = f"{speech / taken['conv1d']:4.0f} s/s, auto {speech / taken['auto']:4.0f} s/s"
    print(f"{what}, wide {config.wide:4d} {str(dtype)[6:]:9s} | {rates} | {ratios}", flush=True)


def lengths(name: str, dtype: torch.dtype, repeats: int) -> None:
    """One line for each length of block: milliseconds of forward, and of forward and backward."""
    outputs, channels, taps, stride, _ = LAYERS[name]
    rows = torch.randn(BATCH, (STEPS - 1) * stride + taps, channels).transpose(1, 2).to(dtype)
    weight = (torch.randn(outputs, channels, taps) / 30).to(dtype)
    learning = weight.clone().requires_grad_()
    real = functions.choose

    def run(length: int, by: Tensor) -> Tensor:
        functions.choose = lambda *given: length  # type: ignore[assignment]
        with torch.set_grad_enabled(by.requires_grad):
            found = convolve(rows, by, None, stride)
            return torch.autograd.grad(found.sum(), by)[0] if by.requires_grad else found

    calls = {
        (length, what): partial(run, length, by)
        for length in LENGTHS[taps // stride]
        for what, by in (("forward", weight), ("both", learning))
    }
    taken = measure(calls, repeats)
    functions.choose = real
    for length in LENGTHS[taps // stride]:
        cells = f"{taken[length, 'forward']:6.1f} {taken[length, 'both']:6.1f}"
        print(f"{name:15s} {str(dtype)[6:]:9s} length {length:3d}: {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lengths", action="store_true")
    parser.add_argument("--only", default="", help="layers whose name holds this, or 'forward', 'step'")
    parser.add_argument("--full", action="store_true", help="the whole full preset too (2 GB, slow)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kinds = (torch.float32, torch.bfloat16)
    if options.lengths:
        for name in ("layer 1", "layers 2-9", "layer 10 small"):
            for dtype in kinds:
                if options.only in name:
                    lengths(name, dtype, options.repeats)
        return
    print("times faster than conv1d: direct, blocks, auto")
    print("layer           type      | forward | gradient by input | by weight | transposes of 100 windows")
    for name in LAYERS:
        for dtype in kinds:
            if options.only in name:
                layer(name, dtype, options.repeats)
    for wide in (512, 2048) if options.full else (512,):
        if options.only in "forward":
            passes(NetworkConfig(wide=wide), options.repeats)
        for dtype in kinds:
            if options.only in "step":
                steps(NetworkConfig(wide=wide), dtype, options.repeats)


if __name__ == "__main__":
    main()
