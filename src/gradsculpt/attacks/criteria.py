"""What an attack wants of a map: a loss to follow, and the score by which its results are judged; lower is better."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import channel_sum
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import topk_mask
from gradsculpt.numerics import cosine, divisor, length, unit_peak, wide

Distance = Literal["mse", "cosine"]


class Criterion(ABC):
    """What an attack wants of the maps, given those of the clean images.

    A criterion of your own says what it has to know of the clean maps (`reference`) and gives a `loss` to follow, one
    value an image that does not depend on the others; a `score` as well, where the loss is not what counts.

    Attributes:
        floor: A score that nothing is better than: an image that reached it is done.
        flat: Whether the loss has no slope at the clean image, so that a search has to start elsewhere.

    Units: of maps, those of the attribution; a loss and a score have any, as long as less is better.

    Example:
        >>> from dataclasses import dataclass
        >>> from gradsculpt.attacks import Manipulation
        >>> from gradsculpt.attributions import Gradient
        >>> class Weaker(Criterion):
        ...     def reference(self, clean):
        ...         return clean.abs().flatten(1).sum(dim=1)
        ...
        ...     def loss(self, maps, reference):
        ...         return maps.abs().flatten(1).sum(dim=1) / reference
        >>> @dataclass(frozen=True, repr=False)
        ... class Weakening(Manipulation):
        ...     steps: int = 10
        ...
        ...     def plan(self, height, width):
        ...         return Weaker(), self.steps
        >>> square = lambda x: x.flatten(1).square().sum(dim=1, keepdim=True)
        >>> Weakening(0.5).run(square, Gradient(), torch.ones(1, 1, 1, 2), torch.tensor([0])).score
        tensor([0.5000])
    """

    floor: ClassVar[float] = 0.0
    flat: ClassVar[bool] = False

    @abstractmethod
    def reference(self, clean: Tensor) -> Tensor:
        """Return what has to be known of the clean maps [N, C, H, W], one entry an image."""

    @abstractmethod
    def loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the loss [N] of maps [N, C, H, W], differentiable almost everywhere."""

    def score(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the score [N] that decides which iterate is better: the loss itself, unless one says otherwise."""
        return self.loss(maps, reference)


@dataclass(frozen=True)
class Towards(Criterion):
    """The map shall look like a target, at a distance in [0, 1]; both are as of `TargetedManipulation`."""

    target: Tensor
    distance: Distance = "mse"

    def __post_init__(self) -> None:
        checks.declared(self)

    def reference(self, clean: Tensor) -> Tensor:
        """Return the target of every image, [N, H, W]."""
        shape = (len(clean), *clean.shape[-2:])
        try:
            target = self.target.to(clean).expand(shape)
        except RuntimeError as error:
            raise ArgumentError(
                f"the target map has shape {list(self.target.shape)}, which does not broadcast to the maps "
                f"{list(shape)}; pass one [{shape[1]}, {shape[2]}] picture, or one for each image."
            ) from error
        return unit_peak(target.abs())

    def loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the distance to the target."""
        pictures = unit_peak(channel_sum(maps.abs()))
        if self.distance == "cosine":
            return 1 - cosine(pictures, reference)
        return (pictures - reference).square().mean(dim=(1, 2))


@dataclass(frozen=True)
class Away(Criterion):
    """The map shall have nothing in common with the clean one: the cosine of their magnitudes, in [0, 1]."""

    flat: ClassVar[bool] = True

    def reference(self, clean: Tensor) -> Tensor:
        """Return the magnitudes of the clean maps."""
        return unit_peak(clean.abs())

    def loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the cosine."""
        return cosine(unit_peak(maps.abs()), reference)


@dataclass(frozen=True)
class OutOfTop(Criterion):
    """The entries of largest magnitude shall not be the largest any more.

    The loss is the share of all magnitude that lies on the entries that were the largest, in [0, 1]. The score is
    the share of these entries that still are: the top-k intersection, which has no slope to follow. Which entries are
    the largest is as of `topk_mask`.
    """

    k: float = 0.4
    nonzero: bool = False

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.share("k", self.k)

    def reference(self, clean: Tensor) -> Tensor:
        """Mark the largest entries, [N, D]."""
        return topk_mask(clean, self.k, self.nonzero)

    def loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the share of the magnitude."""
        sizes = unit_peak(maps.abs()).flatten(1)
        return (sizes / divisor(sizes.sum(dim=1, keepdim=True)) * reference).sum(dim=1)

    def score(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the share of the entries; 0 if there were none."""
        kept = (topk_mask(maps, self.k, self.nonzero) & reference).sum(dim=1)
        return kept.to(maps.dtype) / reference.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class MassCenter(Criterion):
    """The centre of mass of the map's magnitudes shall move: minus the distance, in pixels, from where it was."""

    floor: ClassVar[float] = -torch.inf
    flat: ClassVar[bool] = True

    def reference(self, clean: Tensor) -> Tensor:
        """Return the centre of every clean map, [N, 2]."""
        return mass_center(clean)

    def loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return minus the distance."""
        return -length(mass_center(maps) - reference)


def mass_center(maps: Tensor) -> Tensor:
    """Return the centre of mass of the magnitudes of maps.

    Shape: [N, C, H, W] or [N, H, W] to [N, 2].
    Units: Pixels, counted from the centre of the upper left one.

    Returns:
        Row and column, in float32 at least. A map that is zero everywhere has its centre in the middle.

    Source: Ghorbani et al., AAAI 2019.

    Example:
        >>> mass_center(torch.tensor([[[0.0, -1.0], [0.0, 1.0]]]))
        tensor([[0.5000, 1.0000]])
    """
    pixels = channel_sum(unit_peak(wide(maps).abs()))
    pixels = torch.where(pixels.sum(dim=(1, 2), keepdim=True) > 0, pixels, 1.0)
    rows, columns = (torch.arange(side, dtype=pixels.dtype, device=pixels.device) for side in pixels.shape[1:])
    centres = torch.stack([pixels.sum(dim=2) @ rows, pixels.sum(dim=1) @ columns], dim=1)
    return centres / pixels.sum(dim=(1, 2))[:, None]


def frame(height: int, width: int, thickness: int | None = None) -> Tensor:
    """Return a picture of a frame: 1 along the border and 0 inside, where the object usually is.

    Shape: [height, width].
    Units: Pixels; the thickness of each side is by default 5 of 32 of the shorter side, at least 1.
    Raises: ArgumentError if the frame leaves nothing inside, or a number is below 1.
    Source: Joo et al., AAAI 2023, experiments and figure 3; the width is that of the released code.

    Example:
        >>> frame(3, 4)
        tensor([[1., 1., 1., 1.],
                [1., 0., 0., 1.],
                [1., 1., 1., 1.]])
    """
    shorter = min(height, width)
    thickness = max(1, round(shorter * 5 / 32)) if thickness is None else thickness
    checks.whole("thickness", thickness, 1)
    if 2 * thickness >= shorter:
        raise ArgumentError(
            f"a frame {thickness} pixels thick leaves nothing inside of {height} x {width} pixels; pass a thickness "
            "below half the shorter side, or another target map."
        )
    picture = torch.ones(height, width)
    picture[thickness:-thickness, thickness:-thickness] = 0.0
    return picture
