"""Images and their maps in one figure, by one line."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.visualize.render import Picture, colour, plain, scale
from gradsculpt.visualize.render import overlay as laid_over
from gradsculpt.visualize.shapes import image_batch, map_batch, named_maps
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from gradsculpt.drawing import Drawing

_CELL, _HEADING, _BAR, _COLUMNS = 2.1, 0.3, 0.9, 6
_TITLE, _LABEL = 9, 8


def show(
    image: Any = None,
    maps: Any = None,
    *,
    titles: Sequence[str] | str | None = None,
    signed: bool = False,
    overlay: bool = False,
    clip: float = 99.0,
    top: float | None = None,
    space: InputSpace | None = None,
) -> "Drawing":
    """Return a figure of images with their maps beside them, with a colour bar; a notebook shows it by itself.

    Args:
        image: An image or a batch of them: [H, W], [C, H, W] or [N, C, H, W], also with channels last, in a tensor, an
            array or a PIL image; in 8 bits, in [0, 1], or normalised by `space`. None shows maps alone.
        maps: Nothing; a map for each image, [H, W] or [C, H, W] of one, [N, H, W] or [N, C, H, W] of a batch; several
            kinds of maps by their headings, `{"gradient": ..., "smoothed": ...}`; or a list of maps of a single image.
        titles: What stands above each image, or above the maps where there are no images.
        signed: Show the sign: blue below 0, white at 0, red above.
        overlay: Lay the maps over the images in grey.
        clip: Percentile that becomes the brightest colour, of each map by itself; see `heatmap`.
        top: Share of the pixels of each map that are shown, those of largest magnitude; None shows all.
        space: How the images are normalised, if they are.

    Raises: ArgumentError if shapes or numbers do not fit, or values are none of an image.

    Example:
        >>> import torch
        >>> figure = show(torch.rand(3, 8, 8), torch.randn(3, 8, 8), signed=True)
        >>> [axis.get_title() for axis in figure.axes]
        ['image', 'map', '']
    """
    from gradsculpt.drawing import Drawing

    cells = _cells(image, maps, titles, space, {"clip": clip, "signed": signed, "top": top}, overlay)
    columns = min(len(cells), max(1, _COLUMNS // len(cells[0]))) * len(cells[0])
    pictures = [cell for row in cells for cell in row]
    rows = math.ceil(len(pictures) / columns)
    size = (_CELL * columns + (_BAR if maps is not None else 0.0), (_CELL + _HEADING) * rows)
    figure = Drawing(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="auto", interpolation_stage="rgba")
        axis.set_title(printable(title), fontsize=_TITLE, parse_math=False)
    if maps is not None:
        bar = figure.colorbar(scale(signed), ax=axes, shrink=0.9, aspect=30 * rows)
        what = "attribution" if signed else "magnitude of the attribution"
        more = ", the stronger the more opaque" if overlay else ""
        bar.set_label(f"{what}\n(1 is the {_percentile(clip)} of each map{more})", fontsize=_LABEL)
        bar.ax.tick_params(labelsize=_LABEL)
    return figure


def _cells(
    image: Any,
    maps: Any,
    titles: Sequence[str] | str | None,
    space: InputSpace | None,
    rendering: dict[str, Any],
    overlay: bool,
) -> list[list[tuple[str, Picture]]]:
    """Return what stands side by side for each image: titles and pictures."""
    if image is None and maps is None:
        raise ArgumentError("there is nothing to show; pass an image, maps, or both.")
    if overlay and (image is None or maps is None):
        raise ArgumentError("overlay=True lays maps over images, and one of the two is missing; pass both.")
    images, single = (None, True) if image is None else image_batch("image", image, space)
    kinds = named_maps(maps, single and images is not None)
    drawn: dict[str, Sequence[Picture]] = {} if images is None else {"image": plain(images)}
    for name, each in kinds.items():
        batch = map_batch(f"maps[{name!r}]" if len(kinds) > 1 else "maps", each, images)
        drawn[name if name not in drawn else f"{name} (map)"] = (
            list(laid_over(images, batch, **rendering)) if overlay else colour(batch, **rendering)
        )
    counts = {len(pictures) for pictures in drawn.values()}
    if len(counts) != 1:
        raise ArgumentError(f"maps are of {sorted(counts)} images; pass as many of each kind.")
    (count,) = counts
    first = next(iter(drawn))
    names = [first] * count if titles is None else [titles] if isinstance(titles, str) else list(titles)
    if len(names) != count:
        raise ArgumentError(f"titles has {len(names)} entries for {count} images; pass one for each.")
    return [
        [(str(names[i]) if name == first else name, pictures[i]) for name, pictures in drawn.items()]
        for i in range(count)
    ]


def _percentile(clip: float) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(int(clip) % 10 if int(clip) not in (11, 12, 13) else 0, "th")
    return "largest" if clip == 100 else f"{clip:g}{ending} percentile"
