"""The pictures of the page, as few bytes as they can be without a palette or dithering."""

import base64
import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from gradsculpt.visualize.render import COLOURS, Picture

# What the pictures may weigh, so that a page can be sent by mail; below the smallest side nothing can be recognised.
_BYTES, _SMALLEST = 1_500_000, 64

_LOSSLESS = 128  # pixels a side, up to which every pixel is kept as it is
_QUALITY = 88
_STOPS = 12


def data_uri(content: bytes, kind: str) -> str:
    """Return a file as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def fitted(draw: Callable[[Callable[[Picture], str]], Any]) -> Any:
    """Return what a function makes of the pictures that it turns into addresses, all small enough together.

    The function is called again, with pictures of fewer pixels, until they are.
    """
    side: float = 1024
    while True:
        weights: list[int] = []
        sides: list[int] = []

        def uri(picture: Picture, weights: list[int] = weights, sides: list[int] = sides, side: float = side) -> str:
            content = _webp(picture, int(side))
            weights.append(len(content))
            sides.append(max(picture.shape[:2]))
            return data_uri(content, "webp")

        drawn = draw(uri)
        if sum(weights) <= _BYTES or side <= _SMALLEST:
            return drawn
        side = max(_SMALLEST, min(side, *sides) * min(0.9, (_BYTES / sum(weights)) ** 0.5))


def colour_bar() -> str:
    """Return the colours of a map from nothing to most, as a gradient of CSS."""
    import matplotlib
    from matplotlib.colors import to_hex

    colours = matplotlib.colormaps[COLOURS]
    return f"linear-gradient(90deg, {', '.join(to_hex(colours(i / _STOPS)) for i in range(_STOPS + 1))})"


def _webp(picture: Picture, side: int) -> bytes:
    image, stream = Image.fromarray(picture), io.BytesIO()
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX)
    image.save(stream, "WEBP", lossless=max(image.size) <= _LOSSLESS, quality=_QUALITY, method=4)
    return stream.getvalue()
