"""A training step that can be repeated, and what it costs: time, memory, arithmetic."""

import gc
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Loss = Callable[[], Tensor]
"""Evaluates the loss of a step, with its graph."""


class TrainingStep:
    """A step of a network on one batch: gradients are zeroed, the loss is propagated back, the optimiser moves.

    Args:
        network: What is trained; on the device where it is measured.
        loss: Evaluates the loss.
        optimizer: Moves the network's parameters.
    """

    def __init__(self, network: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer) -> None:
        self._loss, self._optimizer = loss, optimizer
        self._device = next(network.parameters()).device

    def run(self) -> float:
        """Take one step and return its seconds; on a GPU they are over when it has done its work."""
        self._wait()
        started = time.perf_counter()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss().backward()
        self._optimizer.step()
        self._wait()
        return time.perf_counter() - started

    def peak(self) -> int:
        """Return the most bytes that a step takes at once beyond what is there before it, gradients included.

        A GPU's allocator knows. On a CPU the tensors are counted that operations make; what these take within
        themselves is not seen there.
        """
        self._optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self._device.type != "cuda":
            with Peak() as peak:
                self._loss().backward()
            return peak.most
        self._wait()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._loss().backward()
        self._wait()
        return torch.cuda.max_memory_allocated(self._device) - before

    def work(self) -> int:
        """Return the floating-point operations of convolutions and matrix products in a step."""
        self._optimizer.zero_grad(set_to_none=True)
        with Work() as work:
            self._loss().backward()
        return work.total

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made, and alive, inside it.

    Attributes:
        most: The largest number of bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, int] = {}
        self._now = self.most = 0

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

    PyTorch's own counter cannot be used, as it refuses gradients of inputs.

    Attributes:
        total: The number so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the operation and add what it takes."""
        result = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
