"""The forward passes of one training step, which its terms share, and what comes of them."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.devices import Values, at_hand
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, Recording, differentiable, input_gradient
from gradsculpt.outputs import class_logits, logits_at, two_sided
from gradsculpt.perturbations import State
from gradsculpt.randomness import normal_like, uniform_like


@dataclass(frozen=True)
class Losses:
    """The result of an objective on one batch.

    Args:
        loss: What to call `backward` on; a scalar, averaged over the batch.
        logits: [N, K], of the inputs on which the data term was computed, without a graph; [N, 1] for a single logit.
        terms: What adds up to the loss, by name.
        state: What to hand to the next step; empty where nothing is carried.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    state: State = field(default_factory=dict)


_NO_CLASS = -(2**62)
"""The class of images that do not count: none is, where -100, PyTorch's own, would be taken for one in silence."""


def _logits(model: Model, y: Tensor, classes: int, inputs: Tensor) -> Tensor:
    """Return the logits of images, of which there must be enough for the classes that there are."""
    logits = logits_at(model, inputs)
    count = two_sided(logits).shape[1]
    if count < classes:
        checks.labels(y, len(y), count)
    return logits


class Passes:
    """One batch on its way through a network; what several terms of a loss read is computed once.

    Args:
        model, x, y, attention, generator: As objectives take them.
        recorded: Whether input gradients will be read from the pass at x.

    Attributes:
        training: The pass that trains the network, where a data term has left it to the regularisers.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        attention: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        recorded: bool = True,
    ) -> None:
        checks.images("x", x)
        self.model, self.x, self.attention = model, differentiable(x), attention
        labels = checks.labels(y, len(x), waiting=False)
        values = at_hand(labels)
        self._classes = 0 if values is None else int(values.max()) + 1
        self.y = labels.to(x.device)
        self._generator, self._recorded = generator, recorded
        self.training: Recording | None = None

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits [N, K] of images; raise `ArgumentError` if there are classes that the model has not."""
        return _logits(self.model, self.y, self._classes, inputs)

    def record(self, inputs: Tensor, *, tracked: bool = True, order: int = 3) -> Recording:
        """Return a pass at images whose output is their logits; the arguments are those of `Recording`."""
        # Not by a method of its own: passes that are referred to by what they hold would stay until cycles are looked
        # for, and with them the graph of their network.
        function = partial(_logits, self.model, self.y, self._classes)
        return Recording(function, inputs, tracked=tracked, order=order)

    @cached_property
    def clean(self) -> Recording:
        """The pass at x; it is the training pass if the data term asks for it first."""
        return self.record(self.x, tracked=self._recorded)

    @cached_property
    def clean_logit_gradient(self) -> Tensor:
        """The gradient of the true class's logit at x, [N, C, H, W], without a graph."""
        return self.logit_gradient(self.clean, create_graph=False)

    def forget(self) -> Tensor | None:
        """Drop the pass at x, and return the leaf that it started from; what was read from it stays."""
        clean: Recording | None = self.__dict__.pop("clean", None)
        return None if clean is None else clean.point

    def first(self, count: int) -> "Passes":
        """Return the first images of the batch, with passes of their own."""
        attention = None if self.attention is None else self.attention[:count]
        passes = Passes(self.model, self.x[:count], self.y[:count], attention, generator=self.generator)
        passes.training = self.training
        return passes

    def logit_gradient(self, recording: Recording, *, create_graph: bool = True) -> Tensor:
        """Return the gradient of the true class's logit in a pass, [N, C, H, W]."""
        return recording.gradient(class_logits(recording.output, self.y), create_graph=create_graph)

    def losses(self, logits: Tensor) -> Tensor:
        """Return the cross entropy of each image, [N]."""
        return F.cross_entropy(two_sided(logits), self.y, reduction="none", ignore_index=_NO_CLASS)

    def loss_gradient(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross entropy of each image [N] and its gradient at `inputs`, without a graph."""
        if inputs is self.x and self._recorded:
            values = self.losses(self.clean.output)
            return values.detach(), self.clean.gradient(values)
        return input_gradient(lambda point: self.losses(self.logits(point)), inputs)

    @cached_property
    def generator(self) -> torch.Generator:
        """The source of randomness of this step, on the device of x."""
        if self._generator is not None:
            return self._generator
        drawn = cast(Values, at_hand(torch.randint(2**62, (), device="cpu")))
        return torch.Generator(self.x.device).manual_seed(int(drawn))

    def uniform(self) -> Tensor:
        """Return noise between -1 and 1, shaped like x."""
        return uniform_like(self.x, self.generator)

    def gaussian(self) -> Tensor:
        """Return standard normal noise, shaped like x."""
        return normal_like(self.x, self.generator)


def check_term(of: object, name: str, value: object) -> None:
    """Raise `ArgumentError` if what a regulariser returned as one of its terms is no scalar tensor."""
    if not isinstance(value, Tensor) or value.ndim:
        got = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ArgumentError(
            f"{type(of).__name__} returned {got} as its term {name!r}; return a mean over the batch, a scalar tensor."
        )
