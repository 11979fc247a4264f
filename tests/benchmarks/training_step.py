"""Peak memory and speed of one training step, for each preset and length of batch, each in its own process.

``python tests/benchmarks/training_step.py`` prints a line for each: CTC on random utterances of 16 s,
bfloat16 autocast, AdamW; the whole process's peak, and seconds of speech per second of one thread's own
processor time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

from asr_introspect.recogniser.network import PRESETS, Wav2Letter
from asr_introspect.training.ctc_loss import ctc_loss

UTTERANCE_SECONDS = 16
LETTERS = 200


def step(preset: str, seconds: int) -> None:
    """Two steps; prints the peak and the second one's speed."""
    torch.set_num_threads(1)
    network = Wav2Letter(PRESETS[preset], 29).train()
    network.initialise(torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    items, frames = max(1, seconds // UTTERANCE_SECONDS), 100 * UTTERANCE_SECONDS
    random = torch.Generator().manual_seed(1)
    spectrograms = torch.randn(items, 128, frames, generator=random)
    targets = torch.randint(1, 29, (items, LETTERS), generator=random)
    lengths = torch.full((items,), frames)
    for _ in range(2):
        started = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(spectrograms, lengths).float()
        ctc_loss(logits, lengths // 2, targets.flatten(), torch.full((items,), LETTERS), blank=0).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        taken = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    speed = items * UTTERANCE_SECONDS / taken
    print(f"{preset:16s} batch of {seconds:3d} s: peak {peak:.2f} GB, {speed:4.0f} s/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["wav2letter-small", "wav2letter"])
    parser.add_argument("--seconds", type=int, nargs="+", default=[80, 160, 320])
    options = parser.parse_args()
    if len(options.presets) == len(options.seconds) == 1:
        step(options.presets[0], options.seconds[0])
        return
    for preset in options.presets:
        for seconds in options.seconds:
            command = [sys.executable, __file__, "--presets", preset, "--seconds", str(seconds)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
