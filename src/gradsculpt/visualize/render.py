"""Heat maps as pictures, and pictures on a sheet in labelled rows and columns."""

import io
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import heatmap, signed_heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics.topk import topk_mask
from gradsculpt.numerics import spread
from gradsculpt.visualize.shapes import image_batch, map_batch

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], or several of one size, [N, H, W, 3]."""

COLOURS = "inferno"
"""Grows in lightness from end to end, so it reads the same in print and with any colour vision."""

SIGNED_COLOURS = "RdBu_r"
"""Blue below 0, white at 0, red above: told apart with any colour vision."""

_OVERLAY_STRENGTH = 0.85
_SHOWN = 0.995  # share of the entries of a change that keep within the colours

# The ends of the signed colours are so dark that thin lines look alike; on an image, one hue a sign is clearest.
_SIGNED_REACH, _SIGNED_OVERLAY = 0.8, 0.7


# Inches of a cell: large where there are few, so that photographs can be recognised.
_SMALLEST_CELL, _LARGEST_CELL = 1.15, 2.1
_WIDTH, _HEIGHT = 16.0, 24.0
_DOTS = 100

_TITLE, _LABEL, _CAPTION = 8, 7, 6.5
_POINTS = 72
_LETTER = 0.56  # width of a letter as a share of its size, on average


def colour(maps: Tensor, clip: float = 99.0, *, signed: bool = False, top: float | None = None) -> list[Picture]:
    """Return one picture a map: black where nothing matters, bright where most does.

    Args:
        maps: [N, C, H, W] or [N, H, W].
        clip: Percentile that becomes the brightest colour; see `heatmap`.
        signed: Show the sign: blue below 0, white at 0, red above; see `signed_heatmap`.
        top: Share of the pixels of each map that are shown, those of largest magnitude; None shows all.
    """
    return [coloured(values, signed) for values in _values(maps, clip, signed, top)]


def overlay(
    images01: Any,
    maps: Any,
    clip: float = 99.0,
    *,
    signed: bool = False,
    top: float | None = None,
    space: InputSpace | None = None,
) -> Picture:
    """Return an image in grey with its map over it in colour, the stronger the more opaque; or a batch of these.

    Args:
        images01: An image or a batch of them: [C, H, W] or [N, C, H, W], also with channels last, in a tensor or an
            array; in 8 bits, in [0, 1], or normalised by `space`.
        maps: A map of the same size for each: [H, W] or [C, H, W] of an image, [N, H, W] or [N, C, H, W] of a batch.
        clip: Percentile that becomes the strongest colour, as of `colour`.
        signed: Show the sign.
        top: Share of the pixels that are shown.
        space: How the images are normalised, if they are.

    Returns: uint8 [H, W, 3] of a single image, [N, H, W, 3] of a batch.
    Raises: ArgumentError if shapes do not fit, or values are none of an image.

    Example:
        >>> overlay(torch.rand(3, 4, 5), torch.rand(3, 4, 5)).shape
        (4, 5, 3)
        >>> overlay(np.ones((2, 3, 4, 5)), np.ones((2, 4, 5))).shape
        (2, 4, 5, 3)
    """
    images, single = image_batch("images01", images01, space)
    batch = map_batch("maps", maps, images)
    if batch.shape[-2:] != images.shape[-2:]:
        raise ArgumentError(
            f"maps of {batch.shape[-2]} x {batch.shape[-1]} pixels do not lie over images of {images.shape[-2]} x "
            f"{images.shape[-1]}; pass maps of the size of the images."
        )
    pictures = []
    for image, values in zip(images, _values(batch, clip, signed, top), strict=True):
        grey = image.mean(dim=0).cpu().numpy()[..., None] * 255
        opacity = _OVERLAY_STRENGTH * np.sqrt(np.abs(values))[..., None]
        laid = coloured(np.sign(values) * _SIGNED_OVERLAY / _SIGNED_REACH if signed else values, signed)
        pictures.append((grey * (1 - opacity) + laid * opacity).round().astype(np.uint8))
    return pictures[0] if single else np.stack(pictures)


def plain(images01: Tensor) -> list[Picture]:
    """Return images [N, C, H, W] in [0, 1] as pictures; a single channel becomes grey.

    Raises: ArgumentError if they are no such images.
    """
    checks.images("images01", images01)
    pixels = (images01.detach().float().cpu().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return [np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture for picture in pixels]


def difference(images01: Tensor, changed01: Tensor) -> list[Picture]:
    """Return pictures of what was added to images [N, C, H, W] in [0, 1]: grey for nothing, each scaled by itself."""
    change = changed01 - images01
    return plain(0.5 + change * spread(amplification(images01, changed01), change))


def amplification(images01: Tensor, changed01: Tensor) -> Tensor:
    """Return by how much `difference` scales up what was added to each image, [N]; 1 where nothing was.

    Example:
        >>> amplification(torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.75))
        tensor([2.])
    """
    change = changed01 - images01
    # A few entries may have changed much more than the rest, of which nothing would be seen beside them.
    large = change.flatten(1).abs().quantile(_SHOWN, dim=1)
    return torch.where(large > 0, 0.5 / large.clamp(min=torch.finfo(change.dtype).tiny), 1.0)


def png(picture: Picture, side: int | None = None) -> bytes:
    """Return a picture as PNG, enlarged in whole pixels until its shorter side has at least `side` pixels."""
    image = Image.fromarray(picture)
    if side is not None:
        factor = max(1, -(-side // min(image.size)))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _values(maps: Tensor, clip: float, signed: bool, top: float | None) -> npt.NDArray[np.float32]:
    """Return what is shown: [N, H, W] in [0, 1], or in [-1, 1] with signs."""
    scale, maps = signed_heatmap if signed else heatmap, maps.detach()
    heat = scale(maps, clip)
    if top is not None:
        checks.share("top", top)
        # Ranked before they are clipped, as what was clipped is all alike.
        heat = torch.where(topk_mask(scale(maps, 100.0), top, name="top").view_as(heat), heat, 0.0)
    shown: npt.NDArray[np.float32] = heat.float().cpu().numpy()
    return shown


def scale(signed: bool) -> "ScalarMappable":
    """Return the colours of values, for a bar that explains them."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = matplotlib.colormaps[SIGNED_COLOURS if signed else COLOURS]
    ends = ((1 - _SIGNED_REACH) / 2, (1 + _SIGNED_REACH) / 2) if signed else (0.0, 1.0)
    return ScalarMappable(Normalize(-1.0 if signed else 0.0, 1.0), ListedColormap(colours(np.linspace(*ends, 256))))


