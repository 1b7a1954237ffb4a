"""Heat maps as pictures."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import heatmap

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W, 3]."""

COLOURS = "inferno"
"""Grows in lightness from end to end, so it reads the same in print and with any colour vision."""

_OVERLAY_STRENGTH = 0.85


def colour(maps: Tensor, clip: float = 99.0) -> list[Picture]:
    """Return one picture a map: black where nothing matters, bright where most does.

    Args:
        maps: [N, C, H, W] or [N, H, W].
        clip: Percentile that becomes the brightest colour; see `heatmap`.
    """
    return [_coloured(values) for values in heatmap(maps, clip).detach().float().cpu().numpy()]


def overlay(images01: Tensor, maps: Tensor, clip: float = 99.0) -> list[Picture]:
    """Return each image in grey with its map laid over it in colour, the stronger the more opaque.

    Args:
        images01: [N, C, H, W] in [0, 1].
        maps: [N, C, H, W] or [N, H, W] of the same height and width.
        clip: Percentile that becomes the brightest colour; see `heatmap`.
    """
    checks.images("images01", images01)
    pictures = []
    for image, heat in zip(images01, heatmap(maps, clip), strict=True):
        grey = image.detach().float().mean(dim=0).cpu().numpy()[..., None] * 255
        values = heat.detach().float().cpu().numpy()
        opacity = _OVERLAY_STRENGTH * np.sqrt(values)[..., None]
        pictures.append((grey * (1 - opacity) + _coloured(values) * opacity).round().astype(np.uint8))
    return pictures


def plain(images01: Tensor) -> list[Picture]:
    """Return the images themselves as pictures; a single channel becomes grey.

    Args:
        images01: [N, C, H, W] in [0, 1].
    """
    checks.images("images01", images01)
    pixels = (images01.detach().float().cpu().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return [np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture for picture in pixels]


def png(picture: Picture, side: int | None = None) -> bytes:
    """Return a picture as PNG, enlarged in whole pixels until its shorter side has at least `side` pixels."""
    image = Image.fromarray(picture)
    if side is not None:
        factor = max(1, -(-side // min(image.size)))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _coloured(values: npt.NDArray[np.float32]) -> Picture:
    import matplotlib

    coloured: Picture = matplotlib.colormaps[COLOURS](values, bytes=True)[..., :3]
    return coloured
