"""What is noted of the training steps of an epoch, on their device: means, and whether a number was not finite."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradsculpt.devices import at_hand


class Tally:
    """Sums over the steps of an epoch. Steps only add to it; to read it is to wait for the device.

    It works in place on tensors that stay where they are, so that a CUDA graph can add to it.

    Args:
        device: Where the steps are taken.

    Attributes:
        steps: How many steps there were since `begin`, a scalar on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}
        self._images, self.steps = torch.zeros((), device=device), torch.zeros((), device=device)

    def begin(self) -> None:
        """Forget the epoch before."""
        for tensor in self.tensors:
            tensor.zero_()

    @property
    def tensors(self) -> list[Tensor]:
        """All that is kept."""
        return [self.steps, *self.values]

    @property
    def values(self) -> list[Tensor]:
        """All that is kept but the number of steps."""
        return [self._images, *(tensor for row in self._rows.values() for tensor in row)]

    def add(self, values: Mapping[str, Tensor], images: int) -> Tensor:
        """Add the values of a step, each a mean over so many images; return whether all are finite. Nothing waits."""
        names = tuple(values)
        if names not in self._rows:
            empty = torch.zeros(len(names), device=self._device)
            self._rows[names] = empty, empty.clone()
        sums, first = self._rows[names]
        with torch.no_grad():
            row = torch.stack([value.detach().to(sums.dtype) for value in values.values()])
            self.steps.add_(1)
            self._images.add_(images)
            sums.add_(row * images)
            # The number of the first step at which a value was not finite, 0 for none.
            finite = row.isfinite()
            first.copy_(torch.where((first == 0) & ~finite, self.steps, first))
            return finite.all()

    def total(self, name: str) -> Tensor:
        """Return the sum of a value over all images, without waiting; 0 if there is none of that name."""
        rows = (dict(zip(names, sums.unbind(), strict=True)) for names, (sums, _) in self._rows.items())
        return sum((row[name] for row in rows if name in row), torch.zeros((), device=self._device))

    def means(self, added_up: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Tensor]:
        """Return the mean of each value over all images, without waiting; `added_up` sums over several processes."""
        names = [name for row in self._rows for name in row]
        images, *totals = added_up(torch.cat([self._images[None], *(sums for sums, _ in self._rows.values())])).unbind()
        return {name: total / images for name, total in zip(names, totals, strict=True)}

    def broken(self) -> tuple[int, list[str], float] | None:
        """Return the first step with a value that was not finite, the terms of which that holds, and the loss; waits.

        None if all was finite. The loss is a number that is finite where only its terms were not.
        """
        found = {
            name: (int(step), float(total))
            for names, row in self._rows.items()
            for name, total, step in zip(names, *map(_read, row), strict=True)
            if step
        }
        if not found:
            return None
        when = min(step for step, _ in found.values())
        terms = [name for name, (step, _) in found.items() if step == when and name != LOSS]
        return when, terms, found.get(LOSS, (when, math.nan))[1]


LOSS = "loss"


def _read(t: Tensor) -> list[float]:
    values = at_hand(t)
    return [float(value) for value in (t.cpu().numpy() if values is None else values)]
