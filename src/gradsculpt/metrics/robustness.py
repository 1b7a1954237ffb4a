"""How much a map changes when the image is changed a little, at random."""

from typing import Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.heatmap import heatmap
from gradsculpt.attributions.sampling import arithmetic, clean_classes, source
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.neighbours import Bounds, clean_map, length, neighbours, noisy_maps, wide
from gradsculpt.metrics.similarity import cosine, pearson, ssim
from gradsculpt.penalties import Size


@metric(
    Score("cosine", low=-1.0, high=1.0, better="higher"),
    Score("pearson", low=-1.0, high=1.0, better="higher"),
    Score("ssim", low=-1.0, high=1.0, better="higher"),
)
def rps(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    draws: int = 10,
    *,
    bounds: Bounds | None = None,
    compare: Literal["raw", "heatmap"] = "raw",
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, Tensor]:
    """Random perturbation similarity: how alike the maps of an image and of its noisy neighbours are.

    Published at eps of 4, 8 and 16 pixel levels; the headline is the cosine at 16, `space.pixels(16 / 255)`.

    Args:
        model: What the maps are of; used in the mode it is in, its state does not change.
        attribution: How maps are read.
        x: The images as the model takes them.
        y: The classes of the maps [N], noisy ones included; None for the class predicted for the clean image.
        eps: Half-width of the uniform noise; a tensor gives every channel its own.
        draws: Number of noisy neighbours.
        bounds: Smallest and largest model input, to which neighbours are clamped: `space.bounds`.
        compare: What cosine and Pearson correlation compare: the entries of the maps with their signs, or heat maps,
            magnitudes added up over the channels. SSIM is always of heat maps, each divided by its largest value.
        seed: Seed of the noise, which is the same for every image.
        batch_size: Images in one pass; a batch that is larger itself goes in one piece.

    Shape:
        [N, C, H, W] to three of [N].

    Units:
        eps and bounds in model units; the scores have none.

    Returns:
        Means over the draws of cosine, pearson and ssim, each in [-1, 1], higher is steadier, 1 if no map changes.
        Zero and constant maps count as in the measures of these names.

    Raises:
        ArgumentError: If a number is out of range, a map is not finite, or x or y is no batch of images and classes.

    Source:
        Joo et al., AAAI 2023 (local gradient alignment), "Random perturbation similarity"; Dombrowski et al. 2022.

    Deviation:
        The released code compares channel sums of magnitudes, as `compare="heatmap"` does, but scales the two maps
        differently from the second draw on, and clamps to the extremes of the batch.

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> x = torch.rand(2, 1, 4, 4)
        >>> rps(lambda x: x.flatten(1), Gradient(), x, torch.tensor([0, 5]), eps=0.1)["cosine"]  # a linear model
        tensor([1., 1.])
    """
    checks.one_of("compare", compare, ("raw", "heatmap"))
    with arithmetic(create_graph=False):
        x = source(x, create_graph=False)
        y = clean_classes(model, x, y)
        clean = clean_map(attribution, model, x, y)
        found = [
            _similarities(clean, noisy_maps(attribution, model, points, y), compare)
            for points in neighbours(x, eps, draws, bounds, seed, batch_size)
        ]
        return {name: torch.cat([part[name] for part in found]).mean(dim=0).to(wide(x)) for name in found[0]}


@metric(Score("local_lipschitz", low=0.0, high=float("inf"), better="lower"))
def local_lipschitz(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    draws: int = 10,
    *,
    bounds: Bounds | None = None,
    relative: bool = False,
    seed: int = 0,
    batch_size: int = 32,
) -> Tensor:
    """Local Lipschitz estimate: the largest |h(x') - h(x)| / |x' - x| over noisy neighbours x' of an image.

    A lower bound of the Lipschitz constant of the map h in the box, which rises with the draws. Unless `relative`, it
    grows with the scale of the map, so networks of different scale cannot be compared by it.

    Args:
        model: What the maps are of; used in the mode it is in, its state does not change.
        attribution: How maps are read.
        x: The images as the model takes them.
        y: The classes of the maps [N], noisy ones included; None for the class predicted for the clean image.
        eps: Half-width of the uniform noise; a tensor gives every channel its own.
        draws: Number of noisy neighbours.
        bounds: Smallest and largest model input, to which neighbours are clamped: `space.bounds`.
        relative: Divide by the L2 norm of the clean map too; a zero map that changes counts as a change of 1.
        seed: Seed of the noise, which is the same for every image.
        batch_size: Images in one pass; a batch that is larger itself goes in one piece.

    Shape:
        [N, C, H, W] to [N].

    Units:
        Map units per model unit; with `relative`, one per model unit. Norms are L2 norms over all entries.

    Returns:
        The estimate, at least 0, lower is steadier; 0 if no map changes, or no neighbour differs from its image.

    Raises:
        ArgumentError: If a number is out of range, a map is not finite, or x or y is no batch of images and classes.

    Source:
        Alvarez-Melis and Jaakkola 2018 (On the robustness of interpretability methods).

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> x = torch.rand(2, 1, 4, 4)
        >>> model = lambda x: x.flatten(1).square().cumsum(1)  # the last gradient is 2 x
        >>> local_lipschitz(model, Gradient(), x, torch.tensor([15, 15]), eps=0.1).round(decimals=3)
        tensor([2., 2.])
    """
    change, distance = _changes(model, attribution, x, y, eps, draws, bounds, relative, seed, batch_size)
    ratio = torch.where(distance > 0, change, 0.0) / torch.where(distance > 0, distance, 1.0)
    return ratio.amax(dim=0).to(wide(x))


