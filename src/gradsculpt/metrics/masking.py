"""Images with their most important pixels put in or taken out, and what a model makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.heatmap import channel_sum, magnitudes
from gradsculpt.attributions.sampling import groups
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model
from gradsculpt.isolation import undisturbed
from gradsculpt.kernels import fused
from gradsculpt.metrics.base import order, wide
from gradsculpt.outputs import logits_at, predicted, two_sided

Baseline = Literal["zero", "blur", "mean"] | Tensor
ClassOutput = Literal["probability", "logit", "accuracy"]

_BLUR_RADIUS, _BLUR_SIGMA = 5, 5.0  # the 11 x 11 kernel of Petsiuk et al.


@dataclass(frozen=True)
class Masking:
    """How pixels are put into images and taken out of them, and what is asked of the model then.

    Among pixels or squares that are equally important, the one that comes first in memory order goes first, so a
    constant map is scanned line by line.

    Args:
        baseline: What stands where a pixel of the image does not: "zero" in the space of x (for mean/std-normalised
            images the mean colour of the training data); "mean", each channel's mean over the image itself; "blur", the
            image under a Gaussian of 11 x 11 pixels with standard deviation 5; or a tensor that broadcasts over x.
        output: What is read from the model: the "probability" or the "logit" of the class, or "accuracy": 1 where the
            class is the predicted one and 0 elsewhere.
        patch: Side in pixels of the squares that come and go as one; smaller ones are left at the right and lower edge.
            None takes the metric's own: single pixels for insertion and deletion, regions for `aopc_morf`.
        batch_size: How many images go through the model at once.

    Raises: ArgumentError if a name is unknown or a number out of range.
    """

    baseline: Baseline = "zero"
    output: ClassOutput = "probability"
    patch: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        checks.each_at_least(self, patch=1, batch_size=1)


class Trial:
    """What a model makes of altered images; the arguments are those of `insertion`.

    Args:
        patch: Side of the squares that come and go as one, unless the masking has its own.

    Attributes:
        total: How many squares there are.
    """

    def __init__(self, model: Model, x: Tensor, y: Tensor, maps: Tensor, masking: Masking, patch: int = 1) -> None:
        side = masking.patch or patch
        ranks = ranking(regions(fitting_values(x, maps), side))
        self._model, self._x, self._masking = model, x.detach(), masking
        self._y = checks.labels(y, len(x)).to(x.device)
        self.total = ranks.shape[1] * ranks.shape[2]
        height, width = x.shape[2:]
        places = ranks.repeat_interleave(side, dim=1)[:, :height].repeat_interleave(side, dim=2)[:, :, :width]
        self._places = places.contiguous()

    def curve(self, counts: Sequence[int], *, hide: bool) -> Tensor:
        """Return the curve [N, len(counts)] of images of which the first places, and no more, are shown or hidden."""
        places = self._places
        if hide:  # counted from the least important place, what deletion leaves is what is put in
            places, counts = self.total - 1 - places, [self.total - count for count in counts]
        levels = sorted(set(counts))
        outside = baseline_images(self._x, self._masking.baseline)
        values = torch.empty(len(levels), len(self._x), dtype=wide(self._x), device=self._x.device)
        with undisturbed(self._model), fused(self._model, self._x) as network, torch.no_grad():
            # An image that is the same for the whole batch is evaluated once, unless batch statistics are in use.
            training = bool(getattr(self._model, "training", False))
            shared = levels[0] == 0 and len(outside) == 1 < len(self._x) and not training
            if shared:
                image = outside.expand(1, *self._x.shape[1:]).clone(memory_format=torch.channels_last)
                values[0] = self._answers(network, image, self._y)
            for start in range(0, len(self._x), self._masking.batch_size):
                rows = slice(start, start + self._masking.batch_size)
                self._fill(network, values[int(shared) :, rows], rows, places[rows], levels[int(shared) :], outside)
        if bool(values.isnan().any()):
            raise ModelError(
                "the model returns NaN for altered images, which would spoil every score; check its weights, or pass "
                "another baseline if these images are too unlike those it was trained on."
            )
        where = {level: i for i, level in enumerate(levels)}
        return values[[where[count] for count in counts]].T.contiguous().to(self._x.dtype)

    def _fill(
        self, network: Model, values: Tensor, rows: slice, places: Tensor, levels: Sequence[int], outside: Tensor
    ) -> None:
        """Evaluate some images at all levels, several levels at once, and write the values [levels, images]."""
        count = len(places)
        outside = outside if len(outside) == 1 else outside[rows]
        inside, outside = (batch.to(memory_format=torch.channels_last) for batch in (self._x[rows], outside))
        for group in groups(len(levels), count, self._masking.batch_size):
            # PyTorch's convolutions take channels_last in two thirds of the time on a CPU, and lose nothing on a GPU.
            shape = len(group) * count, *self._x.shape[1:]
            altered = torch.empty(shape, dtype=inside.dtype, device=inside.device, memory_format=torch.channels_last)
            for i, images in zip(group, altered.split(count), strict=True):
                torch.where((places < levels[i])[:, None], inside, outside, out=images)
            answers = self._answers(network, altered, self._y[rows].repeat(len(group)))
            values[group.start : group.stop] = answers.view(len(group), count)

    def _answers(self, network: Model, images: Tensor, y: Tensor) -> Tensor:
        """Return what is read from the model for classes y, [N], of N images, or of one that is the same for all."""
        logits = logits_at(network, images)
        logits = logits.to(wide(logits)).expand(len(y), -1)
        if self._masking.output == "accuracy":
            checks.labels(y, *two_sided(logits).shape)
            return (predicted(logits) == y.to(logits.device)).to(logits.dtype)
        return class_output(logits, y, self._masking.output)


def inserted(x: Tensor, maps: Tensor, gamma: float, baseline: Baseline = "zero") -> Tensor:
    """Return images that show the share gamma of their most important pixels, and the baseline elsewhere.

    Arguments are those of `insertion` and `Masking`; the number of pixels is rounded to the nearest, halves up.

    Raises: ArgumentError if shapes do not fit, x or a map is not finite, gamma is no share, or the baseline is unknown.
    Source: Joo et al., AAAI 2023, Fig. 2(b).

    Example:
        >>> inserted(torch.ones(1, 1, 1, 4), torch.tensor([[[1.0, -3.0, 2.0, 0.0]]]), gamma=0.5)
        tensor([[[[0., 1., 1., 0.]]]])
    """
    checks.within("gamma", gamma, 0.0, 1.0)
    ranks = ranking(fitting_values(x, maps))
    count = int(gamma * x.shape[2] * x.shape[3] + 0.5)
    return torch.where((ranks < count)[:, None], x.detach(), baseline_images(x, Masking(baseline).baseline))


def pixel_values(maps: Tensor) -> Tensor:
    """Return the importance of each pixel up to scale, [N, H, W]: the magnitudes of a map's channels, added up.

    Sums that are equal stay so: a map is never divided by a number that would round its entries.
    """
    sizes = magnitudes("maps", maps.detach())
    if sizes.ndim == 3:
        return sizes
    large = sizes.amax(dim=(1, 2, 3), keepdim=True) > 1
    return channel_sum(sizes * torch.where(large, 2.0**-10, 1.0).to(sizes))  # no sum of so many channels overflows


def fitting_values(x: Tensor, maps: Tensor) -> Tensor:
    """Return `pixel_values` of maps; raise `ArgumentError` unless x is finite images with one for each pixel."""
    checks.images("x", x)
    if not bool(torch.isfinite(x).all()):
        raise ArgumentError("x holds NaN or infinite entries, which a model cannot answer; leave these images out.")
    values = pixel_values(maps)
    if values.shape != (x.shape[0], *x.shape[2:]):
        raise ArgumentError(
            f"maps has shape {list(maps.shape)} but x has {list(x.shape)}, so its pixels cannot be put in order; pass "
            f"one map an image, [N, H, W] or [N, C, H, W] of the same batch and size."
        )
    return values


def regions(values: Tensor, patch: int) -> Tensor:
    """Add up [N, H, W] over squares of patch x patch pixels; those at the right and lower edge may be smaller."""
    height, width = values.shape[1:]
    padded = F.pad(values, (0, -width % patch, 0, -height % patch))
    down, across = padded.shape[1] // patch, padded.shape[2] // patch
    return padded.view(len(values), down, patch, across, patch).sum(dim=(2, 4))


def ranking(values: Tensor) -> Tensor:
    """Return each entry's place when those of [N, ...] are ordered from large to small, equal ones as in memory.

    Example:
        >>> ranking(torch.tensor([[1.0, 3.0, 3.0, 2.0]]))
        tensor([[3, 0, 1, 2]], dtype=torch.int32)
    """
    flat = values.flatten(1)
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device).expand_as(flat)
    return torch.empty_like(places).scatter_(1, order(-flat, stable=True), places).view(values.shape)


def shares(total: int, steps: int) -> list[int]:
    """Return how many of `total` pixels the shares 0, 1 / steps, ..., 1 are, rounded to the nearest, halves up."""
    checks.whole("steps", steps, 1)
    return [(2 * i * total + steps) // (2 * steps) for i in range(steps + 1)]


def baseline_images(x: Tensor, baseline: Baseline) -> Tensor:
    """Return the images that stand for "no information", of a shape that broadcasts over x; see `Masking`.

    Raises: ArgumentError if the baseline does not fit x.
    Source: Petsiuk et al., BMVC 2018, for blur, with the kernel of their public code.
    Deviation: At the border they pad with black; here the weights within the image are scaled to a sum of 1.

    Example:
        >>> baseline_images(torch.tensor([[[[1.0, 3.0]]]]), "mean")
        tensor([[[[2.]]]])
    """
    if isinstance(baseline, Tensor):
        image = baseline.detach().to(x)
        fits = image.ndim == 4 and all(a in (1, b) for a, b in zip(image.shape, x.shape, strict=True))
        if not fits or not bool(torch.isfinite(image).all()):
            raise ArgumentError(
                f"baseline has shape {list(image.shape)} or entries that are not finite, so it cannot stand for x of "
                f"shape {list(x.shape)}; pass finite images [N, C, H, W], where any size may be 1."
            )
        return image
    x = x.detach()
    if baseline == "zero":
        return x.new_zeros(1, 1, 1, 1)
    if baseline == "mean":
        return x.mean(dim=(2, 3), keepdim=True)
    down, across = (_blur_matrix(side).to(x) for side in x.shape[2:])
    return down @ x @ across.T


def _blur_matrix(side: int) -> Tensor:
    # A Gaussian blur is separable: one matrix down, one across. Rows add up to 1 at the border too.
    distance = (torch.arange(side)[:, None] - torch.arange(side)).double()
    weights = torch.exp(-0.5 * (distance / _BLUR_SIGMA).square()) * (distance.abs() <= _BLUR_RADIUS)
    return weights / weights.sum(dim=1, keepdim=True)
