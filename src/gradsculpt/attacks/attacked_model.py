"""The network under attack: its maps, its predictions, and gradients of both with respect to the images alone."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gradsculpt.attributions import Attribution
from gradsculpt.eager import eager
from gradsculpt.errors import FlatMapsError, UnknownFunctionError
from gradsculpt.gradients import Model, differentiable, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.kernels import Reading, noted_relu, softplus_for_relu, twice_differentiable
from gradsculpt.outputs import logits_at, predicted, two_sided


class Look(NamedTuple):
    """What the real network gives for a batch: maps [N, C, H, W], and logits [N, K]."""

    maps: Tensor
    logits: Tensor


SmoothBeta = float | Literal["auto"] | None
"""Sharpness of the Softplus whose slopes an attack follows, None for the network's own, "auto" for those that lead."""

SMOOTH_BETA = 20.0
"""Sharpness of the Softplus that "auto" takes."""


class AttackedModel:
    """A network and an attribution of it, seen by an attack; the arguments are those of `Manipulation`.

    Attributes:
        smooth_beta: Sharpness of the Softplus whose slopes were followed; None where they were the network's own.
    """

    def __init__(self, model: Model, attribution: Attribution, smooth_beta: SmoothBeta) -> None:
        self._model, self._attribution = model, attribution
        self._auto = smooth_beta == "auto"
        self._rectifiers: list[str] | None = [] if self._auto and attribution.is_derivative else None
        self._real = Watched(model, None, fast=False, rectifiers=self._rectifiers)
        self._follow(None if isinstance(smooth_beta, str) else smooth_beta)

    def _follow(self, smooth_beta: float | None) -> None:
        """Take slopes from the network with Softplus of this sharpness, or from the network as it is."""
        if smooth_beta is not None:
            eager(self._model, "an attack through Softplus")  # refuses what hides its activations
        self.smooth_beta = smooth_beta
        self._sloped = Watched(self._model, smooth_beta, fast=True)
        self._slow = Watched(self._model, smooth_beta, fast=False)

    def look(self, x: Tensor, y: Tensor) -> Look:
        """Read the maps of classes y at x from the real network: the passes of the attribution, no more."""
        self._real.start(x)
        maps = self._attribution(self._real, x, y).detach()
        return Look(maps, self._real.logits(x).detach())

    def first_slope(
        self, x: Tensor, wanted: tuple[Tensor, ...], loss: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Look, Tensor, Tensor]:
        """Return what `slope` does, and with "auto" decide whose slopes are followed from here on.

        Where a network with ReLU has a gradient that changes at all, by its softmax or its gates, that tells little of
        how the map changes from one linear piece to the next. Raise `FlatMapsError` if no map of the batch has a slope.
        """
        if self._rectifiers:
            self._follow(SMOOTH_BETA)
        self._rectifiers = None
        look, kept, gradient = self.slope(x, wanted, loss)
        if not bool(kept.any()) or bool(gradient[kept].any()):
            return look, kept, gradient
        if self._auto and self.smooth_beta is None:
            self._follow(SMOOTH_BETA)
            return self.first_slope(x, wanted, loss)
        raise FlatMapsError(_FLAT if self.smooth_beta is None else _FLAT_STILL)

    def slope(
        self, x: Tensor, wanted: tuple[Tensor, ...], loss: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Look, Tensor, Tensor]:
        """Differentiate a loss of maps at x, or how far the class to keep is behind where the real network has lost it.

        `wanted` are the classes of the maps, those to keep, and the reference of the loss; returned is what the real
        network gives, whether each class is kept [N], and the gradient, shaped like x.
        """
        y, classes, reference = wanted
        same = self.smooth_beta is None
        seen: list[Look] = [] if same else [self.look(x, y)]

        def function(point: Tensor) -> Tensor:
            self._sloped.start(point)
            maps = self._attribution(self._sloped, point, y, create_graph=True)
            logits = self._sloped.logits(point)
            if same:
                seen.append(Look(maps.detach(), logits.detach()))
            kept, values = keeps(seen[0].logits, classes), loss(maps, reference)
            if bool(kept.all()):  # a backward pass of zeros would cost as much as any
                return values
            sides = two_sided(logits)
            others = sides.scatter(1, classes[:, None], -torch.inf).amax(dim=1)
            return torch.where(kept, values, others - sides.gather(1, classes[:, None])[:, 0])

        try:
            _, gradient = input_gradient(function, x, flat=True)  # maps may be constant between kinks
        except UnknownFunctionError:
            # An attribution with rules of its own may know PyTorch's functions only, and refuse the fast kernels.
            if self._sloped is self._slow:
                raise
            self._sloped = self._slow
            return self.slope(x, wanted, loss)
        return seen[0], keeps(seen[0].logits, classes), gradient