def coloured(values: npt.NDArray[np.float32], signed: bool = False) -> Picture:
    """Return values [H, W] in [0, 1], or in [-1, 1] with signs, as a picture."""
    import matplotlib

    colours = matplotlib.colormaps[SIGNED_COLOURS if signed else COLOURS]
    picture: Picture = colours((values * _SIGNED_REACH + 1) / 2 if signed else values, bytes=True)[..., :3]
    return picture


def contact_sheet(
    rows: Sequence[Sequence[Picture]],
    columns: Sequence[str],
    labels: Sequence[str],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    note: str = "",
    bar: Literal["absolute", "signed"] | None = None,
) -> bytes:
    """Return a PNG of pictures in a grid, with a heading a column, a label a row, and a note under the whole.

    The colours of maps are explained by a bar at the foot: from nothing to most, or from against to for with signs.

    The pictures are square or of one shape, as many in a row as there are columns; the last row may be shorter.
    Captions stand under them, in the order of `rows`; an empty one for none.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from gradsculpt.lettering import save  # late, as matplotlib is

    cell = min(_LARGEST_CELL, max(_SMALLEST_CELL, min(_WIDTH / len(columns), _HEIGHT / len(rows))))
    headings = [_broken(heading, cell, _TITLE) for heading in columns]
    text = 0.16 * max(heading.count("\n") + 1 for heading in headings) + (0.2 if note else 0.0) + 0.2
    text += 0.45 if bar else 0.0
    size = (cell * len(columns) + 0.9, (cell + (0.15 if captions else 0.0)) * len(rows) + text)
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01))
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, pictures, texts in zip_longest(axes, rows, captions or (), fillvalue=()):
        for axis, picture, caption in zip_longest(line, pictures, texts):
            if picture is not None:  # enlarged in sharp pixels, made smaller without losing thin lines
                axis.imshow(picture, interpolation="auto", interpolation_stage="rgba")
            if caption:
                axis.set_xlabel(
                    _broken(caption, cell, _CAPTION, lines=1), fontsize=_CAPTION, labelpad=1.5, parse_math=False
                )
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading, fontsize=_TITLE, parse_math=False)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(_broken(label, cell, _LABEL, lines=2), fontsize=_LABEL, parse_math=False)
    if bar:
        _colour_bar(figure, axes, bar == "signed")
    if note:
        figure.supxlabel(note, fontsize=_LABEL, parse_math=False)
    drawn, stream = io.BytesIO(), io.BytesIO()
    save(figure, drawn, format="png", dpi=_DOTS)
    Image.open(drawn).convert("RGB").save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _colour_bar(figure: "Figure", axes: Any, signed: bool) -> None:
    """Draw the colours of maps under the lowest row."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    low = -1.0 if signed else 0.0
    colours = coloured(np.linspace(low, 1.0, 256, dtype=np.float32)[None], signed)[0] / 255
    ends = {-1.0: "against", 0.0: "nothing", 1.0: "for"} if signed else {0.0: "nothing", 1.0: "most"}
    scale = ScalarMappable(Normalize(low, 1.0), ListedColormap(colours))
    drawn = figure.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.5, aspect=30, pad=0.01, fraction=0.02)
    drawn.set_ticks(list(ends), labels=list(ends.values()))
    drawn.ax.tick_params(labelsize=_LABEL, length=2)


def _broken(text: str, inches: float, points: float, lines: int = 4) -> str:
    """Break a text into lines that fit into a cell; what is left over ends in an ellipsis."""
    width = max(6, int(inches * _POINTS / (points * _LETTER)))
    broken = [line for paragraph in text.split("\n") for line in textwrap.wrap(paragraph, width) or [""]]
    if len(broken) > lines:
        broken = [*broken[: lines - 1], broken[lines - 1][: width - 1] + "…"]
    return "\n".join(broken)
