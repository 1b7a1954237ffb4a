"""Images of which a map keeps some pixels and paints over the others."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import channel_sum, magnitudes
from gradsculpt.errors import ArgumentError

Ranks = npt.NDArray[np.int32] | npt.NDArray[np.uint16]
"""The place of each pixel when the most important come first, [N, H * W]."""


def masked_images(
    images: Tensor,
    maps: Tensor,
    keep: float,
    which: Literal["top", "bottom"] = "top",
    fill: float | Sequence[float] = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Keep the most or the least important pixels of each image and paint over the others.

    Args:
        images: [N, C, H, W] of any type.
        maps: Attribution maps, [N, H, W] or [N, C, H, W] of the same height and width; a pixel's importance is the sum
            of the magnitudes of its channels.
        keep: Share of the pixels to keep, in (0, 1]; their number is rounded to the nearest, halves up.
        which: "top" keeps the most important, "bottom" the least important.
        fill: What the others become: one value, or one a channel.
        generator: Breaks ties, at random so that a map full of zeros keeps no place rather than another; on the CPU.

    Returns:
        Painted copies, in the shape and type of `images`.

    Raises:
        ArgumentError: If shapes do not fit, a map is not finite, or keep is out of range.

    Source: Shah et al., NeurIPS 2021 (Do input gradients highlight discriminative features?).
    Deviation: the released code ranks each channel of a pixel by itself; here a whole pixel is kept or not.

    Example:
        >>> image, map = torch.tensor([[[[5.0, 6.0, 7.0, 8.0]]]]), torch.tensor([[[0.1, -0.9, 0.3, 0.2]]])
        >>> masked_images(image, map, keep=0.5), masked_images(image, map, keep=0.5, which="bottom")
        (tensor([[[[0., 6., 7., 0.]]]]), tensor([[[[5., 0., 0., 8.]]]]))
    """
    if maps.shape[:1] + maps.shape[-2:] != images.shape[:1] + images.shape[-2:]:
        raise ArgumentError(
            f"maps have shape {list(maps.shape)} but images {list(images.shape)}; pass maps of the same images."
        )
    kept = torch.from_numpy(_kept_pixels(ranks_of(maps, generator), keep, which)).to(images.device)
    colour = torch.as_tensor(fill, dtype=images.dtype, device=images.device).reshape(-1, 1, 1)
    return torch.where(kept.view(len(images), 1, *images.shape[2:]), images, colour)


class Masked:
    """An array of images that are masked when they are read, so that no level needs a copy of the set."""

    def __init__(self, images: Any, ranks: Ranks, keep: float, which: str, fill: Sequence[float]) -> None:
        self._images, self._ranks, self._keep, self._which = images, ranks, keep, which
        self._fill = np.round(np.asarray(fill) * 255).astype(np.uint8)
        self.shape, self.dtype = images.shape, images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        pixels: npt.NDArray[np.uint8] = np.asarray(self._images[key])
        kept = _kept_pixels(self._ranks[key], self._keep, self._which).reshape(*pixels.shape[:-1], 1)
        return np.where(kept, pixels, self._fill)


def ranks_of(maps: Tensor, generator: torch.Generator | None) -> Ranks:
    """Return the place of each pixel when the most important come first, [N, H * W]; ties are broken at random."""
    generator = generator or torch.Generator().manual_seed(0)
    values = channel_sum(magnitudes("maps", maps.detach())).flatten(1).cpu().numpy()
    lots = torch.rand(values.shape, generator=generator).argsort(dim=1).numpy()
    mixed = np.take_along_axis(values, lots, axis=1)
    order = np.take_along_axis(lots, np.argsort(-mixed, axis=1, kind="stable"), axis=1)
    ranks: Ranks = np.empty(order.shape, np.uint16 if order.shape[1] <= 2**16 else np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=ranks.dtype)[None], axis=1)
    return ranks


def _kept_pixels(ranks: Ranks, keep: float, which: str) -> npt.NDArray[np.bool_]:
    if not 0.0 < keep <= 1.0:
        raise ArgumentError(f"keep={keep!r} is not a share of the pixels; pass a value above 0 and up to 1.")
    checks.one_of("which", which, ("top", "bottom"))
    count = int(ranks.shape[-1] * keep + 0.5)
    return ranks < count if which == "top" else ranks >= ranks.shape[-1] - count
