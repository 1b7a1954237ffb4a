"""Images of a batch that are magnified, cut and turned, each by its own, and interpolated; and their blur."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gradsculpt.data.moving import reflected

_ASPECTS = (3 / 4, 4 / 3)
_REACH = 2  # pixels to either side that a blur looks at
_PADDING = {"reflect": "reflection", "zeros": "zeros"}


class Window(NamedTuple):
    """The part of each image that fills it, [N] each: its size as a share of the image's, and its middle.

    Middles are from -1 to 1 across the image. `within` says whether nothing outside the window is interpolated.
    """

    tall: Tensor
    wide: Tensor
    y: Tensor
    x: Tensor
    within: bool


def shifted_window(down: Tensor, right: Tensor, zoom: Tensor, height: int, width: int) -> Window:
    """Return the windows of images that are magnified about their middle, and then shifted by whole pixels."""
    return Window(1 / zoom, 1 / zoom, 2 * down / height, 2 * right / width, within=False)


def cut_window(place: Tensor, tries: Tensor, areas: tuple[float, float], height: int, width: int) -> Window:
    """Return windows of whole pixels: the first of those tried that fits, or else the largest in the middle.

    Args:
        place: Numbers [2, N] in [0, 1) that decide where a window lies, from the top and from the left.
        tries: Numbers [2 T, N] in [0, 1) for the areas and the aspects of T windows.
        areas: Range of the share of the area.
        height: Of the images.
        width: Of the images.

    Source: RandomResizedCrop of torchvision, which also tries ten times.
    """
    low, high = areas
    narrow, broad = _ASPECTS
    area, unit = tries.chunk(2)
    area, aspect = height * width * (low + (high - low) * area), narrow * (broad / narrow) ** unit
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    # The first that fits has the highest rank; ties of an argmax could fall on any.
    rank = torch.arange(len(fits), 0, -1, device=fits.device)[:, None] * fits
    first, none = rank.argmax(dim=0, keepdim=True), ~fits.any(dim=0)
    wide = torch.where(none, min(width, round(height * broad)), wide.gather(0, first)[0])
    tall = torch.where(none, min(height, round(width / narrow)), tall.gather(0, first)[0])
    top, left = (
        torch.where(none, ((side - part) / 2).round(), (unit * (side - part + 1)).floor().clamp(max=side - part))
        for unit, side, part in ((place[0], height, tall), (place[1], width, wide))
    )
    y, x = (2 * top + tall) / height - 1, (2 * left + wide) / width - 1
    return Window(tall / height, wide / width, y, x, within=True)


def view(window: Window, mirrored: Tensor, angle: Tensor, height: int, width: int) -> Tensor:
    """Return what `sampled` takes for images that are turned by degrees, then cut, and then mirrored: [8, N].

    Returns:
        Across and down: how far a step leads, where the middle is, and how far from there anything is read; then the
        cosine and the sine of the angle.
    """
    radians, across, down = torch.deg2rad(angle), window.wide, window.tall
    reach = [
        part - 1 / side if window.within else torch.full_like(part, torch.inf)
        for part, side in ((across, width), (down, height))
    ]
    horizontal = (torch.where(mirrored, -across, across), window.x, reach[0])
    return torch.stack([*horizontal, down, window.y, reach[1], radians.cos(), radians.sin()])


def sampled(images: Tensor, view: Tensor, padding: str) -> Tensor:
    """Return images [N, C, H, W] as a `view` shows them: floating point, and not rounded."""
    height, width = images.shape[2:]
    dtype = torch.promote_types(images.dtype, torch.float32)
    step_x, x, reach_x, step_y, y, reach_y, cosine, sine = view.to(dtype)[..., None]
    x, y = (
        middle + (step * _centres(side, step)).clamp(min=-reach, max=reach)
        for step, middle, reach, side in ((step_x, x, reach_x, width), (step_y, y, reach_y, height))
    )
    across, down = x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)
    ratio = height / width  # angles are those of pixels, not of shares of the sides
    cosine, sine = cosine[..., None], sine[..., None]
    grid = torch.stack([cosine * across - sine * ratio * down, sine / ratio * across + cosine * down], dim=-1)
    return functional.grid_sample(images.to(dtype), grid, padding_mode=_PADDING[padding], align_corners=False)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Return images convolved with Gaussians of 5 x 5 pixels and a standard deviation [N] each, reflected outside.

    What is returned is floating point, and not rounded.

    Source: GaussianBlur of torchvision with a kernel of 5.
    """
    dtype = torch.promote_types(images.dtype, torch.float32)
    steps = torch.arange(-_REACH, _REACH + 1, device=images.device)
    weights = torch.softmax(-((steps / sigma[:, None]) ** 2) / 2, dim=1).to(dtype)
    found = images.to(dtype)
    for dim in (2, 3):
        side = found.shape[dim]
        places = reflected(torch.arange(-_REACH, side + _REACH, device=images.device), side)
        padded = found.index_select(dim, places)
        parts = (weights[:, i, None, None, None] * padded.narrow(dim, i, side) for i in range(2 * _REACH + 1))
        found = sum(parts, torch.zeros_like(found))
    return found


def _centres(side: int, like: Tensor) -> Tensor:
    return (2 * torch.arange(side, device=like.device, dtype=like.dtype) + 1) / side - 1
