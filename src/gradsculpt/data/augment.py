"""From 8-bit pixels to what a network takes, and random changes of a batch of training images."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks, randomness
from gradsculpt.data import moving, sampling
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.wording import counted

_AT_ONCE = 256
# Half a step of 8-bit pixels: a channel that never changes would otherwise be divided by zero.
_LEAST_STD = 0.5 / 255
# Rows of what is drawn: three for moves, then the magnification, the angle, the blur, and the areas and the aspects of
# the windows that are tried.
_MOVES, _BLUR, _TRIES = 3, 5, slice(6, 26)


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1]; shape and memory format are kept.

    Example:
        >>> to_float(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
        [[[[0.0, 1.0]]]]
    """
    return images.to(torch.float32, copy=True).div_(255)


def to_input(images: Tensor, space: InputSpace) -> Tensor:
    """Turn uint8 images into model input; the same as `space.normalize(to_float(images))`, several times faster.

    Shape: [N, C, H, W], the result in channels_last format.

    Units: 8-bit levels to model input.
    Raises: ArgumentError if the space has another number of channels.

    Example:
        >>> space = InputSpace(mean=(0.5,), std=(0.25,))
        >>> to_input(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), space).tolist()
        [[[[-2.0, 2.0]]]]
    """
    batch, channels, height, width = images.shape
    if channels != len(space.mean):
        raise ArgumentError(
            f"images have {counted(channels, 'channels')} but the space has {len(space.mean)}; pass one that fits."
        )
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    scale, shift = _scale_and_shift(space, width, images.device)
    # Numbers of two types are multiplied in one kernel on a GPU, and slowly on a CPU.
    scaled = torch.mul(rows, scale) if rows.is_cuda else rows.to(torch.float32, copy=True).mul_(scale)
    return scaled.sub_(shift).view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _scale_and_shift(space: InputSpace, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what rows of 8-bit values are multiplied by and lowered by; kept where it is, as sending it is a wait."""
    # One for each value of a whole row: broadcasting over three channels is slow on a CPU.
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values).repeat(width) for values in (space.mean, space.std))
        return (1 / (255 * std)).to(device), (mean / std).to(device)


def seed_of(seed: int, counter: int, rank: int = 0) -> int:
    """Return the seed of one stream of random numbers: that of an epoch or a step, of the process of a rank."""
    return (seed * 1_000_003 + counter * 1_009 + rank) % 2**63


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return numbers on a device, to which nothing waits for them to be sent."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def pixel_statistics(image_set: ImageSet, limit: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over at most `limit` >= 1 evenly spaced images.

    Units: pixels in [0, 1]. The standard deviation is at least 0.5 / 255.

    Raises: ArgumentError if the limit is below 1.

    Example:
        >>> images = np.array([0, 255], np.uint8).repeat(3).reshape(2, 1, 1, 3)
        >>> pixel_statistics(ImageSet(images, np.array([0, 1]), ("a", "b"), ("0", "1")))
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    checks.at_least("limit", limit, 1)
    count = min(limit, len(image_set))
    chosen = np.linspace(0, len(image_set) - 1, count).round().astype(np.int64)
    # Sums of whole numbers are exact, so the result does not depend on the chunks; 256 * 255^2 fits 32 bits.
    total, squares, pixels = np.zeros(3, np.int64), np.zeros(3, np.int64), 0
    for start in range(0, count, _AT_ONCE):
        values = np.asarray(image_set.images[chosen[start : start + _AT_ONCE]])
        total += values.sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.int64)
        squares += np.square(values, dtype=np.uint16).sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.int64)
        pixels += values.size // 3
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple(np.maximum(std / 255, _LEAST_STD).tolist())


@dataclass(frozen=True)
class Augment:
    """Changes each image of a batch at random, and its attention map in the same way.

    What is read in between pixels is interpolated. Raises `ArgumentError` if a value is out of range, or if
    `resized_crop` is to come on top of a shift or a magnification.

    Args:
        flip: Mirror left and right, for half of the images.
        crop: Greatest shift, as a share of the side: shifts are whole pixels, alike in all directions. The same as a
            random crop after padding.
        padding: What moves in at the border: "reflect" for the image reflected there, "zeros" for black, that is 0
            before any normalisation, and for no attention.
        zoom: Range of the magnification, log-uniform; (1, 1) for none. Above 1 the middle fills the image.
        resized_crop: Range of the share of an image's area that is cut out and fills it, uniform, whose sides are as 3
            to 4 up to 4 to 3, log-uniform; None for none. (0.08, 1) is usual for ImageNet, with `crop` 0.
        rotation: Greatest angle by which images are turned about their middle, either way, in degrees, uniform. It
            comes before all else, and the corners are filled as `padding` says.
        blur: Range of the standard deviation, uniform, of a Gaussian of 5 x 5 pixels with which each image is blurred
            in the end, and its attention is not; None for none. (0.1, 2) is usual.

    Source: the transforms RandomCrop, RandomResizedCrop, RandomRotation and GaussianBlur of torchvision, with its
        defaults, which the scripts of AdvGrad and LGA use.
    Deviation: They change files at the size that these have, and this what a set holds: squares of the size of the
        network's images. RandomRotation does not interpolate.

    Example:
        >>> changed, attention = Augment()(torch.rand(4, 3, 32, 32), None, torch.Generator().manual_seed(0))
        >>> changed.shape, attention
        (torch.Size([4, 3, 32, 32]), None)
    """

    flip: bool = True
    crop: float = 0.125
    padding: Literal["reflect", "zeros"] = "reflect"
    zoom: tuple[float, float] = (1.0, 1.0)
    resized_crop: tuple[float, float] | None = None
    rotation: float = 0.0
    blur: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.within("crop", self.crop, 0.0, 0.5)
        checks.within("rotation", self.rotation, 0.0, 180.0)
        _check_range("zoom", self.zoom, "magnifications", float("inf"))
        if self.blur is not None:
            _check_range("blur", self.blur, "standard deviations", float("inf"))
        if self.resized_crop is not None:
            _check_range("resized_crop", self.resized_crop, "shares of the area", 1.0)
            if self.crop or self.zoom != (1.0, 1.0):
                raise ArgumentError(
                    f"resized_crop={self.resized_crop} decides already where an image is cut and how much it is "
                    f"magnified, and so do crop={self.crop:g} and zoom={self.zoom}; pass crop=0.0 and no zoom with it."
                )

    def __call__(
        self, images: Tensor, attention: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return changed copies; raise `ArgumentError` if height and width of images and attention differ.

        Args:
            images: [N, C, H, W], floating point or uint8, whose black is 0; on a CPU, uint8 is twice as fast.
            attention: [N, any number of channels, H, W] of any type, or None.
            generator: The only source of randomness, of any device; the same number of draws is taken from it in any
                setting. One of the CPU changes images alike wherever they are.

        Returns:
            Images and attention of the shapes and types given; the images in channels_last format.
        """
        batch, _, height, width = images.shape
        if attention is not None and (attention.ndim != 4 or attention[:, :1].shape != images[:, :1].shape):
            raise ArgumentError(
                f"attention has shape {list(attention.shape)} but the images have {list(images.shape)}; "
                f"pass attention of shape {[batch, 1, height, width]}, or with more channels."
            )
        drawn = self.draw(batch, generator)
        if self._whole:
            moves = self._moves(sent(drawn[:_MOVES], images.device), height, width)
            change = partial(moving.moved, moves=moves, padding=self.padding)
        else:
            # Where it was drawn, so that it is the same for images anywhere.
            view = sent(self._view(drawn, height, width), images.device)
            change = partial(sampling.sampled, view=view, padding=self.padding)
        changed = change(images)
        if self.blur is not None:
            low, high = self.blur
            changed = sampling.blurred(changed, sent(low + (high - low) * drawn[_BLUR], images.device))
        return _as(changed, images.dtype), None if attention is None else _as(change(attention), attention.dtype)

    @property
    def only_moves(self) -> bool:
        """Whether each pixel of a changed image is one of the image, or of the padding."""
        return self._whole and self.blur is None

    @property
    def _whole(self) -> bool:
        """Whether images move by whole pixels."""
        return self.zoom == (1.0, 1.0) and self.resized_crop is None and self.rotation == 0.0

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """Return the random numbers [26, batch] in [0, 1) that a batch is changed by, where the generator is."""
        rand = partial(torch.rand, device=generator.device)
        return randomness.drawn(rand, (_TRIES.stop, batch), generator, at=1)

    def sources(self, drawn: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return which row [N, H] and which column [N, W] of its image each place shows, if it `only_moves`.

        Returns:
            As `moving.sources` does.
        """
        return moving.sources(self._moves(drawn, height, width), height, width, self.padding)

    def _moves(self, drawn: Tensor, height: int, width: int) -> moving.Moves:
        down, right = (moving.shifts(drawn[i], round(self.crop * side)) for i, side in ((1, height), (2, width)))
        return moving.Moves((drawn[0] < 0.5) & self.flip, down, right)

    def _view(self, drawn: Tensor, height: int, width: int) -> Tensor:
        moves = self._moves(drawn, height, width)
        if self.resized_crop is None:
            (low, high) = self.zoom
            window = sampling.shifted_window(moves.down, moves.right, low * (high / low) ** drawn[3], height, width)
        else:
            window = sampling.cut_window(drawn[1:3], drawn[_TRIES], self.resized_crop, height, width)
        return sampling.view(window, moves.mirrored, self.rotation * (2 * drawn[4] - 1), height, width)


def _check_range(name: str, given: tuple[float, float], of: str, most: float) -> None:
    if len(given) != 2 or not 0 < given[0] <= given[1] <= most or given[1] == float("inf"):
        end = "" if most == float("inf") else f" <= {most:g}"
        raise ArgumentError(f"{name}={given!r} is no range of {of}; pass (low, high), 0 < low <= high{end}.")


def _as(values: Tensor, dtype: torch.dtype) -> Tensor:
    if values.is_floating_point() and not dtype.is_floating_point:
        values = values.round()
    return values.to(dtype).contiguous(memory_format=torch.channels_last)
