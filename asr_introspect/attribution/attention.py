"""Attention in separate steps: the recorder then sees matrix products and a softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from asr_introspect.errors import UsageError


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """``softmax(Q K^T scale + mask) V``: torch's fused function without dropout.

    Raises UsageError for dropout or grouped queries.
    """
    if dropout_p or enable_gqa:
        raise UsageError("attention with dropout or grouped queries cannot be attributed")
    scores = torch.matmul(query, key.transpose(-2, -1)) * (
        query.shape[-1] ** -0.5 if scale is None else scale
    )
    if is_causal:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~causal, float("-inf"))
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, float("-inf")) if masked else scores + attn_mask
    return torch.matmul(torch.softmax(scores, dim=-1), value)


def multi_head_attention(
    module: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> torch.Tensor:
    """What ``nn.MultiheadAttention`` returns first, ``(B, L, E)``, the batch axis first throughout.

    Raises UsageError for modules without ``batch_first`` and for those with extra keys.
    """
    if not module.batch_first or query.dim() != 3:
        raise UsageError("attention can be attributed with batch_first=True and batched inputs only")
    if module.bias_k is not None or module.add_zero_attn:
        raise UsageError("attention with bias_k, bias_v or add_zero_attn cannot be attributed")
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)

    def heads(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        projected = torch.nn.functional.linear(inputs, weight, bias)
        return projected.view(*projected.shape[:2], module.num_heads, -1).transpose(1, 2)

    query, key, value = map(heads, (query, key, value), weights, biases)
    mask = _mask(attn_mask, key_padding_mask, len(query), module.num_heads)
    attended = scaled_dot_product_attention(query, key, value, mask)
    joined = attended.transpose(1, 2).flatten(2)
    return torch.nn.functional.linear(joined, module.out_proj.weight, module.out_proj.bias)


def _mask(
    attention: torch.Tensor | None, padding: torch.Tensor | None, items: int, heads: int
) -> torch.Tensor | None:
    """The module's two masks (true or -inf: left out) as one that is added to the scores."""
    total: Any = None
    if attention is not None:
        shaped = attention.view(items, heads, *attention.shape[1:]) if attention.dim() == 3 else attention
        total = _added(shaped)
    if padding is not None:
        here = _added(padding[:, None, None, :])
        total = here if total is None else total + here
    return total  # type: ignore[no-any-return]


def _added(mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, float("-inf"))
