"""Functions whose derivatives PyTorch has wrong, or lacks, beyond the first or second: out of plain operations."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.dispatch import Call

Standardise = Callable[[Tensor, tuple[int, ...], float], Tensor]
"""Subtracts the mean over last dimensions, and divides by the root of variance + eps."""


def standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Return x less its mean over dimensions, over its standard deviation, by plain operations."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def layer_norm(call: Call, standardise: Standardise = standardised) -> Any:
    """Return maps normalised over their last dimensions. PyTorch's third derivative of it is wrong."""
    x, shape = call["input"], tuple(call["normalized_shape"])
    if x.is_nested or x.shape[x.ndim - len(shape) :] != shape:
        return NotImplemented
    kind = x.device.type
    # Accelerators' autocast takes it to float32; that of CPUs leaves it as it is.
    dtype = torch.float32 if kind != "cpu" and torch.is_autocast_enabled(kind) else x.dtype
    normalised = standardise(_wide(x), tuple(range(x.ndim - len(shape), x.ndim)), call["eps"])
    return _affine(normalised, call["weight"], call["bias"]).to(dtype)


def native_layer_norm(call: Call, standardise: Standardise = standardised) -> Any:
    """Return the same with the means, and the inverse standard deviations."""
    result = layer_norm(call, standardise)
    if result is NotImplemented:
        return NotImplemented
    x = _wide(call["input"])
    dims = tuple(range(-len(call["normalized_shape"]), 0))
    r = (x.var(dims, unbiased=False, keepdim=True) + call["eps"]).rsqrt()
    return result, x.mean(dims, keepdim=True), r


def rms_norm(call: Call) -> Any:
    """Return maps over the root of the mean of their squares over their last dimensions."""
    x, shape, eps = call["input"], tuple(call["normalized_shape"]), call["eps"]
    if x.is_nested or x.shape[x.ndim - len(shape) :] != shape:
        return NotImplemented
    wide = _wide(x)
    eps = torch.finfo(wide.dtype).eps if eps is None else eps
    squares = wide.square().mean(tuple(range(-len(shape), 0)), keepdim=True)
    return _affine(wide * (squares + eps).rsqrt(), call["weight"], None).to(x.dtype)


def batch_norm(call: Call) -> Any:
    """Return maps [N, C, ...] normalised by the statistics of the batch; PyTorch's own has no third derivative."""
    x = call["input"]
    if not call["training"] or x.numel() <= x.shape[1]:  # one entry a channel, which is refused in training
        return NotImplemented
    wide, dims = _wide(x), (0, *range(2, x.ndim))
    result = _affine(standardised(wide, dims, call["eps"]), *_by_channel(call, x.ndim)).to(x.dtype)
    if call["running_mean"] is not None:
        with torch.no_grad():
            variance, mean = torch.var_mean(wide, dims)
            for running, now in ((call["running_mean"], mean), (call["running_var"], variance)):
                running.mul_(1 - call["momentum"]).add_(now * call["momentum"])
    return result


def instance_norm(call: Call, standardise: Standardise = standardised) -> Any:
    """Return maps [N, C, ...] normalised over each channel of each image."""
    x = call["input"]
    if not call["use_input_stats"] or math.prod(x.shape[2:]) <= 1:
        return NotImplemented
    if call["running_mean"] is not None:
        with torch.no_grad():
            call()  # updates them
    normalised = standardise(_wide(x), tuple(range(2, x.ndim)), call["eps"])
    return _affine(normalised, *_by_channel(call, x.ndim)).to(x.dtype)


def hardsigmoid(call: Call) -> Any:
    """Return 0 up to -3, 1 from 3 on, and the line between; PyTorch's own has no second derivative."""
    x = call["input"]
    return torch.where((x <= -3) | (x >= 3), (x > 0).to(x.dtype), (x + 3) / 6)


def conv_transpose(call: Call) -> Any:
    """Return a transposed convolution of maps [N, C, ...] with output padding; PyTorch's has no third derivative."""
    weight, bias = call["weight"], call["bias"]
    count = weight.ndim - 2
    extra, padding = (_each(call[name], count) for name in ("output_padding", "padding"))
    if not any(extra):
        return NotImplemented
    whole = call.given(bias=None, padding=0, output_padding=0)()
    # What padding takes away, and output padding gives back at the ends, last dimension first.
    ends = [end for p, e in zip(reversed(padding), reversed(extra), strict=True) for end in (-p, e - p)]
    padded = F.pad(whole, ends)
    return padded if bias is None else padded + bias.view(-1, *[1] * count).to(padded)


def weight_norm(call: Call) -> Any:
    """Return g v / |v|, with a norm for each entry of one dimension; PyTorch's second derivative of it is wrong."""
    v, g, dim = call["v"], call["g"], call["dim"]
    return v * (g / torch.norm_except_dim(v, 2, dim))


def pdist(call: Call) -> Any:
    """Return the distances between the rows of [N, M], [N (N - 1) / 2]; PyTorch's third derivative of it is NaN."""
    x = call["input"]
    first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return torch.linalg.vector_norm(x[first] - x[second], call["p"], dim=1)


def _wide(x: Tensor) -> Tensor:
    """Return x in float32 at least: statistics of half precision are computed in it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None and bias is not None:
        return torch.addcmul(bias.to(x.dtype), x, weight.to(x.dtype))
    scaled = x if weight is None else x * weight.to(x.dtype)
    return scaled if bias is None else scaled + bias.to(x.dtype)


def _by_channel(call: Call, ndim: int) -> list[Tensor | None]:
    return [t if t is None else t.view(-1, *[1] * (ndim - 2)) for t in (call["weight"], call["bias"])]


def _each(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return [int(each) for each in (values * count if len(values) == 1 else values)]
