"""Wav2Letter: twelve 1-D convolutions from spectrogram to logits (Collobert, Puhrsch & Synnaeve 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from torch import Tensor, nn

from asr_introspect.convolution import Convolution1d, Padding1d
from asr_introspect.errors import UsageError, unknown_name
from asr_introspect.recogniser.fused import can_be_fused, normalise_activate

LAYERS = tuple(f"layer{i}" for i in range(1, 13))
"""The blocks of the network, which are also its module names; ``layer12`` gives the logits."""

Activation = Literal["relu", "elu", "gelu"]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a Wav2Letter.

    Parameters
    ----------
    mels
        Input channels F.
    narrow, wide
        Channels of layers 1 to 9, and of layers 10 and 11. ``wav2letter`` is 256 and 2048,
        ``wav2letter-small`` 256 and 512.
    activation
        The non-linearity after batch norm.
    dropout, wide_dropout
        Share of whole channels dropped in training after layers 1 to 9, and after 10 and 11.
    """

    mels: int = 128
    narrow: int = 256
    wide: int = 512
    activation: Activation = "relu"
    dropout: float = 0.1
    wide_dropout: float = 0.3

    def __post_init__(self) -> None:
        if min(self.mels, self.narrow, self.wide) < 1:
            raise UsageError("a network needs at least one channel in every layer")
        if self.activation not in get_args(Activation):
            raise unknown_name("activation", self.activation, get_args(Activation))
        if not (0 <= self.dropout < 1 and 0 <= self.wide_dropout < 1):
            raise UsageError("a dropout is a share of channels, from 0 to below 1")


PRESETS = {"wav2letter": NetworkConfig(wide=2048), "wav2letter-small": NetworkConfig()}


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over the valid positions only.

    In training, mean and variance are taken over the positions where ``mask`` is one, over all processes
    when several train together; in eval mode it is ``nn.BatchNorm1d``.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """``(B, C, U)`` normalised; ``mask`` is ``(B, 1, U)``, one where a position is valid.

        ``rows`` is what :func:`valid_rows` gives of the mask, where it is known.
        """
        if not self.training:
            return super().forward(input)
        if rows is None and mask is not None:
            rows = valid_rows(mask, len(input))
        mean_so_far, variance_so_far, momentum, _ = self.statistics
        if not _together() and (input[:, 0].numel() if rows is None else len(rows)) > 1:
            normalised: Tensor = _RowNorm.apply(input, self.weight, self.bias, rows, *self.statistics)  # type: ignore[no-untyped-call]
            return normalised
        values = input if input.dtype == torch.float64 else input.float()
        weights = torch.ones_like(values[:, :1]) if mask is None else mask.to(values.dtype)
        count = weights.sum()
        total = (values * weights).sum((0, 2))
        count, total = _over_processes(count, total)
        mean = total / count
        centred = (values - mean[:, None]) * weights
        (squares,) = _over_processes(centred.square().sum((0, 2)))
        variance = squares / count
        with torch.no_grad():
            mean_so_far.lerp_(mean, momentum)
            variance_so_far.lerp_(variance * count / (count - 1).clamp_min(1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None], centred, scale[:, None]).to(input.dtype)

    @property
    def statistics(self) -> tuple[Tensor, Tensor, float, float]:
        """Running mean and variance ``(C,)``, the momentum that moves them, what is added to a variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum if self.momentum is not None else 0.1
        return self.running_mean, self.running_var, momentum, self.eps


class _RowNorm(torch.autograd.Function):
    """Batch norm of ``(B, C, U)`` over chosen rows (positions of utterances); zeros at the others.

    The rows are gathered, channels last, so that torch's own batch norm does the rest in one pass each way,
    in the type of the inputs.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, inputs, weight, bias, rows, running_mean, running_variance, momentum, eps
    ):
        values = _rows(inputs, rows)
        outputs, mean, deviation = torch.native_batch_norm(
            _as_image(values), weight, bias, running_mean, running_variance, True, momentum, eps
        )
        ctx.save_for_backward(values, weight, mean, deviation, rows)
        ctx.eps = eps
        return _spread(_as_rows(outputs), rows, inputs.shape)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        values, weight, mean, deviation, rows = ctx.saved_tensors
        inputs, weights, biases = torch.ops.aten.native_batch_norm_backward(
            _as_image(_rows(gradient, rows)),
            _as_image(values),
            weight,
            None,
            None,
            mean,
            deviation,
            True,
            ctx.eps,
            [True, True, True],
        )
        return _spread(_as_rows(inputs), rows, gradient.shape), weights, biases, *(None,) * 5


def _rows(signal: Tensor, rows: Tensor | None) -> Tensor:
    """``(B, C, U)`` to ``(N, C)``: the chosen positions, or all."""
    flat = signal.transpose(1, 2).flatten(0, 1)
    return flat.contiguous() if rows is None else flat.index_select(0, rows)


def _spread(values: Tensor, rows: Tensor | None, shape: torch.Size) -> Tensor:
    """The inverse of :func:`_rows`: zeros where there was no row; channels last."""
    batch, channels, positions = shape
    if rows is not None:
        values = values.new_zeros(batch * positions, channels).index_copy_(0, rows, values)
    return values.view(batch, positions, channels).transpose(1, 2)


def _as_image(rows: Tensor) -> Tensor:
    """``(N, C)`` as ``(1, C, 1, N)``, channels last: the form that torch normalises fastest."""
    return rows.t()[None, :, None]


def _as_rows(image: Tensor) -> Tensor:
    return image[0, :, 0].t().contiguous()


def _together() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized()


