"""A training step that can be repeated, and what it costs: time, memory, arithmetic."""

import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradsculpt.studies.experiments.counting import Peak, Work

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
            peak = Peak()
            with peak:
                self._loss().backward()
            return peak.most
        self._wait()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._loss().backward()
        self._wait()
        most: int = torch.cuda.max_memory_allocated(self._device)
        return most - before

    def work(self) -> int:
        """Return the floating-point operations of convolutions and matrix products in a step."""
        self._optimizer.zero_grad(set_to_none=True)
        work = Work()
        with work:
            self._loss().backward()
        return work.total

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
