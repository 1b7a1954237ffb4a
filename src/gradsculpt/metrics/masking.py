"""Images with their most important pixels put in or taken out, and what a model makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import class_output
from gradsculpt.attributions.heatmap import channel_sum, magnitudes
from gradsculpt.attributions.sampling import groups
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, repeated
from gradsculpt.isolation import undisturbed

Baseline = Literal["zero", "blur", "mean"] | Tensor
"""What stands where a pixel of the image does not; see `baseline_images`."""

ClassOutput = Literal["probability", "logit", "accuracy"]
"""What is read from the model: an output of the class, or 1 where the class is the predicted one and 0 elsewhere."""

BATCH_SIZE = 64
"""How many images go through the model at once."""

_BLUR_RADIUS, _BLUR_SIGMA = 5, 5.0  # the 11 x 11 kernel of Petsiuk et al.


@dataclass(frozen=True)
class Trial:
    """A model, its images, and how it is asked about altered copies of them.

    Args:
        model: Any callable from [N, C, H, W] to logits [N, K].
        x: Images [N, C, H, W].
        y: Class indices [N].
        output: What is read from the model.
        batch_size: How many images go through the model at once.
    """

    model: Model
    x: Tensor
    y: Tensor
    output: ClassOutput = "probability"
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        check_images(self.x)
        checks.labels(self.y, len(self.x))
        checks.one_of("output", self.output, ("probability", "logit", "accuracy"))
        checks.at_least("batch_size", self.batch_size, 1)

    def curve(self, ranks: Tensor, counts: Sequence[int], inside: Tensor, outside: Tensor) -> Tensor:
        """Return what the model makes of images whose first pixels are those of one batch, the rest of another.

        Args:
            ranks: Place of each pixel in the order, 0 first, [N, H, W].
            counts: How many pixels come from `inside`, one number for each point of the curve.
            inside: Images that broadcast over [N, C, H, W].
            outside: Images that broadcast over [N, C, H, W].

        Returns:
            One value an image and count, [N, len(counts)], at least in float32.

        Raises:
            ArgumentError: If a class index is out of range.
            ModelError: If the model returns no logits [N, K], or NaN.
        """
        levels = sorted(set(counts))
        wide = torch.promote_types(self.x.dtype, torch.float32)
        values = torch.empty(len(levels), len(self.x), dtype=wide, device=self.x.device)
        with undisturbed(self.model), repeated(self.model), torch.no_grad():
            # An image that is the same for the whole batch is evaluated once, unless batch statistics are in use.
            training = bool(getattr(self.model, "training", False))
            shared = levels[0] == 0 and len(outside) == 1 < len(self.x) and not training
            if shared:
                values[0] = self._shared(outside)
            for start in range(0, len(self.x), self.batch_size):
                part = slice(start, start + self.batch_size)
                self._fill(values[int(shared) :, part], part, ranks[part], levels[int(shared) :], (inside, outside))
        if bool(values.isnan().any()):
            raise ModelError(
                "the model returns NaN for altered images, which would spoil every score; check its weights, or pass "
                "another baseline if these images are too unlike those it was trained on."
            )
        where = {level: i for i, level in enumerate(levels)}
        return values[[where[count] for count in counts]].T.contiguous()

    def _fill(
        self,
        values: Tensor,
        part: slice,
        ranks: Tensor,
        levels: Sequence[int],
        batches: tuple[Tensor, Tensor],
    ) -> None:
        """Evaluate some images at all levels, several levels at once, and write the values [levels, images]."""
        count = len(ranks)
        inside, outside = (_cut(batch, part).to(memory_format=torch.channels_last) for batch in batches)
        for group in groups(len(levels), count, self.batch_size):
            # PyTorch's convolutions take channels_last in two thirds of the time on a CPU, and lose nothing on a GPU.
            altered = torch.empty(
                (len(group) * count, *self.x.shape[1:]),
                dtype=self.x.dtype,
                device=self.x.device,
                memory_format=torch.channels_last,
            )
            for place, i in enumerate(group):
                here = altered[place * count : (place + 1) * count]
                torch.where((ranks < levels[i])[:, None], inside, outside, out=here)
            found = self._class_values(self._logits(altered), self.y[part].repeat(len(group)))
            values[group.start : group.stop] = found.view(len(group), count)

    def _shared(self, image: Tensor) -> Tensor:
        """Evaluate one image for the classes of the whole batch."""
        image = image.expand(1, *self.x.shape[1:]).clone(memory_format=torch.channels_last)
        return self._class_values(self._logits(image).expand(len(self.x), -1), self.y)

    def _logits(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        if logits.ndim != 2 or len(logits) != len(images):
            raise ModelError(
                f"the model returns shape {list(logits.shape)} for {len(images)} images; logits [N, K] are needed. "
                "Wrap it in a function that returns one row of class scores an image."
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _class_values(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.output == "accuracy":
            checks.labels(y, *logits.shape)
            return (logits.argmax(dim=1) == y.to(logits.device)).to(logits.dtype)
        return class_output(logits, y, self.output)


def check_images(x: Tensor) -> None:
    """Raise `ArgumentError` unless x is a floating-point batch [N, C, H, W] of finite numbers."""
    checks.images("x", x)
    if not bool(torch.isfinite(x).all()):
        raise ArgumentError(
            "x holds NaN or infinite entries, so a model's answer means nothing; leave these images out."
        )


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
    """Return `pixel_values` of maps; raise `ArgumentError` unless there is one for each pixel of x."""
    values = pixel_values(maps)
    if values.shape != (x.shape[0], *x.shape[2:]):
        raise ArgumentError(
            f"maps has shape {list(maps.shape)} but x has {list(x.shape)}, so its pixels cannot be put in order; pass "
            f"one map an image, [N, H, W] or [N, C, H, W] of the same batch and size."
        )
    return values


def ranking(values: Tensor) -> Tensor:
    """Return each entry's place when the entries of [N, ...] are ordered from large to small.

    Among equal values the entry that comes first in memory order is placed first.

    Example:
        >>> ranking(torch.tensor([[1.0, 3.0, 3.0, 2.0]]))
        tensor([[3, 0, 1, 2]], dtype=torch.int32)
    """
    flat = values.flatten(1)
    if flat.device.type == "cpu":  # as in metrics.base: NumPy sorts faster
        order = torch.from_numpy(np.argsort(-flat.numpy(), axis=1, kind="stable"))
    else:
        order = torch.sort(flat, dim=1, descending=True, stable=True).indices
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device).expand_as(flat)
    return torch.empty_like(places).scatter_(1, order, places).view(values.shape)


def shares(total: int, steps: int) -> list[int]:
    """Return how many of `total` pixels the shares 0, 1 / steps, ..., 1 are, rounded to the nearest, halves up."""
    return [(2 * i * total + steps) // (2 * steps) for i in range(steps + 1)]


def baseline_images(x: Tensor, baseline: Baseline) -> Tensor:
    """Return the images that stand for "no information", of a shape that broadcasts over x.

    Args:
        x: What a model takes, [N, C, H, W].
        baseline: "zero", the number 0 in the space of x (for mean/std-normalised images the mean colour of the
            training data); "mean", each channel's mean over the image itself; "blur", the image under a Gaussian of
            11 x 11 pixels with standard deviation 5; or a tensor that broadcasts over x.

    Raises:
        ArgumentError: If the baseline is unknown or does not fit x.

    Source:
        Petsiuk et al., BMVC 2018, for blur, with the kernel of their public code.

    Deviation:
        At the border they pad with black; here the weights within the image are scaled to a sum of 1.

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
    checks.one_of("baseline", baseline, ("zero", "blur", "mean"))
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "zero": lambda images: images.new_zeros(1, 1, 1, 1),
        "mean": lambda images: images.mean(dim=(2, 3), keepdim=True),
        "blur": _blurred,
    }
    return makers[baseline](x.detach())


def _blurred(x: Tensor) -> Tensor:
    down, across = (_blur_matrix(side).to(x) for side in x.shape[2:])
    return down @ x @ across.T


def _blur_matrix(side: int) -> Tensor:
    # A Gaussian blur is separable: one matrix down, one across. Rows add up to 1 at the border too.
    distance = (torch.arange(side)[:, None] - torch.arange(side)).double()
    weights = torch.exp(-0.5 * (distance / _BLUR_SIGMA).square()) * (distance.abs() <= _BLUR_RADIUS)
    return weights / weights.sum(dim=1, keepdim=True)


def _cut(batch: Tensor, part: slice) -> Tensor:
    return batch if len(batch) == 1 else batch[part]
