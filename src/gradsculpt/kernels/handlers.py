"""The kernels as handlers: what computes a network's functions while a pass is recorded."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradsculpt.dispatch import Call, Dispatch
from gradsculpt.kernels.base import Reading
from gradsculpt.kernels.batch_norm import batch_norm
from gradsculpt.kernels.convolution import Geometry, convolution
from gradsculpt.kernels.layout import aligned
from gradsculpt.kernels.max_pool import max_pool
from gradsculpt.kernels.softplus import softplus


def twice_differentiable(reading: Reading) -> Dispatch:
    """Return a mode in which a network's functions are computed by the kernels of this package where there is one.

    Values and derivatives are those of PyTorch's own functions to rounding error, and second derivatives cost half as
    much or less.

    Args:
        reading: What the kernels look at to see which gradients are wanted.
    """
    return Dispatch({name: partial(kernel, reading) for name, kernel in _KERNELS.items()})


def _conv2d(reading: Reading, call: Call) -> Any:
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if x.ndim != 4 or isinstance(call["padding"], str):
        return NotImplemented
    geometry = Geometry(_pair(call["stride"]), _pair(call["padding"]), _pair(call["dilation"]), call["groups"])
    return convolution(*_lowered(x, weight, bias), geometry, reading)


def _softplus(reading: Reading, call: Call) -> Tensor:
    return softplus(call["input"], call["beta"])


def _batch_norm(reading: Reading, call: Call) -> Any:
    weight, bias = call["weight"], call["bias"]
    if not call["training"] or weight is None or bias is None:
        return NotImplemented
    running = call["running_mean"], call["running_var"]
    return batch_norm(call["input"], weight, bias, running, call["momentum"], call["eps"], reading)


def _max_pool2d(reading: Reading, call: Call) -> Any:
    x, size = call["input"], call["kernel_size"]
    if x.ndim != 4 or call["return_indices"]:
        return NotImplemented
    sizes = (size, call["stride"] or size, call["padding"], call["dilation"])
    kernel, step, pad, dilate = (list(_pair(value)) for value in sizes)
    return max_pool(x, (kernel, step, pad, dilate, call["ceil_mode"]))


def _flatten(reading: Reading, call: Call) -> Any:
    x = call["input"]
    return NotImplemented if x.ndim != 4 else aligned(x).flatten(call["start_dim"], call["end_dim"])


_KERNELS = {
    "conv2d": _conv2d,
    "softplus": _softplus,
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool2d,
    "flatten": _flatten,
}


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return int(first), int(rest[0] if rest else first)


def _lowered(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast as autocast would have done, which does not see into the kernels."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(kind)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
