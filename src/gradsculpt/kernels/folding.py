"""What can be folded into a convolution: fixed normalisations and activations, told from the calls that make them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.kernels.convolution import Geometry
from gradsculpt.kernels.fused import Cut

Function = Callable[..., Any]
Convolution = tuple[Tensor, Tensor, Tensor | None, Geometry | None]


@dataclass(frozen=True, eq=False)
class Vector:
    """One number a channel, and what it was when it was looked at."""

    tensor: Tensor
    version: int | None
    values: Tensor

    @staticmethod
    def of(tensor: Tensor | None) -> "Vector | None":
        """Take down the values of a parameter or buffer."""
        return None if tensor is None else Vector(tensor, _version(tensor), tensor.detach().clone())

    def holds(self, tensor: Tensor | None) -> bool:
        """Return whether a tensor, the same one or a copy of it, still has these values."""
        if tensor is None:
            return False
        if tensor is self.tensor and self.version is not None and tensor._version == self.version:
            return True
        values = self.values
        same = tensor.shape == values.shape and tensor.dtype == values.dtype and tensor.device == values.device
        return same and torch.equal(tensor, values)


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Batch normalisation by fixed statistics: mean, variance, weight, bias, and eps."""

    vectors: tuple[Vector | None, ...]
    eps: float

    def holds(self, vectors: tuple[Tensor | None, ...], eps: float) -> bool:
        """Return whether these are the same statistics and parameters."""
        return self.eps == eps and all(same(a, b) for a, b in zip(self.vectors, vectors, strict=True))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Return weight and bias of a convolution that normalises as well; None if they are not finite."""
        with torch.inference_mode(False), torch.no_grad():
            mean, variance, scale, shift = (None if v is None else v.values.double() for v in self.vectors)
            if mean is None or variance is None:
                return None
            factor = (variance + self.eps).rsqrt() * (1.0 if scale is None else scale)
            offset = (0.0 if bias is None else bias.double()) - mean
            offset = offset * factor + (0.0 if shift is None else shift)
            folded = (weight.double() * factor.view(-1, 1, 1, 1)).to(weight.dtype), offset.to(weight.dtype)
            if not all(bool(part.isfinite().all()) for part in folded):
                return None
            return folded[0].contiguous(memory_format=torch.channels_last), folded[1]


def same(vector: Vector | None, tensor: Tensor | None) -> bool:
    """Return whether a tensor has the values taken down, or neither is there."""
    return tensor is None if vector is None else vector.holds(tensor)


def convolution(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Convolution:
    """Return input, weight, bias and geometry of a call of `conv2d`; no geometry if the padding goes by a name."""
    return _conv2d(*args, **kwargs)


def foldable(x: Tensor, weight: Tensor) -> bool:
    """Return whether a convolution is one of those that are folded."""
    if x.ndim != 4 or weight.is_inference() or weight.dtype not in (torch.float32, torch.float64):
        return False
    return x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type)


def normalisation(
    func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Tensor, tuple[Tensor | None, ...], float] | None:
    """Return input, vectors and eps of a call that normalises by fixed statistics, else None."""
    return _batch_norm(*args, **kwargs) if func is F.batch_norm else None


def activation(func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Cut] | None:
    """Return the input of a call that cuts at two levels, and these, else None."""
    kernel = _ACTIVATIONS.get(func)
    return None if kernel is None else kernel(*args, **kwargs)


def in_place(func: Function, kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call may change one of its arguments."""
    name = getattr(func, "__name__", "")
    dunder = name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    named = (name.endswith("_") and not name.endswith("__")) or dunder or name in ("__setitem__", "__set__")
    return named or "out" in kwargs or bool(kwargs.get("inplace"))


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)


def replaced(value: Any, old: object, new: object) -> Any:
    """Return arguments with something else in the place of one."""
    if value is old:
        return new
    if isinstance(value, Mapping):
        return {key: replaced(part, old, new) for key, part in value.items()}
    return type(value)(replaced(part, old, new) for part in value) if type(value) in (tuple, list) else value


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Convolution:
    if isinstance(padding, str):
        return input, weight, bias, None
    return input, weight, bias, Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = (value,) if isinstance(value, int) else value
    return int(first), int(rest[0] if rest else first)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, tuple[Tensor | None, ...], float] | None:
    if training or running_mean is None or running_var is None:
        return None
    return input, (running_mean, running_var, weight, bias), eps


def _relu(input: Tensor, inplace: bool = False) -> tuple[Tensor, Cut]:
    return input, (0, None)


def _relu6(input: Tensor, inplace: bool = False) -> tuple[Tensor, Cut]:
    return input, (0, 6)


def _hardtanh(
    input: Tensor, min_val: float = -1, max_val: float = 1, inplace: bool = False
) -> tuple[Tensor, Cut] | None:
    return (input, (min_val, max_val)) if min_val < max_val else None


_ACTIVATIONS: dict[Function, Callable[..., tuple[Tensor, Cut] | None]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _relu),
    F.relu6: _relu6,
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _hardtanh),
}
