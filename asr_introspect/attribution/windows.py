"""Signals on their way back: one window per target, placed by its start, or a whole map per target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from asr_introspect.attribution.operations import Widths


@dataclass(frozen=True)
class Signal:
    """What arrives at a node for each target.

    ``values`` ``(N, C, *W)`` are windows whose first position is ``starts`` ``(N, axes)`` (it may lie outside
    the map), or whole maps ``(N, *shape of one item)`` where ``starts`` is None. ``pending`` names maps of
    the sentence that still have to be multiplied on: neighbouring elementwise factors are merged into one
    product per sentence before any window is touched. ``total`` ``(N,)`` is the relevance the ledger has
    accounted for.
    """

    values: torch.Tensor
    starts: torch.Tensor | None
    pending: tuple[tuple[object, ...], ...] = ()
    total: torch.Tensor | None = None

    @property
    def widths(self) -> Widths:
        return tuple(self.values.shape[2:])

    @property
    def whole(self) -> bool:
        return self.starts is None


def cut(
    maps: torch.Tensor, items: torch.Tensor, starts: torch.Tensor, widths: Widths, margin: Widths
) -> torch.Tensor:
    """Windows ``(N, C, *widths)`` of padded maps ``(B, C, *S + 2 margin)``; ``starts`` count without margin.

    Starts beyond the margin are moved to its edge: such windows lie outside the map and hold zeros only.
    """
    first = starts + starts.new_tensor(margin)
    room = [size - width for size, width in zip(maps.shape[2:], widths, strict=True)]
    first = torch.minimum(first.clamp_min(0), first.new_tensor(room))
    if len(widths) == 1:
        return _cut_rows(maps, items, first[:, 0], widths[0])
    windows = maps
    for axis, width in enumerate(widths):
        windows = windows.unfold(2 + axis, width, 1)
    return windows[items, :, first[:, 0], first[:, 1]]


def _cut_rows(maps: torch.Tensor, items: torch.Tensor, first: torch.Tensor, width: int) -> torch.Tensor:
    """Windows ``(N, C, width)`` along one axis, positions outermost in memory, then windows, then channels.

    So the transposed convolution reads them as they are. Evenly spaced windows of one item are not copied.
    """
    rows = maps.transpose(1, 2).contiguous()
    _, size, channels = rows.shape
    if len(items) > 1:
        steps = first[1:] - first[:-1]
        if bool((steps == steps[0]).all()) and int(steps[0]) >= 0 and bool((items == items[0]).all()):
            offset = rows.storage_offset() + (int(items[0]) * size + int(first[0])) * channels
            strides = (int(steps[0]) * channels, 1, channels)
            return rows.as_strided((len(items), channels, width), strides, offset)
    index = items * size + first + torch.arange(width, device=first.device)[:, None]
    found = rows.view(-1, channels).index_select(0, index.flatten())
    return found.view(width, len(items), channels).permute(1, 2, 0)


def reframe(
    values: torch.Tensor, starts: torch.Tensor, new_starts: torch.Tensor, new_widths: Widths
) -> torch.Tensor:
    """The same values seen through other windows ``(N, C, *new_widths)``; zero where they had none."""
    if not len(values):
        return values.new_zeros(0, values.shape[1], *new_widths)
    shift = new_starts - starts
    widths = tuple(values.shape[2:])
    same = [bool((shift[:, axis] == shift[0, axis]).all()) for axis in range(shift.shape[1])]
    if all(same):
        pads: list[int] = []
        for axis in reversed(range(len(widths))):
            left = -int(shift[0, axis])
            pads += [left, new_widths[axis] - widths[axis] - left]
        return F.pad(values, pads) if any(pads) else values
    for axis in range(len(widths)):
        index = torch.arange(new_widths[axis], device=values.device) + shift[:, axis, None]
        inside = (index >= 0) & (index < widths[axis])
        shape = (len(values), *(1,) * (axis + 1), -1, *(1,) * (len(widths) - axis - 1))
        index = index.clamp(0, widths[axis] - 1).view(shape)
        target = list(values.shape)
        target[2 + axis] = new_widths[axis]
        values = values.gather(2 + axis, index.expand(target)) * inside.view(shape)
    return values


def place(values: torch.Tensor, starts: torch.Tensor, shape: Widths) -> torch.Tensor:
    """Windows put into whole maps ``(N, C, *shape)``; what lies outside is dropped."""
    return reframe(values, starts, torch.zeros_like(starts), shape)


def inside(starts: torch.Tensor, widths: Widths, shape: Widths) -> bool:
    """Whether no window reaches outside a map of this shape."""
    last = starts + starts.new_tensor(widths)
    return bool((starts >= 0).all()) and bool((last <= starts.new_tensor(shape)).all())
