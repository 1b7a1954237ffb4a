"""What is said of a step whose numbers are not finite: its images, what broke, and what to try."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import GradsculptError, RunError
from gradsculpt.gradients import leaf_gradients
from gradsculpt.wording import counted, printable

_MOST = 20  # images that a line names
_PATIENCE = 5.0  # seconds in which images are tried one by one
_SHARE, _FEWEST = 0.5, 10
"""Of which share of the batches no more is left out, once there were so many."""

Terms = Callable[[slice], Mapping[str, Tensor]]
"""Evaluates the objective on a part of the batch again, and returns its terms with their graphs."""


class BrokenStepError(RunError):
    """A step of a training has a loss or a gradient that is not finite, and was not taken."""


def of_loss(value: float, terms: Sequence[str], epoch: int) -> str:
    """Say what the loss became, and through which of its terms."""
    return f"the loss became {value} in epoch {epoch} through {', '.join(terms) or 'their sum'}"


def of_gradient(parameters: Sequence[str], terms: Sequence[str], epoch: int) -> str:
    """Say which gradients broke, and through which terms, if that is known."""
    first, *others = parameters or ["the network, in another process"]
    which = f"{first} and {counted(len(others), 'parameters')} more" if others else first
    through = f" through {', '.join(terms)}" if terms else ""
    return f"the gradient of {which} became NaN or infinite in epoch {epoch}{through}, while the loss was finite"


def images(names: Sequence[str], chosen: Iterable[int] | None, alone: Sequence[int] = ()) -> str:
    """Name the images of a batch, or, of those who break it, only them.

    Args:
        names: Those of the whole set; numbers stand for images without.
        chosen: Their places in the set; None where they are not known.
        alone: The places in the batch of the images that break by themselves.

    Example:
        >>> images(("a.png", "b.png", "c.png"), [2, 0]), images(("a.png", "b.png", "c.png"), [2, 0], alone=[1])
        ('on c.png, a.png', 'on a.png (of a batch of 2 images)')
    """
    if chosen is None:
        return "on images that are not known"
    batch = [int(place) for place in chosen]
    shown = [batch[place] for place in alone] or batch
    texts = [printable(names[place]) if place < len(names) else f"image {place}" for place in shown[:_MOST]]
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    whole = f" (of a batch of {counted(len(batch), 'images')})" if alone else ""
    return f"on {', '.join(texts)}{more}{whole}"


def stopped(fact: str, step: int, where: str, *, weights: Sequence[str], alone: bool, precision: str) -> str:
    """Return the whole line about a step at which a training stops, with what to try."""
    told = f"{fact}; that was in step {step} of the epoch, {where}, and training cannot go on."
    if weights:
        return (
            f"{told} The weights {weights[0]} were not finite before it: lower --lr, pass --clip, or start from other "
            "--weights."
        )
    half = f", --precision 32-true in place of {precision}" if "16" in precision else ""
    images = "Look at these images, or leave them out; or lower" if alone else "Lower"
    return (
        f"{told} {images} --lr or the weight of the penalty, pass --clip{half}, or have such batches left out by "
        "--on-nan skip."
    )


def check_share(left_out: float, done: int, epoch: int, *, ended: bool, what: str = "batches") -> None:
    """Raise `BrokenStepError` if more than half of the batches of an epoch were left out, once there were a few."""
    if left_out > _SHARE * (done if ended else max(done, _FEWEST)):
        raise BrokenStepError(
            f"{left_out:.0f} of {done} {what} in epoch {epoch} were left out, as their loss or gradients were not "
            "finite, and a network that learns from what is left is not what was asked for. Lower --lr or the weight "
            "of the penalty, or look at the images."
        )


def terms_with_broken_gradients(terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]) -> list[str]:
    """Return the names of the terms whose gradients by parameters are not all finite."""
    wanted = [each for each in parameters if each.requires_grad]
    return [
        name for name, term in terms.items() if not all(bool(g.isfinite().all()) for g in leaf_gradients(term, wanted))
    ]


def broken_alone(terms: Terms, parameters: Iterable[nn.Parameter], count: int) -> list[int]:
    """Return which images of a batch break a step by themselves; none if it is all of them, or cannot be told."""
    wanted, found, until = list(parameters), list[int](), time.monotonic() + _PATIENCE
    for place in range(count):
        if time.monotonic() > until:
            return []
        values = terms(slice(place, place + 1))
        finite = all(bool(each.isfinite().all()) for each in values.values())
        if not finite or terms_with_broken_gradients(values, wanted):
            found.append(place)
    return found if len(found) < count else []


def unless_it_fails(function: Callable[[], list[Any]]) -> list[Any]:
    """Return what a closer look finds, or nothing where it cannot be had."""
    try:
        return function()
    except (GradsculptError, RuntimeError, ValueError, LookupError, TypeError):
        return []


def broken_weights(network: nn.Module) -> list[str]:
    """Return the names of the weights that are not finite; waits for the device."""
    weights = {name: weight.detach() for name, weight in network.named_parameters() if weight.numel()}
    if not weights:
        return []
    sizes = torch.stack([size.double().cpu() for size in torch._foreach_norm(list(weights.values()), math.inf)])
    return [name for name, finite in zip(weights, sizes.isfinite().tolist(), strict=True) if not finite]


def check_weights(network: nn.Module, epoch: int) -> None:
    """Raise `BrokenStepError` if a weight is not finite, as a step can make it whose gradients are; waits."""
    if broken := broken_weights(network):
        raise BrokenStepError(
            f"the weights {broken[0]} became NaN or infinite in epoch {epoch} by a step of the optimiser, while loss "
            "and gradients were finite; training cannot go on. Lower --lr or the weight of the penalty, or pass --clip."
        )
