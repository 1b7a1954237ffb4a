"""How curved a network is in its input, which bounds how far gradients nearby differ and how far it is from linear."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import Gradient, Output, class_output
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.metrics.base import Score, metric, wide
from gradsculpt.metrics.hessian import Curvature, Probe
from gradsculpt.metrics.neighbourhood import Neighbourhood, lengths, maps_near
from gradsculpt.metrics.similarity import cosine
from gradsculpt.numerics import divided, unit
from gradsculpt.outputs import logits_at
from gradsculpt.penalties import Penalty, Size

_INFINITE = float("inf")


@metric(
    Score("hessian_norm", 0.0, _INFINITE, None, meaning="How curved the network is around the image."),
    Score("standard_error", 0.0, _INFINITE, None, meaning="How far off the estimate of the curvature may be."),
    Score("squared_hessian_norm", 0.0, _INFINITE, None, meaning="How curved the network is around the image, squared."),
)
def hessian_norm(
    model: Model,
    x: Tensor,
    y: Tensor | None,
    probes: int = 10,
    *,
    probe: Probe = "rademacher",
    output: Output = "logit",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Frobenius norm of the Hessian of a class output in the input, estimated from products with random vectors.

    One forward pass, one backward pass, and one backward pass through it for each probe. The mean of |H v|^2 over
    vectors v whose entries are independent with mean 0 and variance 1 is |H|_F^2, without bias; its root is biased
    downwards, by little once the standard error is small. For a network of ReLUs the Hessian is 0 wherever it exists.

    Args:
        model: Used in the mode it is in; its state does not change.
        x: The images as the model takes them. A batch goes in one piece, with its graph.
        y: Classes [N]; None for the predicted ones.
        probes: Number of random vectors, at least 2; every image sees the same.
        probe: Entries of -1 and 1, whose estimate varies less, or standard normal ones.
        output: Which output of the class, as of `Gradient`.
        seed: Seed of the vectors.

    Shape: [N, C, H, W] to three of [N].
    Units: Output units per model unit squared; squared_hessian_norm in the square of that.

    Returns:
        hessian_norm, the root of the mean; its standard_error (by the delta method); and squared_hessian_norm, the
        mean itself. All at least 0. Neither direction is better by itself: the norm falls with the scale of a network.

    Raises: ArgumentError if a number is out of range, a name is unknown, or x or y is no batch of images and classes.
    Source: Hutchinson 1990; Joo et al., AAAI 2023 (local gradient alignment), Theorem 6 and its discussion.
    Deviation: Their released test divides the sum over probes by the size of the noise instead of the number of probes.

    Example:
        >>> model = lambda x: x.flatten(1).square().cumsum(1)  # the last output has the Hessian 2 I
        >>> norms = hessian_norm(model, torch.rand(1, 1, 2, 2), torch.tensor([3]))
        >>> norms["hessian_norm"], norms["standard_error"]
        (tensor([4.]), tensor([0.]))
    """
    checks.at_least("probes", probes, 2)
    with arithmetic(create_graph=True), undisturbed(model):
        x = source(x, create_graph=False)
        probed = Curvature(model, x, clean_classes(model, x, y), output).probed(probes, probe, seed)
    norm, scaled = _root_mean_square(probed.to(wide(x)))
    spread = (scaled.square() - 1).square().sum(dim=0).div(probes * (probes - 1)).sqrt()
    return {"hessian_norm": norm, "standard_error": norm * spread / 2, "squared_hessian_norm": norm.square()}


