"""Puts the kernels in the place of PyTorch's functions, whatever the network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradsculpt.kernels.base import Reading
from gradsculpt.kernels.batch_norm import batch_norm
from gradsculpt.kernels.convolution import Geometry, convolution
from gradsculpt.kernels.layout import aligned
from gradsculpt.kernels.max_pool import max_pool
from gradsculpt.kernels.softplus import softplus


class TwiceDifferentiable(TorchFunctionMode):
    """Lets a network's convolutions, Softplus and batch normalisations be computed by the kernels of this package.

    Values and derivatives are those of PyTorch's own functions to rounding error, and second derivatives cost half as
    much or less. What has no kernel, such as transposed convolutions, is left as it is.

    Args:
        reading: What the kernels look at to see which gradients are wanted.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = reading

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the kernel of a function, or the function."""
        kernel = _KERNELS.get(func)
        result = kernel(self._reading, *args, **(kwargs or {})) if kernel is not None else None
        return func(*args, **(kwargs or {})) if result is None else result


def _conv2d(
    reading: Reading,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if input.ndim != 4 or isinstance(padding, str):
        return None
    lowered = _lowered(input, weight, bias)
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    return convolution(*lowered, geometry, reading)


def _softplus(reading: Reading, input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    return softplus(input, beta)


def _batch_norm(
    reading: Reading,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    if not training or weight is None or bias is None:
        return None
    return batch_norm(input, weight, bias, (running_mean, running_var), momentum, eps, reading)


def _max_pool2d(
    reading: Reading,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    if input.ndim != 4 or return_indices:
        return None
    kernel, step, pad, dilate = (list(_pair(size)) for size in (kernel_size, stride or kernel_size, padding, dilation))
    return max_pool(input, (kernel, step, pad, dilate, ceil_mode))


def _flatten(reading: Reading, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor | None:
    return None if input.ndim != 4 else aligned(input).flatten(start_dim, end_dim)


_KERNELS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.conv2d: _conv2d,
    F.softplus: _softplus,
    F.batch_norm: _batch_norm,
    F.max_pool2d: _max_pool2d,
    torch.flatten: _flatten,
    Tensor.flatten: _flatten,
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
