"""How maps lie in memory, for kernels that walk over them."""

import torch
from torch import Tensor


def dense(t: Tensor) -> Tensor:
    """Return t, or a copy whose entries lie in memory without gaps or overlaps."""
    if t.is_contiguous() or (t.ndim == 4 and t.is_contiguous(memory_format=torch.channels_last)):
        return t
    return t.contiguous()


def beside(t: Tensor, like: Tensor) -> Tensor:
    """Return t, or a copy that lies in memory as a dense map of its shape does, so that one offset serves both."""
    pairs = zip(t.shape, t.stride(), like.stride(), strict=True)
    if all(own == other for size, own, other in pairs if size > 1):
        return t
    return torch.empty_like(like, dtype=t.dtype).copy_(t)
