"""What operations take: the memory of the tensors that they make, and multiplications."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made, and alive, inside it.

    Attributes:
        most: The largest number of bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive: dict[int, int] = {}
        self._now: int = 0
        self.most: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the operation and add what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._alive:
                    self._alive[key] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.most = max(self.most, self._now)
                    weakref.finalize(storage, self._freed, key)
        return result

    def _freed(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


class Work(TorchDispatchMode):
    """Counts the floating-point operations of the convolutions and matrix products inside it.

    PyTorch's own counter cannot be used, as it refuses gradients of inputs, and takes the gradient of the weight of a
    convolution in groups for that of one without, which a depthwise convolution makes hundreds of times too large.

    Attributes:
        total: The number so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the operation and add what it takes."""
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket is torch.ops.aten.convolution_backward:
            self.total += _backward_of_convolution(*args)
        elif (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def _backward_of_convolution(upstream: Tensor, x: Tensor, weight: Tensor, *args: Any) -> int:
    """Return what the wanted ones of the gradients of input and weight take: each as much as the convolution itself."""
    transposed, (of_input, of_weight, _) = args[4], args[-1]
    forward = conv_flop_count(list(x.shape), list(weight.shape), list(upstream.shape), transposed)
    return int(forward * (of_input + of_weight))