def _over_processes(*parts: Tensor) -> tuple[Tensor, ...]:
    """The sums over all training processes, differentiable; the parts themselves where there is one."""
    if not _together():
        return parts
    summed: tuple[Tensor, ...] = tuple(_SumOverProcesses.apply(part) for part in parts)  # type: ignore[no-untyped-call]
    return summed


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        summed = part.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        distributed.all_reduce(summed)
        return summed


def _activation(name: Activation) -> nn.Module:
    kinds: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU}
    return kinds[name]()


class Block(nn.Module):
    """Zero padding, convolution and, but for the last block, batch norm, activation and dropout.

    Positions at or past an utterance's own length are set to zero: bias and batch norm would make them
    non-zero, and they would leak into the utterance through the next layers.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        activation: Activation | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.padding = Padding1d(((kernel - 1) // 2, kernel // 2) if stride == 1 else (23, 23))
        self.convolution = Convolution1d(*channels, kernel, stride=stride)
        if activation is not None:
            # Batch norm takes the bias away again: trained, it would only drift with rounding noise.
            assert self.convolution.bias is not None
            self.convolution.bias.requires_grad_(False)
            self.normalisation = MaskedBatchNorm1d(channels[1])
            self.activation = _activation(activation)
            self.dropout = nn.Dropout1d(dropout)
        self.is_last = activation is None

    def forward(self, inputs: Tensor, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """``(B, C, T)`` to ``(B, C', U)``; ``mask`` ``(B, 1, U)`` is one at valid output positions."""
        outputs: Tensor = self.convolution(self.padding(inputs))
        if not self.is_last:
            if self.training and not _together() and can_be_fused(outputs, self.activation):
                return self._fused(outputs, mask)
            outputs = self.dropout(self.activation(self.normalisation(outputs, mask, rows)))
        return outputs if mask is None else outputs * mask.to(outputs.dtype)

    def _fused(self, signal: Tensor, mask: Tensor | None) -> Tensor:
        """Norm, activation, dropout and mask of a training step on a processor, in one pass."""
        lengths = torch.full((len(signal),), signal.shape[2]) if mask is None else mask[:, 0].sum(1).long()
        kept = functional.dropout(torch.ones(signal.shape[:2]), self.dropout.p) if self.dropout.p else None
        norm, elu = self.normalisation, isinstance(self.activation, nn.ELU)
        return normalise_activate(signal, norm.weight, norm.bias, kept, lengths, norm.statistics, elu=elu)


class Wav2Letter(nn.Module):
    """The recogniser's network: spectrograms ``(B, F, T)`` to logits ``(B, V, U)``, ``U = T // 2``.

    The receptive field is 206 frames: output step ``i`` sees input frames ``2i - 101`` to ``2i + 104``.

    Parameters
    ----------
    config
        Channels, activation, dropout.
    classes
        Number of output symbols V.
    """

    def __init__(self, config: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        narrow, wide, kind = config.narrow, config.wide, config.activation
        self.layer1 = Block((config.mels, narrow), 48, 2, kind, config.dropout)
        for name in LAYERS[1:9]:
            self.add_module(name, Block((narrow, narrow), 7, 1, kind, config.dropout))
        self.layer10 = Block((narrow, wide), 32, 1, kind, config.wide_dropout)
        self.layer11 = Block((wide, wide), 1, 1, kind, config.wide_dropout)
        self.layer12 = Block((wide, classes), 1, 1, None, 0.0)

    def blocks(self) -> list[tuple[str, Block]]:
        """The twelve blocks with their names, from the input up."""
        return [(name, block) for name, block in self.named_children() if isinstance(block, Block)]

    def context(self) -> tuple[int, int]:
        """Frames that step ``i`` sees before and after frame ``2i``: (101, 104), computed from the blocks."""
        before = after = 0
        for _, block in reversed(self.blocks()):
            (stride,), (kernel,) = block.convolution.stride, block.convolution.kernel_size
            left = int(block.padding.padding[0])
            before, after = before * stride + left, after * stride + kernel - 1 - left
        return before, after

    def initialise(self, generator: torch.Generator) -> None:
        """Draws fresh weights: He normal, the last layer a tenth of it: training starts at even odds."""
        for name, block in self.blocks():
            convolution = block.convolution
            fan_in = convolution.weight[0].numel()
            scale = (2 / fan_in) ** 0.5 * (0.1 if name == LAYERS[-1] else 1.0)
            with torch.no_grad():
                drawn = torch.randn(convolution.weight.shape, generator=generator)
                convolution.weight.copy_(drawn * scale)
                assert convolution.bias is not None
                convolution.bias.zero_()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits ``(B, V, U)``.

        Parameters
        ----------
        inputs
            Spectrograms ``(B, F, T)``.
        lengths
            Valid frames of each item, ``(B,)``; None: all T. Positions past ``lengths // 2`` are zero after
            every layer, so an utterance has the same logits alone and in any batch.
        """
        mask = None
        if lengths is not None:
            inputs = inputs * valid(lengths, inputs.shape[-1]).to(inputs.dtype)
            mask = valid(lengths // 2, inputs.shape[-1] // 2).to(inputs.dtype)
        # Known once: finding them waits for the GPU.
        rows = (
            valid_rows(mask, len(inputs)) if mask is not None and self.training and inputs.is_cuda else None
        )
        outputs = inputs
        for _, block in self.blocks():
            outputs = block(outputs, mask, rows)
        return outputs


def valid_rows(mask: Tensor, batch: int) -> Tensor:
    """The places among ``B * U`` positions where ``mask``, ``(B or 1, 1, U)``, is one."""
    return mask.expand(batch, 1, -1).flatten().nonzero()[:, 0]


def valid(lengths: Tensor, positions: int) -> Tensor:
    """``(B, 1, positions)``, true at positions before each item's length."""
    return (torch.arange(positions, device=lengths.device) < lengths[:, None])[:, None]
