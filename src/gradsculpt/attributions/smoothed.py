"""Maps averaged over noisy copies of an image: SmoothGrad and its relatives, around any attribution."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution, SpecialCase
from gradsculpt.attributions.gradient import Gradient, Output
from gradsculpt.attributions.sampling import arithmetic, clean_classes, noise, noise_level, passes, source
from gradsculpt.gradients import Model
from gradsculpt.inputs import Bounds
from gradsculpt.numerics import in_range

Kind = Literal["mean", "square", "variance"]


@dataclass(frozen=True)
class Smoothed(Attribution):
    """The mean, mean square or variance of an attribution over copies of each image with Gaussian noise.

    Statistics are computed in float32 at least. Every image sees the same noise, scaled by its own range, so with a
    network in evaluation mode a map depends neither on the other images of the batch nor on `batch_size`; a second call
    repeats it.

    Args:
        base, samples: The attribution of the noisy copies, and their number.
        sigma: Standard deviation of the noise, as a share of the image's own range (its largest minus its smallest
            entry, as the model takes it), or of `noise_range`.
        kind: The mean over the copies, the mean of the squares, or the variance (a single copy has variance 0).
        seed: Seed of the noise.
        batch_size: Images in one pass; a batch that is larger itself goes in one piece. None takes at most 32, and only
            as many as keep the memory of a pass at about 1 GB (on an accelerator, at half of what is free), by one
            forward pass that looks how much an image needs; a large batch then goes in pieces too, if the network is
            in evaluation mode. With `create_graph`, the graphs of all copies are kept all the same.
        noise_range: Least and greatest input, such as `space.bounds`, if all images are to have noise of one level.

    Raises: ArgumentError if a setting or target is out of range, or x is no floating-point batch.
    Source: Smilkov et al. 2017 (SmoothGrad); Hooker et al., NeurIPS 2019 (the squares); Adebayo et al., NeurIPS 2018
        (VarGrad).
    Deviation: The class is the one predicted for the clean image, not for each noisy copy. Published code measures the
        range over a whole batch.

    Example:
        >>> import torch
        >>> Smoothed(samples=1, sigma=0.0)(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]]))
        tensor([[[[4., 0.]]]])
    """

    base: Attribution = field(default_factory=Gradient)
    samples: int = 50
    sigma: float = 0.15
    kind: Kind = "mean"
    seed: int = 0
    batch_size: int | None = None
    noise_range: Bounds | None = None

    def __post_init__(self) -> None:
        checks.each_at_least(self, samples=1, sigma=0, seed=0, batch_size=1)
        checks.bounds("noise_range", self.noise_range)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the smoothed maps, shape [N, C, H, W]; squares and variances are not negative.

        They are in the precision of x, but for squares and variances of float16, which are float32.
        """
        with arithmetic(create_graph):
            x = source(x, create_graph)
            target = clean_classes(model, x, target)
            copies, size = self.samples, self.batch_size
            with passes(self.base, model, x, create_graph, copies=copies, batch_size=size) as several:
                level = noise_level(x, self.sigma, self.noise_range)
                generator = torch.Generator().manual_seed(self.seed)
                noisy = (x + level * drawn for drawn in noise(x, several.groups(copies, len(x)), generator))
                maps = (several.read(self.base, points, target, create_graph=create_graph) for points in noisy)
                # Squares of gradients that float16 holds leave its range at both ends.
                return self._statistic(maps).to(x.dtype if self.kind == "mean" else in_range(x.dtype))

    def _statistic(self, groups_of_maps: Iterator[Tensor]) -> Tensor:
        mean, spread, count = torch.zeros(()), torch.zeros(()), 0
        for maps in groups_of_maps:
            maps = maps.square() if self.kind == "square" else maps
            # Means and squared deviations of groups are merged: a sum of squares minus a squared sum would cancel.
            of_group, share = maps.mean(dim=0), len(maps) / (count + len(maps))
            change = of_group - mean.to(of_group)
            if self.kind == "variance":
                within = (maps - of_group).square().sum(dim=0)
                spread = spread.to(of_group) + within + change.square() * (count * share)
            mean = mean.to(of_group) + change * share
            count += len(maps)
        return spread / self.samples if self.kind == "variance" else mean


@dataclass(frozen=True)
class _SmoothedGradient(SpecialCase):
    samples: int = 50
    sigma: float = 0.15
    _: KW_ONLY
    output: Output = "logit"
    seed: int = 0
    batch_size: int | None = None
    noise_range: Bounds | None = None
    kind: ClassVar[Kind]

    @property
    def general(self) -> Smoothed:
        """The gradient of the output, smoothed."""
        base = Gradient(self.output)
        return Smoothed(base, self.samples, self.sigma, self.kind, self.seed, self.batch_size, self.noise_range)


@dataclass(frozen=True)
class SmoothGrad(_SmoothedGradient):
    """SmoothGrad: the mean gradient over noisy copies of each image.

    `output` is as of `Gradient`; the other arguments, and what is raised, are those of `Smoothed`.

    Source: Smilkov et al. 2017 (SmoothGrad); with sigma .15 as in the experiments of MoreauGrad.
    """

    kind: ClassVar[Kind] = "mean"


@dataclass(frozen=True)
class SmoothGradSquared(_SmoothedGradient):
    """SmoothGrad-squared: the mean of the squared gradients over noisy copies; the arguments of `SmoothGrad`.

    Source: Hooker et al., NeurIPS 2019 (ROAR).
    """

    kind: ClassVar[Kind] = "square"


@dataclass(frozen=True)
class VarGrad(_SmoothedGradient):
    """VarGrad: the variance of the gradient over noisy copies of each image; the arguments of `SmoothGrad`.

    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps).
    """

    kind: ClassVar[Kind] = "variance"
