"""Pictures of a cascade: what becomes of maps as a network is randomised, stage by stage."""

import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import channel_sum, magnitudes
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import divided, spread
from gradsculpt.visualize.render import Picture, colour, coloured, contact_sheet, plain
from gradsculpt.wording import counted

_LINES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
"""Colours that differ for any colour vision (Okabe and Ito), with marks and dashes that differ in print."""

_HEADING = 16


def cascade_sheet(
    images01: Tensor,
    original: Tensor,
    maps: Tensor,
    stages: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    columns: int = 8,
    scale: Literal["own", "original"] = "own",
    clip: float = 99.0,
) -> bytes:
    """Return a PNG: a row an image; the image, its map, and its map at stages from the output to the input.

    Args:
        images01: [M, C, H, W] in [0, 1].
        original: Maps before anything was randomised, [M, C, H, W] or [M, H, W].
        maps: Maps at each stage, [S, ...] of those.
        stages: S names.
        labels: M labels of the rows; numbers by default.
        columns: Show at most so many stages, evenly spaced, the last one among them.
        scale: What the brightest colour is: the `clip`-th percentile of each map's "own" values; or that of the
            "original" map in its row, in which case maps that vanish look blank.
        clip: That percentile; see `heatmap`.

    Raises: ArgumentError if shapes or numbers do not fit.
    Source: Adebayo et al., NeurIPS 2018; Gong et al., CVPR 2024, Fig. 15.
    """
    checks.images("images01", images01)
    checks.one_of("scale", scale, ("own", "original"))
    checks.at_least("columns", columns, 1)
    if len(maps) != len(stages) or not len(stages) or maps.shape[1:] != original.shape:
        raise ArgumentError(
            f"maps have shape {list(maps.shape)}, for {counted(len(stages), 'stages')} of "
            f"{list(original.shape)}; pass one batch "
            "of maps a stage, in the shape of the original ones."
        )
    if not len(images01) == len(original) > 0:
        raise ArgumentError(
            f"the numbers of images and maps are {len(images01)} and {len(original)}; pass as many, at least one "
            "(`randomization(..., keep=4)` returns the maps of the first four)."
        )
    shown = spaced(len(stages), columns)
    drawn = [plain(images01), colour(original, clip)]
    drawn += [colour(maps[s], clip) if scale == "own" else _beside(original, maps[s], clip) for s in shown]
    names = labels if labels is not None else [str(i + 1) for i in range(len(images01))]
    headings = ["image", "original", *(_two_lines(stages[s]) for s in shown)]
    return contact_sheet([list(row) for row in zip(*drawn, strict=True)], headings, names)


def cascade_curve(
    curves: Mapping[str, Tensor],
    stages: Sequence[str],
    *,
    title: str = "",
    ylabel: str = "similarity to the original map",
    ticks: int = 24,
) -> bytes:
    """Return a PNG of mean similarities at each stage, with bands of their 95% intervals over the images.

    Args:
        curves: [S, N] by name, one line each: several similarities of one network, or one of several networks.
        stages: S names, from the output to the input.
        title: Above the plot.
        ylabel: What is drawn upwards.
        ticks: Name at most so many stages.

    Units: those of the similarities.
    Raises: ArgumentError if the curves have not a value for each stage.
    Source: Adebayo et al., NeurIPS 2018; Gong et al., CVPR 2024, Fig. 11.
    """
    from matplotlib.figure import Figure

    from gradsculpt.lettering import save

    for name, values in curves.items():
        if values.ndim != 2 or len(values) != len(stages) or not values.numel():
            raise ArgumentError(
                f"{name!r} has shape {list(values.shape)} for {counted(len(stages), 'stages')}; pass values "
                "[stages, images]."
            )
    places = np.arange(1, len(stages) + 1)
    figure = Figure(figsize=(min(14.0, 3.5 + 0.3 * min(len(stages), ticks)), 4.2), layout="constrained")
    axis = figure.subplots()
    for i, (name, values) in enumerate(curves.items()):
        paint, mark, dashes = _LINES[i % len(_LINES)]
        mean = values.double().mean(dim=1).cpu().numpy()
        # The interval of the mean; one image has none.
        error = values.double().std(dim=1, correction=min(1, values.shape[1] - 1)) / values.shape[1] ** 0.5
        half = 1.96 * error.cpu().numpy()
        axis.plot(places, mean, color=paint, marker=mark, linestyle=dashes, markersize=4, label=name)
        axis.fill_between(places, mean - half, mean + half, color=paint, alpha=0.2, linewidth=0)
    # Before any stage every similarity is 1 by definition: a mark to read the others by, not a measurement.
    axis.plot([0], [1], marker="o", color="black", markerfacecolor="white", linestyle="none")
    axis.axhline(0, color="grey", linewidth=0.8)
    named = spaced(len(stages), ticks)
    axis.set_xticks([0, *(s + 1 for s in named)], ["original", *(stages[s] for s in named)], rotation=60, ha="right")
    axis.tick_params(labelsize=7)
    axis.set_xlabel("randomised from the output up to", fontsize=9)
    axis.set_ylabel(ylabel, fontsize=9)
    axis.set_title(title, fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    stream = io.BytesIO()
    save(figure, stream, format="png", dpi=130)
    return stream.getvalue()


def spaced(count: int, most: int) -> list[int]:
    """Return at most so many of `count` indices, evenly spaced, the last one among them."""
    number = min(count, most)
    return [round((place + 1) * count / number) - 1 for place in range(number)]


def _two_lines(name: str) -> str:
    """Break a name that is longer than a column is wide, at the dot nearest to its middle."""
    dots = [place for place, letter in enumerate(name) if letter == "."]
    if len(name) <= _HEADING or not dots:
        return name
    cut = min(dots, key=lambda place: abs(place - len(name) / 2)) + 1
    return f"{name[:cut]}\n{name[cut:]}"


def _beside(original: Tensor, maps: Tensor, clip: float) -> list[Picture]:
    """Colour maps by the scale of the original ones; what is beyond it is as bright as its end."""
    first, second = (channel_sum(magnitudes("maps", each)) for each in (original, maps))
    flat = first.flatten(1)
    level = flat.quantile(clip / 100, dim=1)
    level = spread(torch.where(level > 0, level, flat.amax(dim=1)), second)
    return [coloured(values) for values in divided(second, level).cpu().numpy()]
