"""Whether the numbers of a training step are finite: found on the device, so that a broken step is never taken."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer


class Guard:
    """Looks at the gradients of each step where they are, and keeps a step that is broken from being taken.

    Nothing waits for the device: fused optimisers are told there that a step is not to be taken, and what was changed
    before is undone there. Whoever wants to know waits, by `is_broken` and `first`.

    Args:
        parameters: What is trained, by name.
        device: Where the steps are taken.
        skipping: Whether a broken step is left out and the next one taken; or else none is taken after a broken one.
        kept: Returns what else a step changes, such as running statistics, and a step that is left out must not.

    Attributes:
        broken: Whether the step, or without `skipping` any so far, was broken: 1 or 0, a scalar on the device.
        left_out, latest: How many batches were left out since `begin_epoch`, and the number of the last of them.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        device: torch.device,
        *,
        skipping: bool,
        kept: Callable[[], Sequence[Tensor]] = lambda: (),
    ) -> None:
        self._parameters = {name: each for name, each in parameters.items() if each.requires_grad and each.numel()}
        self._kept, self.skipping = kept, skipping
        self.broken, self.left_out, self.latest = (torch.zeros((), device=device) for _ in range(3))
        kinds = {torch.float32, *(each.dtype for each in self._parameters.values())}
        kind = torch.float64 if torch.float64 in kinds else torch.float32
        # The largest entries of all gradients and the number of the batch, at the first broken step or the latest.
        self._record = torch.zeros(len(self._parameters) + 1, dtype=kind, device=device)
        self._before: dict[int, Tensor] = {}
        self._batches = 0

    @property
    def tensors(self) -> list[Tensor]:
        """All that is kept on the device."""
        return [self.broken, self.left_out, self.latest, self._record]

    def begin_epoch(self) -> None:
        """Count anew what is left out."""
        self.left_out.zero_()
        self.latest.zero_()

    def masks(self, optimizer: Optimizer) -> None:
        """Have a fused optimiser take no step that is broken."""
        optimizer.found_inf = self.broken  # type: ignore[attr-defined]
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                # What it would make at its first step holds whatever was in memory if that step is not taken.
                if group.get("momentum") and not optimizer.state[parameter]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def begin(self) -> None:
        """Begin an optimiser step, of one batch or several."""
        self._batches = 0
        if self.skipping:
            self.broken.zero_()
            self._before = {id(tensor): tensor.detach().clone() for tensor in self._kept()}

    def look(self, finite: Tensor, number: Tensor) -> None:
        """Look at the gradients as they are after a batch.

        Args:
            finite: Whether the loss and its terms are finite, a scalar on the device.
            number: That of the batch, also there.
        """
        self._batches += 1
        with torch.no_grad():
            found = [each.grad for each in self._parameters.values() if each.grad is not None]
            largest = iter(torch._foreach_norm(found, math.inf) if found else ())
            none = self._record.new_zeros(())
            sizes = [none if each.grad is None else next(largest) for each in self._parameters.values()]
            record = torch.stack([each.to(self._record.dtype) for each in (*sizes, number)])
            bad = (~(record.isfinite().all() & finite)).to(self.broken.dtype)
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(bad, distributed.ReduceOp.MAX)  # all processes take a step, or none does
            self._record.copy_(torch.where(self.broken > 0, self._record, record))
            self.broken.copy_(torch.maximum(self.broken, bad))

    def undo(self) -> None:
        """Undo, if the step was broken, what it has changed already, and count its batches."""
        with torch.no_grad():
            off = self.broken > 0
            for tensor in self._kept():
                before = self._before.get(id(tensor))
                tensor.copy_(torch.where(off, torch.zeros_like(tensor) if before is None else before, tensor))
            self.left_out.add_(self.broken * self._batches)
            self.latest.copy_(torch.where(off, self._record[-1].to(self.latest.dtype), self.latest))
        self._before = {}

    def forgive(self) -> None:
        """Take back what was found, as nothing was broken but the scale of the loss."""
        self.broken.zero_()

    @property
    def is_broken(self) -> bool:
        """Whether `broken` is set; waits for the device."""
        return bool(self.broken)

    def first(self) -> tuple[int, list[str]]:
        """Return the number of the batch that was broken, and the parameters whose gradients were; waits."""
        *sizes, number = self._record.cpu().tolist()
        names = zip(self._parameters, sizes, strict=True)
        return int(number), [name for name, size in names if not math.isfinite(size)]


def blended(off: Tensor, before: Any, after: Any) -> Any:
    """Return what is carried after a step, or what was before it if `off` says that the step was left out."""
    if not isinstance(after, Tensor):
        return after
    alike = isinstance(before, Tensor) and before.shape == after.shape and before.dtype == after.dtype
    return torch.where(off, before if alike else torch.zeros_like(after), after)
