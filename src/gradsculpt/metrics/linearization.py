"""How far a loss is from linear around an image."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.sampling import arithmetic, clean_classes, noise, source
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.metrics.base import Score, metric, wide
from gradsculpt.metrics.neighbourhood import Neighbourhood, lengths
from gradsculpt.numerics import divided, unit
from gradsculpt.penalties import Penalty


@metric(
    Score("linearization_error", low=0.0, high=float("inf"), better="lower"),
    Score("relative_error", low=0.0, high=1.0, better="lower", unit="fraction"),
    Score("smoothness", low=0.0, high=float("inf"), better="lower"),
)
def linearization_error(
    model: Model,
    x: Tensor,
    y: Tensor | None,
    eps: float,
    direction: Penalty | Literal["gradient", "random"] = "gradient",
    neighbourhood: Neighbourhood = Neighbourhood(),
) -> dict[str, Tensor]:
    """Error of the linear approximation of the loss at a distance: |L(x + d) - L(x) - <grad L(x), d>|, |d| = eps.

    L is the cross entropy. If its gradient is lambda-Lipschitz, the error is at most lambda eps^2 / 2. Where the error
    is small, training against the perturbation that is best for the linear approximation is training against the best.

    Args:
        model: Used in the mode it is in; its state does not change.
        x: The images as the model takes them.
        y: True classes [N]; None for the predicted ones.
        eps: L2 norm of the perturbation; positive. With single precision, rounding of the loss shows in the error
            where lambda eps^2 is below about 1e-6.
        direction: Where the perturbation points: uphill along the gradient, as a penalty's dual does (`L1(1.0)` along
            the sign), or anywhere.
        neighbourhood: How many random perturbations there are, of which the largest error counts, and where x + d may
            lie: what is clamped is shorter than eps.

    Shape: [N, C, H, W] to three of [N].
    Units: linearization_error in units of loss, relative_error none, smoothness in loss per model unit squared.

    Returns:
        linearization_error; relative_error, its share of error + |<grad L(x), d>|, in [0, 1]; and smoothness, the least
        lambda that the error allows, 2 error / |d|^2. Lower is closer to linear. Where the gradient is 0, no direction
        is uphill, and all are 0 unless the direction is random.

    Raises:
        ArgumentError: If a number is out of range, a name is unknown, or x or y is no batch of images and classes.

    Source: Gong et al., CVPR 2024 (AdvGrad), Definition 1, Observation 1, A.1.

    Example:
        >>> x = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
        >>> errors = linearization_error(lambda x: x.flatten(1), x, torch.tensor([0]), eps=0.1)
        >>> errors["smoothness"]  # the curvature there is 1/2, and less on the way
        tensor([0.4996], dtype=torch.float64)
    """
    checks.positive("eps", eps)
    if not isinstance(direction, Penalty):
        checks.one_of("direction", direction, ("gradient", "random"))
    with arithmetic(create_graph=False):
        x = source(x, create_graph=False)
        target = clean_classes(model, x, y)
        start, gradient = _losses(model, x, target)
        groups = []
        for directions in _directions(gradient, direction, neighbourhood):
            deltas = eps * directions
            if neighbourhood.bounds is not None:  # or rounding would be taken for a part of the step
                deltas = neighbourhood.inside(x + deltas) - x
            moved = _losses(model, (x + deltas).flatten(0, 1), target.repeat(len(deltas)), sloped=False)[0]
            slope = (gradient * deltas).flatten(2).sum(dim=2)
            error = (moved.view(slope.shape) - start - slope).abs()
            smoothness = 2 * divided(error, lengths(deltas).square())
            groups.append(torch.stack([error, divided(error, error + slope.abs()), smoothness]))
        largest = torch.cat(groups, dim=1).amax(dim=1).to(wide(x))
    return {score.name: values for score, values in zip(linearization_error.scores, largest, strict=True)}


def _losses(model: Model, x: Tensor, y: Tensor, *, sloped: bool = True) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of each image [N], at least in float32, and, if `sloped`, its gradient."""

    def losses(inputs: Tensor) -> Tensor:
        logits = model(inputs)
        return -class_output(logits.to(wide(logits)), y, "log_probability")

    with undisturbed(model):
        return input_gradient(losses, x) if sloped else (losses(x), torch.zeros_like(x))


def _directions(gradient: Tensor, direction: Penalty | str, neighbourhood: Neighbourhood) -> Iterator[Tensor]:
    """Yield groups of perturbations [S, N, C, H, W] of L2 norm 1."""
    if direction == "random":
        parts = neighbourhood.groups(len(gradient))
        for drawn in noise(gradient, parts, neighbourhood.generator()):
            yield unit(drawn.flatten(0, 1))[:, None].expand(-1, *gradient.shape)
    else:
        yield unit(direction.dual(gradient) if isinstance(direction, Penalty) else gradient)[None]
