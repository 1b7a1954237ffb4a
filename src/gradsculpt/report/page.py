"""One self-contained HTML page: scorecards, maps and plots, with no outside links."""

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from PIL import Image

from gradsculpt.evaluation import Scorecard
from gradsculpt.report.plots import plots
from gradsculpt.report.samples import Maps, Sample, batch, grey
from gradsculpt.report.table import score_groups, summary
from gradsculpt.visualize import contact_sheet, plain
from gradsculpt.visualize.render import Picture

# What the pictures may weigh, so that a page can be sent by mail; below the smallest side nothing can be recognised.
_BYTES, _SMALLEST = 1_500_000, 64
_PHOTOGRAPH = 2.4  # bytes a pixel, where a map takes one


@dataclass(frozen=True)
class RunView:
    """What the page tells of one run: what it was trained with, rows of its metrics.csv, and maps of the samples."""

    name: str
    objective: str
    card: Scorecard
    curve: list[dict[str, str]]
    maps: Maps


def read_curve(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv, or none if it has none."""
    path = run / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def render(views: Sequence[RunView], samples: Sequence[Sample], note: str = "") -> str:
    """Return the page as HTML, every picture inside it; the first run is what the others are compared with.

    The samples are the images whose maps each view holds; the page opens with the note.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names, cards = _unique([view.name for view in views]), [view.card for view in views]
    groups = score_groups(cards)
    return environment.get_template("page.html").render(
        runs=[
            {"name": name, "objective": view.objective, "counts": summary(groups, i) if i else None}
            for i, (name, view) in enumerate(zip(names, views, strict=True))
        ],
        groups=groups,
        samples=_samples(views, samples),
        maps=views[0].maps,
        plots=[
            {**vars(plot), "uri": _uri(plot.svg, "svg+xml")}
            for plot in plots(names, cards, [view.curve for view in views])
        ],
        note=note,
        warnings=[f"{name}: {card.warning}" for name, card in zip(names, cards, strict=True) if card.warning],
        settings=cards[0].settings,
    )


def sheet(views: Sequence[RunView], samples: Sequence[Sample]) -> bytes:
    """Return the samples and their clean maps in every run as one PNG."""
    images = plain(batch(samples))
    truths = [grey(sample.truth) for sample in samples if sample.truth is not None]
    truth = {"truth": truths} if len(truths) == len(samples) else {}
    columns = [images, *truth.values(), *(view.maps.clean for view in views)]
    headings = ["image", *truth, *(view.name for view in views)]
    return contact_sheet(list(zip(*columns, strict=True)), headings, [sample.caption for sample in samples])


def _samples(views: Sequence[RunView], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return the samples with their pictures: a line for the clean image, one with noise, and one attacked."""
    maps = [view.maps for view in views]
    kinds = [
        ("clean", plain(batch(samples)), [each.clean for each in maps]),
        ("noisy", maps[0].noisy_images, [each.disturbed for each in maps]),
        ("attacked", maps[0].attacked_images, [each.attacked for each in maps]),
    ]
    kinds = [kind for kind in kinds if kind[1]]
    weight = len(samples) * (len(kinds) * (_PHOTOGRAPH + len(views)) + 1)
    side = max(_SMALLEST, int(math.sqrt(_BYTES / max(1.0, weight))))

    def uri(picture: Picture, palette: bool = True) -> str:  # a palette holds all colours of a map
        image, stream = Image.fromarray(picture), io.BytesIO()
        if max(image.size) > side:
            image.thumbnail((side, side), Image.Resampling.BOX)
        if palette:
            image = image.quantize(256, dither=Image.Dither.NONE)
        image.save(stream, "PNG", optimize=True)
        return _uri(stream.getvalue(), "png")

    return [
        {
            "caption": sample.caption,
            "truth": None if sample.truth is None else uri(grey(sample.truth)),
            "lines": [
                {"kind": kind, "image": uri(images[i], palette=False), "maps": [uri(each[i]) for each in pictures]}
                for kind, images, pictures in kinds
            ],
            "predicted": [(each.predicted[i], each.correct[i]) for each in maps],
        }
        for i, sample in enumerate(samples)
    ]


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where several runs share one."""
    unique: list[str] = []
    for name in names:
        candidates = chain([name], (f"{name} ({number})" for number in count(2)))
        unique.append(next(each for each in candidates if each not in unique))
    return unique


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
