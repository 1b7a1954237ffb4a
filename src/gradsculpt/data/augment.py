"""Random changes of training images, a whole batch at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gradsculpt import checks
from gradsculpt.errors import ArgumentError


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1]; shape and memory format are kept.

    Example:
        >>> to_float(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
        [[[[0.0, 1.0]]]]
    """
    return images.float().div_(255)


@dataclass(frozen=True)
class Augment:
    """Mirrors, shifts and magnifies each image of a batch at random, and its attention map in the same way.

    Args:
        flip: Mirror left and right, for half of the images.
        crop: Greatest shift, as a share of the side: shifts are whole pixels, alike in all directions, and what
            moves in is the image reflected at its border. The same as a random crop after padding by reflection.
        zoom: Range of the magnification, log-uniform; (1, 1) for none. Above 1 the middle fills the image.

    Raises:
        ArgumentError: If a value is out of range.

    Example:
        >>> augment = Augment(flip=True, crop=0.125)
        >>> images = torch.rand(4, 3, 32, 32)
        >>> changed, attention = augment(images, None, torch.Generator().manual_seed(0))
        >>> changed.shape, attention
        (torch.Size([4, 3, 32, 32]), None)
    """

    flip: bool = True
    crop: float = 0.125
    zoom: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zoom", tuple(self.zoom))
        checks.within("crop", self.crop, 0.0, 0.5)
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1] < float("inf"):
            raise ArgumentError(f"zoom={self.zoom!r} is no range of magnifications; pass (low, high), 0 < low <= high.")

    def __call__(
        self, images: Tensor, attention: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return changed copies; the arguments are left as they are.

        Args:
            images: [N, C, H, W], floating point, or uint8 if nothing is zoomed.
            attention: [N, 1, H, W] of any type, or None.
            generator: The only source of randomness; the same number of draws is taken from it in any setting.

        Returns:
            Images and attention of the shapes and types given; the images in channels_last format.

        Raises:
            ArgumentError: If height and width of images and attention differ.
        """
        batch, _, height, width = images.shape
        if attention is not None and attention.shape != (batch, 1, height, width):
            raise ArgumentError(
                f"attention has shape {list(attention.shape)} but the images have {list(images.shape)}; "
                f"pass attention of shape {[batch, 1, height, width]}."
            )
        unit = torch.rand(4, batch, generator=generator, device=generator.device).to(images.device)
        mirrored = (unit[0] < 0.5) & self.flip
        down, right = (_shift(unit[i], round(self.crop * side)) for i, side in ((1, height), (2, width)))
        if self.zoom == (1.0, 1.0):
            pixels = _source_pixels(height, width, mirrored, down, right)
            return _pick(images, pixels), None if attention is None else _pick(attention, pixels)
        low, high = self.zoom
        grid = _source_grid(images, mirrored, down, right, low * (high / low) ** unit[3])
        return _sample(images, grid), None if attention is None else _sample(attention, grid)


def _shift(unit: Tensor, most: int) -> Tensor:
    # A number just below 1 times 2 * most + 1 may be rounded up to 2 * most + 1: hence the clamp.
    return (unit * (2 * most + 1)).long().clamp_(max=2 * most) - most


def _source_pixels(height: int, width: int, mirrored: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Index into all N * H * W pixels of the one that goes to each place, [N, H, W]."""
    device = down.device
    columns = torch.arange(width, device=device)
    columns = torch.where(mirrored[:, None], columns.flip(0), columns)
    rows = _reflect(torch.arange(height, device=device) + down[:, None], height)
    columns = _reflect(columns + right[:, None], width)
    samples = torch.arange(len(down), device=device)[:, None, None]
    return (samples * height + rows[:, :, None]) * width + columns[:, None, :]


def _reflect(index: Tensor, count: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= count, 2 * (count - 1) - index, index)


def _pick(images: Tensor, pixels: Tensor) -> Tensor:
    # One gather of whole pixels: on a CPU several times faster than sampling a grid, and exact.
    channels = images.shape[1]
    flat = images.permute(0, 2, 3, 1).reshape(-1, channels)
    return flat.index_select(0, pixels.flatten()).view(*pixels.shape, channels).permute(0, 3, 1, 2)


def _source_grid(images: Tensor, mirrored: Tensor, down: Tensor, right: Tensor, zoom: Tensor) -> Tensor:
    """Where each place is read from, in the coordinates of grid_sample, [N, H, W, 2]."""
    batch, _, height, width = images.shape
    affine = torch.zeros(batch, 2, 3, device=images.device, dtype=images.dtype)
    affine[:, 0, 0] = torch.where(mirrored, -1.0, 1.0) / zoom
    affine[:, 1, 1] = 1 / zoom
    affine[:, 0, 2] = 2 * right / width
    affine[:, 1, 2] = 2 * down / height
    return functional.affine_grid(affine, [batch, 1, height, width], align_corners=False)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    values = images if images.is_floating_point() else images.to(grid.dtype)
    sampled = functional.grid_sample(values, grid, padding_mode="reflection", align_corners=False)
    if not images.is_floating_point():
        sampled = sampled.round_().to(images.dtype)
    return sampled.contiguous(memory_format=torch.channels_last)