class Watched(nn.Module):
    """A network whose forward passes can be differentiated by the images alone, and whose last logits are kept.

    Attributions see the modules of the network under their names, so that what they do to these is done to it. `fast`
    passes are for maps that are going to be differentiated; in `rectifiers` the ReLU-like functions that are called are
    noted, if it is given, until there is one.
    """

    def __init__(
        self, model: Model, smooth_beta: float | None, *, fast: bool, rectifiers: list[str] | None = None
    ) -> None:
        super().__init__()
        self._watch = _Watch(model, smooth_beta, fast, rectifiers)
        if isinstance(model, nn.Module):
            # The very same dictionaries, so that a buffer that is replaced here is replaced there. From here on no
            # attribute may be set, as it could land in them.
            shared = {name: getattr(model, name) for name in ("_modules", "_parameters", "_buffers", "training")}
            vars(self).update(shared)

    def start(self, point: Tensor) -> None:
        """Say which images the logits will be asked for."""
        self._watch.point, self._watch.logits = point, None

    def logits(self, point: Tensor) -> Tensor:
        """Return the logits of these images: those of a pass that has been, or of one of their own."""
        logits, self._watch.point, self._watch.logits = self._watch.logits, None, None
        if logits is not None:
            return logits
        with undisturbed(self), torch.inference_mode(False), torch.set_grad_enabled(point.requires_grad):
            return self.forward(differentiable(point))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        watch = self._watch
        with ExitStack() as modes:
            if watch.fast:
                reading = Reading()
                reading.inputs_only = True
                modes.enter_context(twice_differentiable(reading))
            if watch.smooth_beta is not None:
                modes.enter_context(softplus_for_relu(watch.smooth_beta))
            if watch.rectifiers == []:
                modes.enter_context(noted_relu(watch.rectifiers))
            logits = logits_at(watch.model, x)
        point = watch.point
        if point is not None and x.shape == point.shape and (x is point or x.equal(point)):
            watch.logits = logits
        return logits


@dataclass
class _Watch:
    """What a watched network is and has seen, kept apart from its parts."""

    model: Model
    smooth_beta: float | None
    fast: bool
    rectifiers: list[str] | None
    point: Tensor | None = None
    logits: Tensor | None = None


def keeps(logits: Tensor, classes: Tensor) -> Tensor:
    """Return whether each image has its class, [N]; NaN has none."""
    return (predicted(logits) == classes) & logits.isfinite().all(dim=1)


_FLAT = (
    "the maps do not change with the images (their derivative is exactly 0 at every image), as of networks with ReLU, "
    'which are piecewise linear, so no gradient leads the attack. Pass smooth_beta=20, say, or "auto", to take slopes '
    "from the same network with Softplus and judge the result on the network itself."
)
_FLAT_STILL = (
    "the maps do not change with the images (their derivative is exactly 0 at every image), not even those of the same "
    "network with Softplus in the place of ReLU, so no gradient leads the attack. Either the network is linear, or it "
    "writes its corners out by hand ((x + x.abs()) / 2, say; call relu instead), or the attribution is constant where "
    "the network is smooth (guided backpropagation by steps, say; take gate=slope): use RandomPerturbation."
)
