"""The curvature of a network in the direction in which it is most curved."""

from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import Output
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.errors import ConvergenceError
from gradsculpt.gradients import Model
from gradsculpt.isolation import undisturbed
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.hessian import Curvature
from gradsculpt.metrics.neighbourhood import lengths
from gradsculpt.numerics import dot, spread, unit, wide

_INFINITE = float("inf")


@metric(
    Score(
        "top_eigenvalue",
        -_INFINITE,
        _INFINITE,
        None,
        meaning="How curved the network is where it is most so: above 0 upwards, below 0 downwards.",
    ),
    Score(
        "residual",
        0.0,
        _INFINITE,
        "lower",
        "fraction",
        meaning="How far off the largest curvature may be, as a share of itself.",
    ),
    Score(
        "spectral_norm",
        0.0,
        _INFINITE,
        None,
        meaning="How curved the network is where it is most so, upwards or downwards.",
    ),
)
def top_eigenvalue(
    model: Model,
    x: Tensor,
    y: Tensor | None,
    steps: int = 100,
    tolerance: float | None = 0.01,
    *,
    output: Output = "logit",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Eigenvalue of the largest magnitude, with its sign, of the Hessian of a class output in the input.

    One forward and one backward pass, and one backward pass through it for each step of Lanczos' iteration, whose
    vectors are kept orthogonal to all before. Each image is done with as soon as its residual is within the tolerance.
    The magnitude is at most the Frobenius norm (`hessian_norm`), and equal to it where only one direction is curved.
    For a network of ReLUs the Hessian is 0 wherever it exists.

    Args:
        model: Used in the mode it is in; its state does not change.
        x: The images as the model takes them. A batch goes in one piece, with its graph and a vector an image and step.
        y: Classes [N]; None for the predicted ones.
        steps: Most products with the Hessian. As many as an image has entries are always enough.
        tolerance: The greatest residual, as a share of the eigenvalue; None takes what there is after all steps.
        output: Which output of the class, as of `Gradient`.
        seed: Seed of the first vector, which is the same for every image.

    Shape: [N, C, H, W] to three of [N].
    Units: Output units per model unit squared; residual none.

    Returns:
        top_eigenvalue; spectral_norm, its magnitude; and residual: |H v - theta v| of the unit vector v and the value
        theta that were found, or the excess over |theta| that the other end of the spectrum may have, if that is more,
        over |theta|. Within this share, theta is an eigenvalue: the largest, unless one still larger has hardly a part
        in the random first vector (where many are alike, a share of a few per cent is no proof yet). The error itself
        is of the order of the residual squared where no other eigenvalue is near. NaN without a finite output. Neither
        sign nor size is better by itself: the eigenvalue grows with the scale of a network.

    Raises:
        ArgumentError: If a number is out of range, a name is unknown, or x or y is no batch of images and classes.
        ConvergenceError: If an image is not within the tolerance after all steps.

    Source: Lanczos 1950; Joo et al., AAAI 2023 (local gradient alignment), whose released test estimates it beside the
        Frobenius norm.
    Deviation: Power iteration, which needs more products, stalls where the two ends of the spectrum are alike.

    Example:
        >>> weights = torch.tensor([1.0, -6.0, 2.0, 0.5])
        >>> model = lambda x: (x.flatten(1).square() * weights).sum(dim=1, keepdim=True)
        >>> top_eigenvalue(model, torch.rand(1, 1, 2, 2), torch.tensor([1]))["top_eigenvalue"]
        tensor([-12.0000])
    """
    checks.at_least("steps", steps, 1)
    checks.at_least("seed", seed, 0)
    if tolerance is not None:
        checks.positive("tolerance", tolerance)
    with arithmetic(create_graph=True), undisturbed(model):
        x = source(x, create_graph=False)
        curvature = Curvature(model, x, clean_classes(model, x, y), output)
        with torch.no_grad():
            value, residual = _lanczos(curvature, min(steps, x[0].numel()), tolerance or 0.0, seed)
    precision = torch.promote_types(x.dtype, torch.float32)
    missed = [] if tolerance is None else (residual > tolerance).nonzero().flatten().tolist()
    if missed:
        raise ConvergenceError(
            f"after {steps} products with the Hessian, the largest eigenvalue of image {missed[0]} is certain to "
            f"{float(residual[missed[0]]):.2g} of itself only, not to tolerance={tolerance:g}; it would be a guess. "
            "Pass more steps or a greater tolerance, or double precision."
        )
    value, residual = value.to(x.device, precision), residual.to(x.device, precision)
    return {"top_eigenvalue": value, "residual": residual, "spectral_norm": value.abs()}


class _Found(NamedTuple):
    """The eigenvalue of largest magnitude of each image, [N], and its residual as a share of it, [N]."""

    value: Tensor
    residual: Tensor


def _lanczos(curvature: Curvature, steps: int, tolerance: float, seed: int) -> _Found:
    """Iterate until every image is within the tolerance, each as if it were alone."""
    like = wide(curvature.gradient)
    first = torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    basis = [unit(first[None].to(like)).expand_as(like)]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    found = _Found(*like.new_full((2, len(like)), torch.inf, dtype=torch.float64))
    for _ in range(steps):
        image = wide(curvature.product(basis[-1].to(curvature.gradient.dtype)))
        diagonal.append(dot(basis[-1], image).double())
        for vector in [*basis, *basis]:  # twice, as what one round leaves over is rounding of a larger vector
            image = image - spread(dot(vector, image), image) * vector
        rest = lengths(image[None])[0].double()
        now = _largest(torch.stack(diagonal, dim=1), torch.stack([*beside, rest], dim=1))
        going = found.residual > tolerance
        found = _Found(*(torch.where(going, new, old) for new, old in zip(now, found, strict=True)))
        if not bool((found.residual > tolerance).any()):
            break
        # Where nothing but rounding is left over, the vectors so far span all that the first one leads to.
        scale = torch.finfo(like.dtype).eps * torch.stack([*diagonal, *beside, rest]).abs().amax(dim=0)
        beside.append(torch.where(rest > scale, rest, 0.0))
        basis.append(torch.where(spread(rest > scale, image), unit(image), 0.0))
    return found


def _largest(diagonal: Tensor, beside: Tensor) -> _Found:
    """Return the largest eigenvalue of tridiagonal matrices: [N, k], and beside that [N, k], whose last leads on."""
    whole = (diagonal + beside).isfinite().all(dim=1, keepdim=True)
    diagonal, beside = (torch.where(whole, t, 0.0).cpu() for t in (diagonal, beside))
    matrix = diagonal.diag_embed() + beside[:, :-1].diag_embed(1) + beside[:, :-1].diag_embed(-1)
    values, vectors = torch.linalg.eigh(matrix)
    rests = beside[:, -1:] * vectors[:, -1].abs()
    ends, rests = values[:, [0, -1]], rests[:, [0, -1]]
    top = ends.abs().argmax(dim=1, keepdim=True)
    value, rest = ends.gather(1, top)[:, 0], rests.gather(1, top)[:, 0]
    # The other end may turn out to be the larger one, as long as it is not certain either.
    beyond = (ends.abs() + rests).gather(1, 1 - top)[:, 0] - value.abs()
    doubt = torch.maximum(rest, beyond)
    share = torch.where(doubt <= 0, 0.0, doubt / value.abs())
    kept = whole[:, 0]
    return _Found(*(torch.where(kept, t.to(kept.device), torch.nan) for t in (value, share)))
