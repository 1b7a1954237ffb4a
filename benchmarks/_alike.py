"""What makes two devices comparable: tensors and networks in a place, the same random numbers, a difference."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

T = TypeVar("T")

_DRAWING = frozenset(
    [
        "bernoulli",
        "bernoulli_",
        "exponential_",
        "native_dropout",
        "normal_",
        "rand",
        "rand_like",
        "randint",
        "randint_like",
        "randn",
        "randn_like",
        "random_",
        "rrelu_with_noise",
        "uniform_",
    ]
)


@dataclass(frozen=True)
class Place:
    """Where something is computed, and in which precision."""

    device: torch.device
    dtype: torch.dtype

    def __call__(self, value: T) -> T:
        """Return a tensor, a copy of a network, or a structure of them, here; whole numbers stay whole."""
        if isinstance(value, nn.Module):
            return copy.deepcopy(value).to(self.device, self.dtype)
        return tree_map_only(Tensor, self._moved, value)

    def _moved(self, t: Tensor) -> Tensor:
        return t.to(self.device, self.dtype if t.is_floating_point() else None)

    def __str__(self) -> str:
        return f"{self.device}, {str(self.dtype).removeprefix('torch.')}"


class SameNoise(TorchDispatchMode):
    """Has all random numbers inside it drawn on the CPU in float64, from a seed that counts the calls.

    Two devices that draw in the same order so get the same numbers, which their own generators would never give.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the operation; where it draws, on the CPU."""
        kwargs = dict(kwargs or {})
        if func.overloadpacket.__name__ not in _DRAWING:
            return func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        device = tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")
        dtype = tensors[0].dtype if tensors else kwargs.get("dtype") or torch.get_default_dtype()
        there, here = Place(torch.device("cpu"), torch.float64), Place(device, dtype)
        kwargs |= dict.fromkeys(kwargs.keys() & {"generator", "pin_memory"})
        kwargs |= dict.fromkeys(kwargs.keys() & {"device"}, there.device)
        if dtype.is_floating_point:
            kwargs |= dict.fromkeys(kwargs.keys() & {"dtype"}, there.dtype)
        self._calls += 1
        # In one order of entries, whatever memory format a device has left them in.
        given = tree_map_only(Tensor, lambda t: t.clone(memory_format=torch.contiguous_format), there(list(args)))
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(self._calls)
        drawn = func(*given, **kwargs)
        torch.set_rng_state(before)
        for argument, value, schema in zip(args, given, func._schema.arguments, strict=False):
            if schema.alias_info is not None and schema.alias_info.is_write:
                argument.copy_(value)
        changes = func._schema.arguments[0].alias_info
        return args[0] if changes is not None and changes.is_write else here(drawn)


class Moved(TorchFunctionMode):
    """Takes every tensor that a function is handed to a place: constants and weights that a layer has inside it."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function on what was moved; what is where it should be stays the tensor that it is."""
        if func is Tensor.to or getattr(func, "__name__", "") in ("__get__", "__set__"):
            return func(*args, **(kwargs or {}))
        return func(*self._place(list(args)), **self._place(dict(kwargs or {})))


@contextmanager
def without_tf32() -> Iterator[None]:
    """Have matrix products and convolutions computed in full float32 inside the block."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference by the largest magnitude of b; infinite if NaN or inf are in other places."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().to("cpu", torch.float64), b.detach().to("cpu", torch.float64)
    finite = b.isfinite()
    if not torch.equal(finite, a.isfinite()) or not torch.equal(a[~finite].nan_to_num(7.0), b[~finite].nan_to_num(7.0)):
        return float("inf")
    if not finite.any():
        return 0.0
    size = float(b[finite].abs().max())
    return float((a[finite] - b[finite]).abs().max()) / (size or 1.0)
