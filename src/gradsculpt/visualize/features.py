"""What a network takes for a class: the image that raises the class's output the most."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions.gradient import Output, class_output
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import undisturbed
from gradsculpt.models import Classifier
from gradsculpt.outputs import logits_at
from gradsculpt.progress import Progress
from gradsculpt.visualize.spectrum import IMAGENET_COLOURS, Colours, Spectrum

_FIRST_SPREAD = 0.01  # faint enough that every image starts as grey

# The weight of the total variation grows over this share of the steps. At its full size from the start, it can hold an
# image at grey for good: the total variation's slope is as steep there as anywhere, and the output's is not.
_GROWTH = 0.5


class ClassFeatures(NamedTuple):
    """What `class_features` found."""

    images: Tensor
    """[K, C, S, S] in [0, 1]."""
    reached: Tensor
    """The output of its class that each image reaches, as it is and not in a random view, [K]."""


@dataclass(frozen=True)
class Ascent:
    """How the image of a class is sought: steps, random views, and what makes it smooth.

    Args:
        steps: Steps of Adam, of one forward and one backward pass each.
        lr: Step size, in standard deviations of a coefficient of `Spectrum`.
        jitter: Greatest shift of a random view in each direction, as a share of the side.
        zoom: Greatest magnification and greatest diminution of a random view; 1 for none.
        rotation: Greatest turn of a random view either way, in degrees.
        total_variation: Weight of the image's total variation, which is subtracted from the output; it grows from 0
            over the first half of the steps.
        decay: Exponent by which `Spectrum` weighs frequencies down.
        output: What is raised: the class's logit, probability or log_probability.
        seed: Seed of the first image and of the views.

    Shape: images of N classes are [N, C, H, W].
    Units: The weight is one of outputs; for the total variation see `variation`.

    Raises: ArgumentError if a number is out of range.
    Source: Gong et al., CVPR 2024 (AdvGrad), Fig. 3; Olah et al., Distill 2017 (Feature Visualization).
    Deviation: AdvGrad gives no settings. Jitter and zoom are shares of the side and not numbers of pixels, for they
        serve images of any size.
    """

    steps: int = 256
    lr: float = 0.05
    jitter: float = 0.1
    zoom: float = 1.2
    rotation: float = 10.0
    total_variation: float = 0.5
    decay: float = 1.0
    output: Output = "logit"
    seed: int = 0

    def __post_init__(self) -> None:
        checks.each_at_least(self, steps=0, total_variation=0.0, decay=0.0, seed=0)
        checks.positive("lr", self.lr)
        checks.within("jitter", self.jitter, 0.0, 0.5)
        checks.within("zoom", self.zoom, 1.0, 2.0)
        checks.within("rotation", self.rotation, 0.0, 180.0)

    def view(self, images: Tensor, unit: Tensor) -> Tensor:
        """Return each image shifted, magnified and turned, differentiably; what moves in is the image reflected.

        Numbers in [0, 1) decide on the views, [4, N]; 0.5 leaves an image where it is.
        """
        if (self.jitter, self.zoom, self.rotation) == (0.0, 1.0, 0.0):
            return images
        signed = 2 * unit.to(images) - 1
        angle, scale = signed[0] * math.radians(self.rotation), self.zoom ** -signed[1]
        affine = torch.zeros(len(images), 2, 3, dtype=images.dtype, device=images.device)
        affine[:, 0, 0] = affine[:, 1, 1] = angle.cos() * scale
        affine[:, 1, 0] = angle.sin() * scale
        affine[:, 0, 1] = -affine[:, 1, 0]
        # The coordinates run from -1 to 1: a share of the side is twice as much.
        affine[:, :, 2] = 2 * self.jitter * signed[2:].T
        grid = F.affine_grid(affine, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def variation(images01: Tensor) -> Tensor:
    """Return the total variation of each image, [N]: the length of its edges in sides, times their contrast.

    It is the sum of the absolute differences between neighbouring pixels, averaged over the channels and divided by the
    side, so that an image and its enlargement have nearly the same.

    Example:
        >>> halves = torch.cat([torch.zeros(1, 3, 8, 4), torch.ones(1, 3, 8, 4)], dim=3)
        >>> variation(halves).item(), variation(halves.repeat_interleave(3, 2).repeat_interleave(3, 3)).item()
        (1.0, 1.0)
    """
    down, right = (images01.diff(dim=axis).abs().sum(dim=(2, 3)).mean(dim=1) for axis in (2, 3))
    return (down + right) / images01.shape[-1]


def class_features(
    model: Model,
    classes: Tensor | Sequence[int] | int,
    space: InputSpace | None = None,
    image_size: int | None = None,
    ascent: Ascent | None = None,
    *,
    colours: Colours | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> ClassFeatures:
    """Find the image that maximises each class's output, less its total variation, over random views of the image.

    Each class has its own random numbers: with a network in evaluation mode, its image depends neither on the other
    classes nor on `batch_size`, up to rounding. The model's mode is used as it is, and no state of it changes.

    Args:
        model: A `Classifier`, or any callable from [N, C, S, S] to logits [N, number of classes].
        classes: Indices of the K classes, or a single one.
        space: How the model's input is normalised; None if it takes images in [0, 1], as a `Classifier` does.
        image_size: Height and width S of the images; None for the size that a `Classifier` was built for.
        ascent: None for the default one.
        colours: How colours vary together, from `colour_matrix`; None for `IMAGENET_COLOURS`, or for channels that
            vary by themselves where there are not three.
        batch_size: Classes at once, which bounds the memory.
        progress: Called after every step, counted over all batches of classes.

    Raises:
        ArgumentError: If a class, the size, the colours or the space does not fit.
        ModelError: If the output is not finite.

    Source: Gong et al., CVPR 2024 (AdvGrad), Fig. 3; Olah et al., Distill 2017 (Feature Visualization).

    Example:
        >>> model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
        >>> images, reached = class_features(model, [0, 2], image_size=8, ascent=Ascent(lr=0.2, total_variation=0.0))
        >>> images.shape, bool((reached > 0.9).all())
        (torch.Size([2, 3, 8, 8]), True)
    """
    search = _search(model, space, image_size, ascent or Ascent(), colours)
    target = torch.atleast_1d(checks.tensor("classes", classes).cpu())
    checks.at_least("the number of classes", target.numel(), 1)
    checks.labels(target, target.numel())
    checks.at_least("batch_size", batch_size, 1)
    groups = torch.split(target, batch_size)
    steps = count(1)

    def advance() -> None:
        if progress is not None:
            progress(next(steps), len(groups) * search.ascent.steps)

    # On a CPU, layers that draw random numbers, as dropout does in training mode, draw the same in every call.
    random = {"cpu": torch.Generator().manual_seed(search.ascent.seed).get_state()}
    with torch.inference_mode(False), torch.no_grad(), undisturbed(model, random=random):
        features = [search(group, advance) for group in groups]
    return ClassFeatures(*(torch.cat(tensors) for tensors in zip(*features, strict=True)))


@dataclass(frozen=True)
class _Search:
    """An ascent in front of a model: what is the same for every class."""

    model: Model
    space: InputSpace | None
    spectrum: Spectrum
    ascent: Ascent
    like: Tensor  # of the device and the precision of what the model takes

    def __call__(self, classes: Tensor, advance: Callable[[], None]) -> ClassFeatures:
        """Return the images of classes [K] and what they reach; `advance` is called after every step."""
        # A negative class has a seed too, so that the model can be the judge of it.
        seeds = (np.random.SeedSequence([self.ascent.seed, index % 2**32]) for index in classes.tolist())
        words = (seed.generate_state(1, np.uint64)[0] for seed in seeds)
        generators = [torch.Generator().manual_seed(int(word)) for word in words]
        first = torch.stack([torch.randn(self.spectrum.shape, generator=generator) for generator in generators])
        latent = (_FIRST_SPREAD * first).to(self.like.device, torch.promote_types(self.like.dtype, torch.float32))
        adam = torch.optim.Adam([latent], lr=self.ascent.lr, maximize=True)
        for step in range(self.ascent.steps):
            weight = self.ascent.total_variation * min(1.0, step / (_GROWTH * self.ascent.steps))
            unit = torch.stack([torch.rand(4, generator=generator) for generator in generators], dim=1)
            _, latent.grad = input_gradient(partial(self.value, classes=classes, unit=unit, weight=weight), latent)
            adam.step()
            advance()
        images = self.spectrum.images(latent)
        reached = self.reached(images, classes)
        if not bool(reached.isfinite().all()):
            index = int(reached.isfinite().int().argmin())
            raise ModelError(
                f"the output for class {int(classes[index])} is {float(reached[index])}, so there is nothing to raise; "
                "see that the weights are finite, and take smaller steps (lr) if they are."
            )
        return ClassFeatures(images, reached)

    def value(self, latent: Tensor, classes: Tensor, unit: Tensor, weight: float) -> Tensor:
        """Return what is maximised, [K]: the output in a view, less the weighted total variation."""
        images = self.spectrum.images(latent)
        return self.reached(self.ascent.view(images, unit), classes) - weight * variation(images)

    def reached(self, images: Tensor, classes: Tensor) -> Tensor:
        inputs = images if self.space is None else self.space.normalize(images)
        logits = logits_at(self.model, inputs.to(self.like.dtype))
        return class_output(logits, classes, self.ascent.output).to(images.dtype)


def _search(
    model: Model, space: InputSpace | None, image_size: int | None, ascent: Ascent, colours: Colours | None
) -> _Search:
    if isinstance(model, Classifier):
        if space is not None:
            raise ArgumentError(
                "a Classifier normalises its images, and a space was given to do it again; leave the space out, "
                "or pass classifier.network with it."
            )
        image_size, space = image_size or model.image_size, model.space
        model = model.network
    if image_size is None:
        raise ArgumentError("the size of the images is not known; pass image_size, their height and width.")
    channels = len(space.mean if space else colours or IMAGENET_COLOURS)
    if colours is None:
        colours = IMAGENET_COLOURS if channels == 3 else tuple(map(tuple, torch.eye(channels).tolist()))
    if len(colours) != channels:
        raise ArgumentError(
            f"colours has {len(colours)} rows but the images have {channels} channels; pass the colour_matrix of "
            "images like those that the model takes."
        )
    weights = model.parameters() if isinstance(model, nn.Module) else iter(())
    like = next((weight for weight in weights if weight.is_floating_point()), torch.zeros(()))
    return _Search(model, space, Spectrum(image_size, colours, ascent.decay), ascent, like)
