"""How much a map changes when the image is changed a little, at random, or the network is trained again."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.heatmap import heatmap
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric, pair, wide
from gradsculpt.metrics.neighbourhood import Neighbourhood, lengths, maps_near
from gradsculpt.metrics.similarity import cosine, pearson, ssim
from gradsculpt.metrics.topk import topk_dice
from gradsculpt.numerics import divided
from gradsculpt.penalties import Size

_NOISE = "before and after slight noise"


@metric(
    replace(cosine.scores[0].within("cosine", _NOISE), low=-1.0),  # of the entries with their signs
    pearson.scores[0].within("pearson", _NOISE),
    ssim.scores[0].within("ssim", _NOISE),
)
def rps(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    neighbourhood: Neighbourhood = Neighbourhood(),
    *,
    compare: Literal["raw", "heatmap"] = "raw",
) -> dict[str, Tensor]:
    """Random perturbation similarity: how alike the maps of an image and of its noisy neighbours are.

    Published at eps of 4, 8 and 16 pixel levels; the headline is the cosine at 16, `space.pixels(16 / 255)`.

    Args:
        model: Used in the mode it is in; its state does not change.
        attribution: How maps are read.
        x: The images as the model takes them.
        y: The classes of the maps [N], noisy ones included; None for the class predicted for the clean image.
        eps: Half-width of the uniform noise; a tensor gives every channel its own.
        neighbourhood: How many neighbours there are, and where they may lie.
        compare: What cosine and Pearson correlation compare: the entries of the maps with their signs, or heat maps,
            magnitudes added up over the channels. SSIM is always of heat maps, each divided by its largest value.

    Shape: [N, C, H, W] to three of [N].
    Units: eps in model units; the scores have none.

    Returns:
        Means over the draws of cosine, pearson and ssim, each in [-1, 1], higher is steadier, 1 if no map changes.
        Zero and constant maps count as in the measures of these names.

    Raises: ArgumentError if eps is negative, a map is not finite, or x or y is no batch of images and classes.
    Source: Joo et al., AAAI 2023 (local gradient alignment), "Random perturbation similarity"; Dombrowski et al. 2022.
    Deviation: The released code compares channel sums of magnitudes, as `compare="heatmap"` does, but scales the two
        maps differently from the second draw on, and clamps to the extremes of the batch.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> rps(lambda x: x.flatten(1), Gradient(), torch.rand(1, 1, 4, 4), torch.tensor([5]), eps=0.1)["cosine"]
        tensor([1.])
    """
    checks.one_of("compare", compare, ("raw", "heatmap"))

    def likeness(clean: Tensor, maps: Tensor, _: Tensor) -> Tensor:
        near = maps.flatten(0, 1)
        pictures = heatmap(clean, clip=100.0).repeat(len(maps), 1, 1), heatmap(near, clip=100.0)
        compared = pictures if compare == "heatmap" else (clean.repeat(len(maps), *[1] * (clean.ndim - 1)), near)
        scores = cosine(*compared, signed=True), pearson(*compared, signed=True), ssim(*pictures)
        return torch.stack(scores).view(3, *maps.shape[:2])

    means = _over_draws(likeness, model, attribution, x, y, eps, neighbourhood).mean(dim=1).to(wide(x))
    return {score.name: values for score, values in zip(rps.scores, means, strict=True)}


@metric(
    Score(
        "local_lipschitz",
        low=0.0,
        high=float("inf"),
        better="lower",
        meaning="How fast the map changes with the image, at worst, when slight noise is added.",
    )
)
def local_lipschitz(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    neighbourhood: Neighbourhood = Neighbourhood(),
    *,
    relative: bool = False,
) -> Tensor:
    """Local Lipschitz estimate: the largest |h(x') - h(x)| / |x' - x| over noisy neighbours x' of an image.

    A lower bound of the Lipschitz constant of the map h in the box, which rises with the draws. Unless `relative`, it
    grows with the scale of the map, so networks of different scale cannot be compared by it.

    Arguments are those of `rps`, and `relative`: divide by the L2 norm of the clean map too; a zero map that changes
    counts as a change of 1.

    Shape: As of `rps`, to [N].
    Units: Map units per model unit; with `relative`, one per model unit. Norms are L2 norms over all entries.

    Returns:
        The estimate, at least 0, lower is steadier; 0 if no map changes, or no neighbour differs from its image.

    Raises: As `rps`.
    Source: Alvarez-Melis and Jaakkola 2018 (On the robustness of interpretability methods).

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> model = lambda x: x.flatten(1).square().cumsum(1)  # the last gradient is 2 x
        >>> local_lipschitz(model, Gradient(), torch.rand(1, 1, 4, 4), torch.tensor([15]), eps=0.1).round(decimals=3)
        tensor([2.])
    """
    measure = partial(_changes, relative=relative)
    changes, distances = _over_draws(measure, model, attribution, x, y, eps, neighbourhood)
    return divided(changes, distances).amax(dim=0).to(wide(x))


@metric(
    Score(
        "max_sensitivity",
        low=0.0,
        high=float("inf"),
        better="lower",
        meaning="How far the map moves, at worst, when slight noise is added to the image.",
    )
)
def max_sensitivity(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    neighbourhood: Neighbourhood = Neighbourhood(),
    *,
    relative: bool = False,
) -> Tensor:
    """Max-sensitivity: the largest |h(x') - h(x)| over noisy neighbours x' of an image.

    Of `Gradient()`, this is the l2 criterion of local gradient alignment at the worst draw. Arguments are those of
    `local_lipschitz`; unless `relative`, it grows with the scale of the map just the same.

    Shape: [N, C, H, W] to [N].
    Units: Map units; with `relative`, none. Norms are L2 norms over all entries.

    Returns:
        The largest change, at least 0, lower is steadier; 0 if no map changes.

    Raises: As `rps`.
    Source: Yeh et al., NeurIPS 2019 (On the (in)fidelity and sensitivity of explanations).

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> max_sensitivity(lambda x: x.flatten(1), Gradient(), torch.rand(1, 1, 4, 4), torch.tensor([5]), eps=0.1)
        tensor([0.])
    """
    measure = partial(_changes, relative=relative)
    return _over_draws(measure, model, attribution, x, y, eps, neighbourhood)[0].amax(dim=0).to(wide(x))


@metric(
    Score(
        "ssim",
        low=-1.0,
        high=1.0,
        better="higher",
        meaning="How alike the maps of two trainings look as pictures: 1 is the same.",
    ),
    Score(
        "topk_dice",
        low=0.0,
        high=1.0,
        better="higher",
        unit="fraction",
        meaning="How far the strongest pixels in the maps of two trainings are the same ones.",
    ),
)
def stability(a: Tensor, b: Tensor, k: float = 0.4) -> dict[str, Tensor]:
    """Likeness of the maps that two runs of one training method give to the same images, as heat maps.

    The published protocol trains twice, from different initialisations and with 1,000 training images swapped for
    test images, and scores 500 test images that the runs have in common. The arguments are those of `topk_dice`, which
    counts the share k of each heat map's non-zero pixels.

    Shape: Two of [N, H, W] or two of [N, C, H, W] to two of [N].
    Units: None, a fraction for topk_dice; the scale of either run's maps does not matter.

    Returns:
        ssim in [-1, 1] and topk_dice in [0, 1], of heat maps that are divided by their own largest value; higher is
        more stable, 1 for equal maps. Two zero maps are equal; a zero map and another have topk_dice 0.

    Raises: ArgumentError if the shapes differ, a map is not finite, or k is outside (0, 1].
    Source: Gong et al., CVPR 2024, sections 5.2 and B.7.

    Example:
        >>> a = torch.eye(16)[None]
        >>> stability(a, -2 * a)
        {'ssim': tensor([1.]), 'topk_dice': tensor([1.])}
    """
    first, second = (heatmap(maps, clip=100.0) for maps in pair(a, b))
    scores = {"ssim": ssim(first, second), "topk_dice": topk_dice(first, second, k, nonzero=True)}
    return {name: values.to(torch.result_type(a, b)) for name, values in scores.items()}


Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of clean maps [N, ...], maps of neighbours [S, N, ...] and what these were moved by, gives values [K, S, N]."""


def _changes(clean: Tensor, maps: Tensor, moved: Tensor, *, relative: bool) -> Tensor:
    """Return how far each map and its image have moved, [2, S, N]."""
    change = lengths(maps - clean)
    if relative:
        size = lengths(clean[None])
        change = divided(change, torch.where(size > 0, size, change))  # of a zero map, all there is now is change
    return torch.stack([change, lengths(moved).to(change)])


def _over_draws(
    of: Measure, model: Model, attribution: Attribution, x: Tensor, y: Tensor | None, eps: Size, near: Neighbourhood
) -> Tensor:
    """Return the measure in every draw, [K, draws, N]."""
    with arithmetic(create_graph=False):
        x = source(x, create_graph=False)
        y = clean_classes(model, x, y)
        clean = maps_near(attribution, model, x[None], y, "the clean map")[0]
        inputs = near.noisy_inputs(x, eps)
        return torch.cat([of(clean, maps_near(attribution, model, z, y), z - x) for z in inputs], dim=1)