@metric(
    Score(
        "cosine_criterion",
        low=0.0,
        high=1.0,
        better="lower",
        meaning="How far the map turns under slight noise: 0 is not at all, 1 is into its opposite.",
    ),
    Score(
        "bound",
        low=0.0,
        high=_INFINITE,
        better="lower",
        meaning="How far the map could turn under slight noise in any direction, as the network is curved.",
    ),
    Score(
        "directional_bound",
        low=0.0,
        high=_INFINITE,
        better="lower",
        meaning="How far the map could turn in the direction of the noise, as the network is curved.",
    ),
)
def upper_bound(
    model: Model,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    neighbourhood: Neighbourhood = Neighbourhood(),
    probes: int = 10,
    *,
    probe: Probe = "rademacher",
    output: Output = "logit",
) -> dict[str, Tensor]:
    """Cosine criterion between gradients at an image and near it, beside its bounds by curvature over gradient.

    With g the class output, H its Hessian at x and d a random change of the image, (1 - cos(grad g(x + d),
    grad g(x))) / 2 <= |H d| / |grad g(x + d)| <= |d| |H|_F / |grad g(x + d)|. None depends on the scale of g.

    Arguments are those of `hessian_norm`, whose estimate is |H|_F; `eps`, the half-width of the uniform noise d, of
    which a tensor gives every channel its own; and `neighbourhood`: how many changes d there are, and where x + d may
    lie. Its seed is that of the vectors too.

    Shape: [N, C, H, W] to three of [N].
    Units: None; eps in model units.

    Returns:
        Means over the draws, lower is steadier: cosine_criterion in [0, 1]; bound, with |d| |H|_F; directional_bound,
        with |H d|. They hold up to terms in |d|^2. Where the gradient at x + d is 0, the theorem says nothing, and 1
        stands for the bounds; the criterion is 1/2 if one gradient is 0, and 0 if both are.

    Raises: As `hessian_norm`.
    Source: Joo et al., AAAI 2023 (local gradient alignment), Definition 4, Theorem 6; Figure 3(b), directional_bound.
    Deviation: Their released test draws Gaussian noise and divides the sum of |H v|^2 by the size of the noise.

    Example:
        >>> model = lambda x: x.flatten(1).square().cumsum(1)
        >>> scores = upper_bound(model, torch.ones(1, 1, 2, 2), torch.tensor([3]), eps=0.01)
        >>> bool(scores["cosine_criterion"] < scores["directional_bound"] < scores["bound"])
        True
    """
    checks.at_least("probes", probes, 1)
    with arithmetic(create_graph=True), undisturbed(model):
        x = source(x, create_graph=False)
        y = clean_classes(model, x, y)
        curvature = Curvature(model, x, y, output)
        norm, _ = _root_mean_square(curvature.probed(probes, probe, neighbourhood.seed))
        groups = []
        for points in neighbourhood.noisy_inputs(x, eps):
            near = maps_near(Gradient(output), model, points, y)
            along = torch.stack([curvature.product_lengths(d) for d in points - x])
            clean = curvature.gradient.to(near).repeat(len(near), 1, 1, 1)
            angle = cosine(clean, near.flatten(0, 1), signed=True).view(along.shape)
            steep = lengths(near)
            bounds = (divided(change, steep, empty=1.0) for change in (lengths(points - x) * norm, along))
            groups.append(torch.stack([(1 - angle) / 2, *bounds]))
    means = torch.cat(groups, dim=1).mean(dim=1).to(wide(x))
    return {score.name: mean for score, mean in zip(upper_bound.scores, means, strict=True)}


def _root_mean_square(norms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the root mean square over the probes [N], and the norms over it [probes, N], 1 where all are 0."""
    top = norms.amax(dim=0)  # taken out first, so that no square overflows or vanishes
    root = top * divided(norms, top).square().mean(dim=0).sqrt()
    return root, divided(norms, root, empty=1.0)


@metric(
    Score(
        "linearization_error",
        low=0.0,
        high=_INFINITE,
        better="lower",
        meaning="How far the loss at a small distance is from where a straight line would put it.",
    ),
    Score(
        "relative_error",
        low=0.0,
        high=1.0,
        better="lower",
        unit="fraction",
        meaning="How much of the change of the loss a straight line does not foresee.",
    ),
    Score(
        "smoothness",
        low=0.0,
        high=_INFINITE,
        better="lower",
        meaning="How fast the slope of the loss changes on the way to a small distance.",
    ),
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

    Raises: As `hessian_norm`.
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

    def losses(inputs: Tensor) -> Tensor:
        logits = logits_at(model, inputs)
        return -class_output(logits.to(wide(logits)), target.repeat(len(inputs) // max(1, len(x))), "log_probability")

    with arithmetic(create_graph=False):
        x = source(x, create_graph=False)
        target = clean_classes(model, x, y)
        with undisturbed(model):
            start, gradient = input_gradient(losses, x)
        groups = []
        for directions in _directions(gradient, direction, neighbourhood):
            deltas = eps * directions
            if neighbourhood.bounds is not None:  # or rounding would be taken for a part of the step
                deltas = neighbourhood.inside(x + deltas) - x
            with undisturbed(model):  # again, so that dropout draws what it drew for the start
                moved = losses((x + deltas).flatten(0, 1))
            slope = (gradient * deltas).flatten(2).sum(dim=2)
            error = (moved.view(slope.shape) - start - slope).abs()
            smoothness = 2 * divided(error, lengths(deltas).square())
            groups.append(torch.stack([error, divided(error, error + slope.abs()), smoothness]))
        largest = torch.cat(groups, dim=1).amax(dim=1).to(wide(x))
    return {score.name: values for score, values in zip(linearization_error.scores, largest, strict=True)}


def _directions(gradient: Tensor, direction: Penalty | str, neighbourhood: Neighbourhood) -> Iterator[Tensor]:
    """Yield groups of perturbations [S, N, C, H, W] of L2 norm 1."""
    if direction == "random":
        for drawn in neighbourhood.noise(gradient):
            yield unit(drawn.flatten(0, 1))[:, None].expand(-1, *gradient.shape)
    else:
        yield unit(direction.dual(gradient) if isinstance(direction, Penalty) else gradient)[None]
