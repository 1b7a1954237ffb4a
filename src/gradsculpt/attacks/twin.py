"""A smooth twin of a piecewise linear network, without a copy: Softplus for ReLU while a forward pass runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradsculpt.kernels.softplus import softplus


class SmoothTwin(TorchFunctionMode):
    """Lets ReLU-like functions be computed by Softplus, whether a module or the network's own code calls them.

    Replaced are relu, relu6, leaky_relu, prelu, threshold, hardtanh and clamp where they cut at 0, in place or not.
    What is smooth, or has curvature of its own (ELU, Hardswish), is left alone, and so is max pooling.

    Args:
        beta: Sharpness of Softplus; ReLU is the limit of a large beta.

    Example:
        >>> with SmoothTwin(beta=2.0):
        ...     torch.zeros(1).relu()
        tensor([0.3466])
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self._beta = beta

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the smooth function, or the function."""
        kwargs = dict(kwargs or {})
        smooth = _SMOOTH.get(func)
        result = None
        if smooth is not None and args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            result = smooth(self._beta, *args, **kwargs)
        if result is None:
            return func(*args, **kwargs)
        in_place = kwargs.get("inplace", False) or func in _IN_PLACE or _flag(func, args)
        return args[0].copy_(result) if in_place else result


def _relu(beta: float, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return softplus(x, beta)


def _relu6(beta: float, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _ramp(beta, x, 6.0)


def _leaky(beta: float, x: Tensor, negative_slope: float = 0.01, *_: Any, **__: Any) -> Tensor:
    return negative_slope * x + (1 - negative_slope) * softplus(x, beta)


def _prelu(beta: float, x: Tensor, weight: Tensor) -> Tensor:
    slope = weight.view(1, -1, *[1] * (x.ndim - 2)) if x.ndim > 1 else weight
    return slope * x + (1 - slope) * softplus(x, beta)


def _threshold(beta: float, x: Tensor, threshold: float, value: float, *_: Any, **__: Any) -> Tensor | None:
    return softplus(x, beta) if threshold == value == 0 else None


def _hardtanh(beta: float, x: Tensor, min_val: float = -1.0, max_val: float = 1.0, *_: Any, **__: Any) -> Tensor | None:
    return _ramp(beta, x, max_val) if min_val == 0 else None


def _clamp(beta: float, x: Tensor, min: Any = None, max: Any = None) -> Tensor | None:
    if isinstance(min, Tensor) or min is None or min != 0 or isinstance(max, Tensor):
        return None
    return softplus(x, beta) if max is None else _ramp(beta, x, max)


def _ramp(beta: float, x: Tensor, top: float) -> Tensor:
    """Return what rises from 0 to the top, with both corners rounded."""
    return softplus(x, beta) - softplus(x - top, beta)


def _flag(func: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Return whether `inplace` was passed by position."""
    place = _FLAGS.get(func)
    return place is not None and len(args) > place and bool(args[place])


_FLAGS: dict[Callable[..., Any], int] = {
    F.relu: 1,
    F.relu6: 1,
    F.leaky_relu: 2,
    F.threshold: 3,
    F.hardtanh: 3,
}
_IN_PLACE: frozenset[Callable[..., Any]] = frozenset(
    {torch.relu_, Tensor.relu_, Tensor.clamp_, Tensor.clip_, Tensor.clamp_min_, torch.clamp_, torch.clamp_min_}
)
_SMOOTH: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.relu: _relu,
    torch.relu: _relu,
    torch.relu_: _relu,
    Tensor.relu: _relu,
    Tensor.relu_: _relu,
    F.relu6: _relu6,
    F.leaky_relu: _leaky,
    torch.prelu: _prelu,
    F.threshold: _threshold,
    F.hardtanh: _hardtanh,
    torch.clamp: _clamp,
    torch.clamp_: _clamp,
    torch.clip: _clamp,
    torch.clamp_min: _clamp,
    torch.clamp_min_: _clamp,
    Tensor.clamp: _clamp,
    Tensor.clamp_: _clamp,
    Tensor.clip: _clamp,
    Tensor.clip_: _clamp,
    Tensor.clamp_min: _clamp,
    Tensor.clamp_min_: _clamp,
}
