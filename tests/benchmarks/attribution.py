"""How long the relevance of all letters of a sentence takes, in forward passes by ``conv1d`` of the same run.

``python tests/benchmarks/attribution.py [--channels 2048] [--frames 800] [--threads 2] [--repeats 3]`` prints
one row a method: seconds, forward passes, and the budget of issue 13. Times are the best of the repeats;
forward passes (``conv1d`` itself, not the faster form) are timed between the methods, so that both see the
same load. On a machine that others use too, ``--processor-time`` counts the process's own seconds; with one
thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from asr_introspect.attribution import attribute
from asr_introspect.convolution import using_form
from asr_introspect.random import torch_generator
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter

BUDGETS: dict[str, tuple[dict[str, object], float]] = {
    "gradient": ({"method": "gradient"}, 25),
    "epsilon": ({"composite": "epsilon"}, 25),
    "z+": ({"composite": "z+"}, 40),
    "alpha2-beta1": ({"composite": "alpha2-beta1"}, 70),
    "epsilon-relative": ({"composite": "epsilon-relative"}, 25),
    "epsilon-plus": ({"composite": "epsilon-plus"}, 40),
    "epsilon-gamma": ({"composite": "epsilon-gamma"}, 70),
    "guided-backprop": ({"method": "guided-backprop"}, 25),
}


def timed(function: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest call, by one of Python's clocks."""
    found = []
    for _ in range(repeats):
        start = clock()
        function()
        found.append(clock() - start)
    return min(found)


def plain_network(channels: int) -> Wav2Letter:
    """The full preset with drawn weights and norms that keep activations of order one."""
    network = Wav2Letter(NetworkConfig(wide=channels), 29)
    network.initialise(torch_generator(0, "benchmark"))
    return network.eval()


def sentence(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A spectrogram of noise ``(1, 128, T)``, and one letter at each of its steps."""
    inputs = torch.randn(1, 128, frames, generator=torch_generator(0, "benchmark", 1))
    steps = torch.arange(frames // 2)
    return inputs, torch.stack([torch.zeros_like(steps), steps, steps % 29], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=2048)
    parser.add_argument("--frames", type=int, default=800)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--methods", default=",".join(BUDGETS))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.processor_time else time.perf_counter
    network = plain_network(given.channels)
    inputs, targets = sentence(given.frames)

    def forward() -> None:
        with torch.no_grad(), using_form("direct"):
            network(inputs)

    forward()
    shape = f"{given.frames} frames, {len(targets)} targets, 256/{given.channels}"
    print(f"torch {torch.__version__}, {given.threads} threads, {shape}")
    print(f"{'method':18} {'seconds':>8} {'forward':>8} {'passes':>7} {'budget':>7}")
    for name in given.methods.split(","):
        options, budget = BUDGETS[name]

        def explain(options: dict[str, object] = options) -> None:
            attribute(network, inputs, targets, against="mean", **options)  # type: ignore[arg-type]

        before = timed(forward, 3, clock)
        seconds = timed(explain, given.repeats, clock)
        one = min(before, timed(forward, 3, clock))
        print(f"{name:18} {seconds:8.2f} {one:8.3f} {seconds / one:7.1f} {budget:7.0f}", flush=True)


if __name__ == "__main__":
    main()