@metric(Score("max_sensitivity", low=0.0, high=float("inf"), better="lower"))
def max_sensitivity(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    draws: int = 10,
    *,
    bounds: Bounds | None = None,
    relative: bool = False,
    seed: int = 0,
    batch_size: int = 32,
) -> Tensor:
    """Max-sensitivity: the largest |h(x') - h(x)| over noisy neighbours x' of an image.

    Of `Gradient()`, this is the l2 criterion of local gradient alignment at the worst draw. Unless `relative`, it grows
    with the scale of the map, so networks of different scale cannot be compared by it.

    Args:
        model: What the maps are of; used in the mode it is in, its state does not change.
        attribution: How maps are read.
        x: The images as the model takes them.
        y: The classes of the maps [N], noisy ones included; None for the class predicted for the clean image.
        eps: Half-width of the uniform noise; a tensor gives every channel its own.
        draws: Number of noisy neighbours.
        bounds: Smallest and largest model input, to which neighbours are clamped: `space.bounds`.
        relative: Divide by the L2 norm of the clean map; a zero map that changes counts as a change of 1.
        seed: Seed of the noise, which is the same for every image.
        batch_size: Images in one pass; a batch that is larger itself goes in one piece.

    Shape:
        [N, C, H, W] to [N].

    Units:
        Map units; with `relative`, none. Norms are L2 norms over all entries.

    Returns:
        The largest change, at least 0, lower is steadier; 0 if no map changes.

    Raises:
        ArgumentError: If a number is out of range, a map is not finite, or x or y is no batch of images and classes.

    Source:
        Yeh et al., NeurIPS 2019 (On the (in)fidelity and sensitivity of explanations).

    Example:
        >>> from gradsculpt.attributions import Gradient
        >>> x = torch.rand(2, 1, 4, 4)
        >>> max_sensitivity(lambda x: x.flatten(1), Gradient(), x, torch.tensor([0, 5]), eps=0.1)
        tensor([0., 0.])
    """
    change, _ = _changes(model, attribution, x, y, eps, draws, bounds, relative, seed, batch_size)
    return change.amax(dim=0).to(wide(x))


def _similarities(clean: Tensor, maps: Tensor, compare: str) -> dict[str, Tensor]:
    """Return how alike each of the maps [S, N, ...] is to the clean one [N, ...], three of [S, N]."""
    flat = maps.flatten(0, 1)
    first, second = heatmap(clean, clip=100.0), heatmap(flat, clip=100.0)
    pictures = first.repeat(len(maps), 1, 1), second
    pair = pictures if compare == "heatmap" else (clean.repeat(len(maps), *[1] * (clean.ndim - 1)), flat)
    found = {"cosine": cosine(*pair, signed=True), "pearson": pearson(*pair, signed=True), "ssim": ssim(*pictures)}
    return {name: values.view(maps.shape[:2]) for name, values in found.items()}


def _changes(
    model: Model,
    attribution: Attribution,
    x: Tensor,
    y: Tensor | None,
    eps: Size,
    draws: int,
    bounds: Bounds | None,
    relative: bool,
    seed: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Return how far maps and images move in each draw, two of [draws, N]."""
    with arithmetic(create_graph=False):
        x = source(x, create_graph=False)
        y = clean_classes(model, x, y)
        clean = clean_map(attribution, model, x, y)
        size = length(clean[None])
        changes, distances = [], []
        for points in neighbours(x, eps, draws, bounds, seed, batch_size):
            change = length(noisy_maps(attribution, model, points, y) - clean)
            if relative:
                whole = torch.where(size > 0, size, change)  # of a zero map, all that there is now is change
                change = change / torch.where(whole > 0, whole, 1.0)
            changes.append(change)
            distances.append(length(points - x).to(change))
        return torch.cat(changes), torch.cat(distances)
