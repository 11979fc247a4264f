"""Which positions of a layer an output step was computed from, from the network's own blocks."""

from __future__ import annotations

from dataclasses import dataclass

from asr_introspect.recogniser.network import Wav2Letter
from asr_introspect.recogniser.passes import INPUT


@dataclass(frozen=True, slots=True)
class Cone:
    """The positions of one layer that output step ``i`` sees: ``stride * i + first`` and the next ones.

    Parameters
    ----------
    layer
        ``input`` or ``layer1`` to ``layer12``.
    stride
        Positions of this layer from one output step to the next.
    first
        The first position relative to ``stride * i``; never above 0.
    positions
        How many there are, P.
    frames
        Input frames from one position to the next.
    centre
        The input frame at the centre of what position 0 sees.
    """

    layer: str
    stride: int
    first: int
    positions: int
    frames: int
    centre: float

    @property
    def anchor(self) -> int:
        """The index in an aligned window at which the position an instance is about lies."""
        return -self.first

    @property
    def shifts(self) -> bool:
        """Whether windows at this layer can be moved; a cone of one position stays where it is."""
        return self.positions > 1


def cones(network: Wav2Letter) -> dict[str, Cone]:
    """The cone of every layer by name, the input first.

    For the 12-layer Wav2Letter the cones have 206, 80, 74, 68, 62, 56, 50, 44, 38, 32, 1, 1, 1 positions and
    anchors 101, 39, 36, 33, 30, 27, 24, 21, 18, 15, 0, 0, 0.
    """
    blocks = network.blocks()
    found: list[Cone] = []
    below = _centres(network)
    before = after = 0
    stride = 1
    for name, block in reversed(blocks):
        frames, centre = below[name]
        found.append(Cone(name, stride, -before, before + after + 1, frames, centre))
        (step,), (kernel,) = block.convolution.stride, block.convolution.kernel_size
        left = int(block.padding.padding[0])
        before, after = before * step + left, after * step + kernel - 1 - left
        stride *= step
    found.append(Cone(INPUT, stride, -before, before + after + 1, 1, 0.0))
    return {cone.layer: cone for cone in reversed(found)}


def _centres(network: Wav2Letter) -> dict[str, tuple[int, float]]:
    """For each block, frames between its output positions and the frame at the centre of position 0's
    view.
    """
    frames, first, last = 1, 0, 0
    found = {}
    for name, block in network.blocks():
        (step,), (kernel,) = block.convolution.stride, block.convolution.kernel_size
        left = int(block.padding.padding[0])
        first -= left * frames
        last += (kernel - 1 - left) * frames
        frames *= step
        found[name] = (frames, (first + last) / 2)
    return found
