"""The loss of connectionist temporal classification (Graves et al. 2006), compiled for processors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asr_introspect.compiled import CONTRACTED, compiled
from asr_introspect.corpus.transcripts import minimum_steps
from asr_introspect.recogniser.alignment import lattice


def ctc_loss(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """The summed negative log likelihood of the targets, a scalar; differentiable.

    Items with too few steps for their targets count as zero, and so does their gradient. On a GPU, and in
    float64, torch's own is used; on a processor it takes five times as long, a tenth of a training step.

    Parameters
    ----------
    logits
        ``(B, V, U)``.
    lengths, target_lengths
        Steps and symbols of each item, ``(B,)``.
    targets
        The items' classes one after another, ``(sum(target_lengths),)``, none of them the blank.
    """
    form = _CTC.apply if logits.device.type == "cpu" and logits.dtype == torch.float32 else _of_torch
    loss: Tensor = form(logits, lengths, targets, target_lengths, blank)
    return loss


def _of_torch(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    return F.ctc_loss(
        logits.log_softmax(1).permute(2, 0, 1),
        targets,
        lengths,
        target_lengths,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )


class _CTC(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, lengths, targets, target_lengths, blank):  # type: ignore[no-untyped-def]
        gradients = logits.detach().softmax(1).transpose(1, 2).contiguous()
        rows, classes = gradients.numpy(), targets.numpy()
        total, end = 0.0, 0
        for item, (steps, count) in enumerate(zip(lengths.tolist(), target_lengths.tolist(), strict=True)):
            start, end = end, end + count
            rows[item, steps:] = 0
            if steps < max(1, minimum_steps(classes[start:end].tolist())):
                rows[item] = 0
                continue
            states, skips = lattice(classes[start:end], blank)
            total += _loss(rows[item, :steps], states, np.append(skips, [0.0, 0.0]))
        loss = torch.tensor(total, dtype=logits.dtype)
        if not np.isfinite(total):
            # A path that is needed has a probability below what a float64 holds: by logarithms, then.
            with torch.enable_grad():
                leaf = logits.detach().requires_grad_()
                loss = _of_torch(leaf, lengths, targets, target_lengths, blank)
                (found,) = torch.autograd.grad(loss, leaf)
            loss, gradients = loss.detach(), found.transpose(1, 2)
        ctx.save_for_backward(gradients)
        return loss

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (gradients,) = ctx.saved_tensors
        return (gradients * gradient).transpose(1, 2), None, None, None, None


# ------------------------------------------------------------------------------------------------- compiled

_LIBERTIES = CONTRACTED | {"reassoc"}


def _scaled_forward(emitted: np.ndarray, skips: np.ndarray, forward: np.ndarray, scales: np.ndarray) -> None:
    """Fills the forward variables, each step's scaled to a sum of one, and what they were divided by.

    ``forward`` has two columns of zeros before those of the states. A scale of zero ends it early.
    """
    steps, count = emitted.shape
    for step in range(steps):
        # Outside these a state cannot have been reached, or cannot reach the end any more.
        low = max(0, count - 2 * (steps - step))
        high = min(count, 2 * (step + 1))
        here = forward[step, 2:]
        if step == 0:
            here[low:high] = emitted[step, low:high]
        else:
            before = forward[step - 1]
            for state in range(low, high):
                came = before[state + 2] + before[state + 1] + skips[state] * before[state]
                here[state] = came * emitted[step, state]
        scales[step] = here[low:high].sum()
        if scales[step] == 0:
            return
        here[low:high] /= scales[step]


def _occupied(emitted: np.ndarray, skips: np.ndarray, forward: np.ndarray, scales: np.ndarray) -> None:
    """Turns the forward variables into the probability of each state at each step, by the backward ones."""
    steps, count = emitted.shape
    after = np.zeros(count + 2)
    after[max(0, count - 2) : count] = 1
    now = np.zeros(count + 2)
    for step in range(steps - 1, -1, -1):
        if step < steps - 1:
            for state in range(count):
                after[state] *= emitted[step + 1, state] / scales[step + 1]
            for state in range(count):
                now[state] = after[state] + after[state + 1] + skips[state + 2] * after[state + 2]
            after, now = now, after
        for state in range(count):
            if forward[step, state + 2] > 0:
                forward[step, state + 2] *= after[state]


_fill_forward = compiled(_scaled_forward, _LIBERTIES)
_fill_occupied = compiled(_occupied, _LIBERTIES)


def _loss_in_place(posteriors: np.ndarray, states: np.ndarray, skips: np.ndarray) -> float:
    """The loss of one item; its posteriors ``(U, V)`` become the loss's gradient by its logits.

    By forward and backward variables (Graves et al. 2006, section 4.1; scaled as in Rabiner 1989, section
    V A) of the lattice's states; ``skips`` has two more entries. nan where a needed path's share of its step
    is below float64's smallest number.
    """
    steps, count = len(posteriors), len(states)
    emitted = np.empty((steps, count))
    for step in range(steps):
        for state in range(count):
            emitted[step, state] = posteriors[step, states[state]]
    forward = np.zeros((steps, count + 2))
    scales = np.zeros(steps)
    _fill_forward(emitted, skips, forward, scales)
    if scales[-1] == 0:
        return np.nan
    _fill_occupied(emitted, skips, forward, scales)
    probabilities = np.zeros(posteriors.shape[1])
    sure = 0.0
    for step in range(steps):
        probabilities[:] = 0
        for state in range(count):
            probabilities[states[state]] += forward[step, state + 2]
        sure += probabilities.sum()
        for symbol in range(len(probabilities)):
            posteriors[step, symbol] -= probabilities[symbol]
    if not abs(sure - steps) < 1e-6 * steps:
        return np.nan
    return float(-np.log(scales).sum())


_loss = compiled(_loss_in_place, _LIBERTIES)
