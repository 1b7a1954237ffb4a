"""From 8-bit pixels to what a network takes, and random changes of a batch of training images."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradsculpt import checks
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.wording import counted

_AT_ONCE = 256
# Half a step of 8-bit pixels: a channel that never changes would otherwise be divided by zero.
_LEAST_STD = 0.5 / 255
# A row or column of no image: times any width, plus any place in a set, it stays below 0 and within 64 bits.
_ABSENT = -(1 << 44)


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
    """Mirrors, shifts and magnifies each image of a batch at random, and its attention map in the same way.

    Raises `ArgumentError` if a value is out of range.

    Args:
        flip: Mirror left and right, for half of the images.
        crop: Greatest shift, as a share of the side: shifts are whole pixels, alike in all directions. The same as a
            random crop after padding.
        padding: What moves in at the border: "reflect" for the image reflected there, "zeros" for black, that is 0
            before any normalisation, and for no attention.
        zoom: Range of the magnification, log-uniform; (1, 1) for none. Above 1 the middle fills the image.

    Example:
        >>> changed, attention = Augment()(torch.rand(4, 3, 32, 32), None, torch.Generator().manual_seed(0))
        >>> changed.shape, attention
        (torch.Size([4, 3, 32, 32]), None)
    """

    flip: bool = True
    crop: float = 0.125
    padding: Literal["reflect", "zeros"] = "reflect"
    zoom: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.within("crop", self.crop, 0.0, 0.5)
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1] < float("inf"):
            raise ArgumentError(f"zoom={self.zoom!r} is no range of magnifications; pass (low, high), 0 < low <= high.")

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
        drawn = sent(self.draw(batch, generator), images.device)
        mirrored, down, right = self._moves(drawn, height, width)
        if self.only_moves:
            change = partial(_move, mirrored=mirrored, down=down, right=right, padding=self.padding)
        else:
            low, high = self.zoom
            grid = _source_grid(images, mirrored, down, right, low * (high / low) ** drawn[3])
            change = partial(_sample, grid=grid, padding=self.padding)
        return change(images), None if attention is None else change(attention)

    @property
    def only_moves(self) -> bool:
        """Whether each pixel of a changed image is one of the image, or of the padding."""
        return self.zoom == (1.0, 1.0)

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """Return the random numbers [4, batch] in [0, 1) that a batch is changed by, where the generator is."""
        return torch.rand(4, batch, generator=generator, device=generator.device)

    def sources(self, drawn: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return which row [N, H] and which column [N, W] of its image each place shows, if nothing is zoomed.

        Returns:
            Where black has moved in, the row or the column is so far below 0 that each pixel counted from it is too.
        """
        return _sources(*self._moves(drawn, height, width), height, width, self.padding)

    def _moves(self, drawn: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return which images are mirrored, and how far they are moved."""
        down, right = (_shift(drawn[i], round(self.crop * side)) for i, side in ((1, height), (2, width)))
        return (drawn[0] < 0.5) & self.flip, down, right


def _shift(unit: Tensor, most: int) -> Tensor:
    # A number just below 1 times 2 * most + 1 may be rounded up to 2 * most + 1: hence the clamp.
    return (unit * (2 * most + 1)).long().clamp_(max=2 * most) - most


def gathered(flat: Tensor, pixels: Tensor, padding: str) -> Tensor:
    """Return images [N, C, H, W] in channels_last format, put together from pixels [P, C].

    `pixels` [N, H, W] counts them through; where zeros are the padding, what is below 0 is black.
    """
    chosen = pixels.flatten()
    found = flat.index_select(0, chosen.clamp(min=0) if padding == "zeros" else chosen)
    found = found.view(*pixels.shape, flat.shape[1]).permute(0, 3, 1, 2)
    # Reflected images are spared the two passes.
    return found.masked_fill_(pixels[:, None] < 0, 0) if padding == "zeros" else found


def _move(images: Tensor, mirrored: Tensor, down: Tensor, right: Tensor, padding: str) -> Tensor:
    """Mirror and shift each image by whole pixels: exact, and several times faster than sampling a grid."""
    if images.dtype == torch.uint8 and images.device.type == "cpu":
        return _move_by_image(images, mirrored, down, right, padding)
    batch, channels, height, width = images.shape
    rows, columns = _sources(mirrored, down, right, height, width, padding)
    samples = torch.arange(batch, device=images.device)[:, None, None]
    pixels = (samples * height + rows[:, :, None]) * width + columns[:, None, :]
    return gathered(images.permute(0, 2, 3, 1).reshape(-1, channels), pixels, padding)


def _sources(
    mirrored: Tensor, down: Tensor, right: Tensor, height: int, width: int, padding: str
) -> tuple[Tensor, Tensor]:
    columns = torch.arange(width, device=mirrored.device)
    columns = torch.where(mirrored[:, None], columns.flip(0), columns)
    rows = torch.arange(height, device=mirrored.device) + down[:, None]
    inside = _INSIDE[padding]
    return inside(rows, height), inside(columns + right[:, None], width)


def _move_by_image(images: Tensor, mirrored: Tensor, down: Tensor, right: Tensor, padding: str) -> Tensor:
    """Cut each image out of the padded batch, whole rows at a time."""
    pixels = images.permute(0, 2, 3, 1)
    height, width = images.shape[2:]
    pad_y, pad_x = (int(shift.abs().max()) if len(shift) else 0 for shift in (down, right))
    padded = _PADDED[padding](pixels, pad_y, pad_x)
    moved = torch.empty(pixels.shape, dtype=images.dtype)
    # Views and copies of single images cost a few microseconds each, far less than the gather saves.
    for index, (mirror, y, x) in enumerate(zip(mirrored.tolist(), down.tolist(), right.tolist(), strict=True)):
        cut = padded[index, pad_y + y : pad_y + y + height, pad_x + x : pad_x + x + width]
        moved[index] = cut.flip(1) if mirror else cut
    return moved.permute(0, 3, 1, 2)


def _padded_by_reflection(pixels: Tensor, pad_y: int, pad_x: int) -> Tensor:
    height, width = pixels.shape[1:3]
    tall = pixels.index_select(1, _reflect(torch.arange(-pad_y, height + pad_y), height))
    sides = tall[:, :, 1 : pad_x + 1], tall[:, :, width - 1 - pad_x : width - 1]
    return torch.cat([sides[0].flip(2), tall, sides[1].flip(2)], dim=2)


def _padded_by_zeros(pixels: Tensor, pad_y: int, pad_x: int) -> Tensor:
    return functional.pad(pixels, (0, 0, pad_x, pad_x, pad_y, pad_y))


def _reflect(index: Tensor, count: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= count, 2 * (count - 1) - index, index)


def _absent(index: Tensor, count: int) -> Tensor:
    return torch.where((index < 0) | (index >= count), _ABSENT, index)


_INSIDE = {"reflect": _reflect, "zeros": _absent}
_PADDED = {"reflect": _padded_by_reflection, "zeros": _padded_by_zeros}
_OF_SAMPLING = {"reflect": "reflection", "zeros": "zeros"}


def _source_grid(images: Tensor, mirrored: Tensor, down: Tensor, right: Tensor, zoom: Tensor) -> Tensor:
    """Where each place is read from, in the coordinates of grid_sample, [N, H, W, 2]."""
    batch, _, height, width = images.shape
    dtype = images.dtype if images.is_floating_point() else torch.float32
    affine = torch.zeros(batch, 2, 3, device=images.device, dtype=dtype)
    affine[:, 0, 0] = torch.where(mirrored, -1.0, 1.0) / zoom
    affine[:, 1, 1] = 1 / zoom
    affine[:, 0, 2] = 2 * right / width
    affine[:, 1, 2] = 2 * down / height
    return functional.affine_grid(affine, [batch, 1, height, width], align_corners=False)


def _sample(images: Tensor, grid: Tensor, padding: str) -> Tensor:
    # The grid has the type of the images, which maps need not share.
    mode = _OF_SAMPLING[padding]
    sampled = functional.grid_sample(images.to(grid.dtype), grid, padding_mode=mode, align_corners=False)
    if not images.is_floating_point():
        sampled.round_()
    return sampled.to(images.dtype).contiguous(memory_format=torch.channels_last)
