"""Images near an image and their maps: what the measures of robustness have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.heatmap import finite_maps
from gradsculpt.attributions.sampling import groups, noise, read
from gradsculpt.gradients import Model
from gradsculpt.inputs import Bounds
from gradsculpt.numerics import divisor, length, peak
from gradsculpt.penalties import Size
from gradsculpt.penalties.base import matching


@dataclass(frozen=True)
class Neighbourhood:
    """Which images near an image are looked at: random ones, moved by the same noise for every image.

    A score therefore depends neither on the other images of a batch nor on `batch_size`.

    Args:
        draws: How many there are.
        bounds: Smallest and largest model input, to which they are clamped: `space.bounds`; None does not clamp.
        seed: Seed of the noise.
        batch_size: Images in one pass; a batch that is larger itself goes in one piece.

    Units: bounds in model units.
    Raises: ArgumentError if a number is out of range.

    Shape: images [N, C, H, W] to as many of the same shape, `draws` times.

    Example:
        >>> Neighbourhood(bounds=(-1.0, 1.0)).inside(torch.tensor(9.0))
        tensor(1.)
    """

    draws: int = 10
    bounds: Bounds | None = None
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        checks.each_at_least(self, draws=1, seed=0, batch_size=1)

    def noise(self, like: Tensor, draw: Callable[..., Tensor] = torch.randn) -> Iterator[Tensor]:
        """Yield the draws [S, 1, C, H, W] in groups that are read in one pass each."""
        generator = torch.Generator().manual_seed(self.seed)
        return noise(like, groups(self.draws, len(like), self.batch_size), generator, draw)

    def inside(self, images: Tensor) -> Tensor:
        """Return the images, clamped to the bounds."""
        if self.bounds is None:
            return images
        return images.clamp(*(torch.as_tensor(edge).to(images) for edge in self.bounds))

    def noisy_inputs(self, x: Tensor, eps: Size) -> Iterator[Tensor]:
        """Yield groups of neighbours [S, N, C, H, W]: x + eps u, u uniform in [-1, 1], clamped to the bounds."""
        checks.at_least("eps", eps, 0.0)
        for u in self.noise(x, _uniform):
            yield self.inside(u * matching(eps, x) + x)


def maps_near(
    attribution: Attribution, model: Model, points: Tensor, target: Tensor, name: str = "the map of a noisy image"
) -> Tensor:
    """Return the maps [S, N, ...] of points [S, N, C, H, W], at least in float32; refuse those that are not finite."""
    maps = read(attribution, model, points, target, create_graph=False)
    for drawn in maps:
        finite_maps(name, drawn)
    return maps


def lengths(t: Tensor) -> Tensor:
    """Return the L2 norm of each sample of [S, N, ...], [S, N]; the peak goes first, so that no square underflows."""
    samples = t.flatten(0, 1)
    top = peak(samples)
    return (top.flatten() * length(samples / divisor(top))).view(t.shape[:2])


def _uniform(*shape: Any, **options: Any) -> Tensor:
    return 2 * torch.rand(*shape, **options) - 1
