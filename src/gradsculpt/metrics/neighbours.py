"""Noisy neighbours of images and their maps: what the measures of robustness have in common."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.heatmap import finite_maps
from gradsculpt.attributions.sampling import groups, read
from gradsculpt.gradients import Model
from gradsculpt.penalties import Size
from gradsculpt.penalties.base import matching

Bounds = tuple[Tensor, Tensor]
"""The smallest and largest model input, each broadcasting to [N, C, H, W], as `InputSpace.bounds` gives them."""


def neighbours(x: Tensor, eps: Size, draws: int, bounds: Bounds | None, seed: int, batch_size: int) -> Iterator[Tensor]:
    """Yield groups of noisy copies [S, N, C, H, W] of images: x + eps u, u uniform in [-1, 1], clamped to the bounds.

    Every image sees the same u, so a copy depends neither on the other images of the batch nor on `batch_size`.

    Raises:
        ArgumentError: If a number is out of range.
    """
    checks.at_least("eps", eps, 0.0)
    noise = _uniform(x.shape[1:], seed)
    for group in shared(x, draws, seed, batch_size):
        copies = torch.stack([2 * next(noise) - 1 for _ in group]).to(x)[:, None] * matching(eps, x) + x
        yield copies if bounds is None else torch.clamp(copies, *(edge.to(x) for edge in bounds))


def shared(x: Tensor, draws: int, seed: int, batch_size: int) -> Iterator[range]:
    """Split the draws into groups that are read in one pass each.

    Raises:
        ArgumentError: If a number is out of range.
    """
    checks.at_least("draws", draws, 1)
    checks.at_least("seed", seed, 0)
    checks.at_least("batch_size", batch_size, 1)
    return groups(draws, len(x), batch_size)


def clean_map(attribution: Attribution, model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Return the maps of the images themselves, at least in float32; raise `ArgumentError` if they are not finite."""
    return finite_maps("the clean map", read(attribution, model, x[None], target, create_graph=False)[0])


def noisy_maps(attribution: Attribution, model: Model, copies: Tensor, target: Tensor) -> Tensor:
    """Return the maps [S, N, ...] of copies [S, N, C, H, W]; raise `ArgumentError` if they are not finite."""
    maps = read(attribution, model, copies, target, create_graph=False)
    for drawn in maps:
        finite_maps("the map of a noisy image", drawn)
    return maps


def length(t: Tensor) -> Tensor:
    """Return the L2 norm of each sample of [S, N, ...], [S, N]; the peak goes first, so that no square underflows."""
    flat = t.flatten(2)
    peak = flat.abs().amax(dim=2)
    scaled = flat / torch.where(peak > 0, peak, 1.0)[..., None]
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=2)
    return peak * norms


def wide(x: Tensor) -> torch.dtype:
    """Return the precision of scores of these images: theirs, and float32 where theirs is less."""
    return torch.promote_types(x.dtype, torch.float32)


def _uniform(shape: torch.Size, seed: int) -> Iterator[Tensor]:
    # Drawn one by one, since what a generator gives for two at once is not what it gives one after the other.
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.rand(shape, generator=generator, dtype=torch.float32)
