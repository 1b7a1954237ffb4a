"""Scaled dot-product attention out of plain operations, as PyTorch's fused kernels are differentiated once only."""

from typing import Any

import torch
from torch import Tensor

from gradsculpt.dispatch import Call


def attention(call: Call) -> Any:
    """Return softmax(scale query key^T + mask) value over [..., L, E], [..., S, E] and [..., S, V], to any order.

    Kept for a second derivative are three maps [..., L, S]. A kernel that keeps one and computes the others again is
    a fifth to a half slower.
    """
    query, key, value, mask = (call[name] for name in ("query", "key", "value", "attn_mask"))
    if query.is_nested or (call["is_causal"] and mask is not None):
        return NotImplemented
    kind, dtype = query.device.type, query.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    with torch.autocast(kind, enabled=False):
        if call["enable_gqa"]:  # several heads of queries share one of keys and values
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        query, key, value = (t.to(torch.promote_types(dtype, torch.float32)) for t in (query, key, value))
        scale = query.shape[-1] ** -0.5 if call["scale"] is None else call["scale"]
        scores = (query * scale) @ key.mT
        if call["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask.to(scores)
        # It is 0 where everything is masked, as in PyTorch's own, and not NaN.
        weights: Tensor = torch._safe_softmax(scores, -1)
        if call["dropout_p"] > 0:
            weights = torch.dropout(weights, call["dropout_p"], True)
        return (weights @ value).to(dtype)
