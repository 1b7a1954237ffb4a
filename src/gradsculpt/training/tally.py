"""What is noted of the training steps of an epoch, on their device: means, and whether a number was not finite."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gradsculpt.devices import at_hand
from gradsculpt.errors import RunError


class Tally:
    """Sums over the steps of an epoch. Steps only add to it; to read it is to wait for the device.

    It works in place on tensors that stay where they are, so that a CUDA graph can add to it.

    Args:
        device: Where the steps are taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}
        self._images, self._steps = torch.zeros((), device=device), torch.zeros((), device=device)

    def begin(self) -> None:
        """Forget the epoch before."""
        for tensor in self.tensors:
            tensor.zero_()

    @property
    def tensors(self) -> list[Tensor]:
        """All that is kept."""
        return [self._images, self._steps, *(tensor for row in self._rows.values() for tensor in row)]

    def add(self, values: Mapping[str, Tensor], images: int) -> None:
        """Add the values of a step, each a mean over so many images; no value has to be waited for."""
        names = tuple(values)
        if names not in self._rows:
            empty = torch.zeros(len(names), device=self._device)
            self._rows[names] = empty, empty.clone()
        sums, first = self._rows[names]
        with torch.no_grad():
            row = torch.stack([value.detach().to(sums.dtype) for value in values.values()])
            self._steps.add_(1)
            self._images.add_(images)
            sums.add_(row * images)
            # The number of the first step at which a value was not finite, 0 for none.
            first.copy_(torch.where((first == 0) & ~row.isfinite(), self._steps, first))

    def total(self, name: str) -> Tensor:
        """Return the sum of a value over all images, without waiting; 0 if there is none of that name."""
        rows = (dict(zip(names, sums.unbind(), strict=True)) for names, (sums, _) in self._rows.items())
        return sum((row[name] for row in rows if name in row), torch.zeros((), device=self._device))

    def means(self, added_up: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Tensor]:
        """Return the mean of each value over all images, without waiting; `added_up` sums over several processes."""
        names = [name for row in self._rows for name in row]
        images, *totals = added_up(torch.cat([self._images[None], *(sums for sums, _ in self._rows.values())])).unbind()
        return {name: total / images for name, total in zip(names, totals, strict=True)}

    def check(self, epoch: int) -> None:
        """Raise `RunError` if a value was not finite; waits for the device."""
        broken = {
            name: (int(step), float(total))
            for names, row in self._rows.items()
            for name, total, step in zip(names, *map(_read, row), strict=True)
            if step
        }
        if not broken:
            return
        when = min(step for step, _ in broken.values())
        through = [name for name, (step, _) in broken.items() if step == when and name != LOSS]
        value = broken.get(LOSS, (when, math.nan))[1]
        raise RunError(
            f"the loss became {value} in epoch {epoch} through {', '.join(through) or 'their sum'}; that was in step "
            f"{when} of the epoch, and training cannot go on. Lower --lr or the weight of the penalty."
        )


LOSS = "loss"


def check_weights(network: nn.Module, epoch: int) -> None:
    """Raise `RunError` if a weight is not finite, as gradients can be where the loss is; waits for the device."""
    weights = {name: weight.detach() for name, weight in network.named_parameters() if weight.numel()}
    if not weights:
        return
    largest = torch.stack([norm.float() for norm in torch._foreach_norm(list(weights.values()), math.inf)])
    broken = [name for name, size in zip(weights, _read(largest), strict=True) if not math.isfinite(size)]
    if broken:
        raise RunError(
            f"the weights {broken[0]} became NaN or infinite in epoch {epoch} through their gradients, while the loss "
            "was finite; training cannot go on. Lower --lr or the weight of the penalty, or pass --clip."
        )


def _read(t: Tensor) -> list[float]:
    values = at_hand(t)
    return [float(value) for value in (t.cpu().numpy() if values is None else values)]
