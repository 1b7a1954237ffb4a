"""One self-contained HTML page: scorecards, maps and training curves, with no outside links."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradsculpt.data import to_float
from gradsculpt.data.base import Bytes
from gradsculpt.evaluation import Protocol, Scorecard
from gradsculpt.models import Classifier
from gradsculpt.visualize import colour, contact_sheet, plain, png
from gradsculpt.visualize.render import Picture


@dataclass(frozen=True)
class Sample:
    """An image that the page shows: uint8 [S, S, 3], its label and class, and the truth [S, S] if known."""

    pixels: Bytes
    label: int
    caption: str
    truth: Bytes | None


@dataclass(frozen=True)
class Maps:
    """The maps of the samples in one run, clean and after the disturbance, and whether each was classified right."""

    clean: list[Picture]
    disturbed: list[Picture]
    correct: list[bool]


@dataclass(frozen=True)
class RunView:
    """What the page tells of one run.

    Args:
        name: Heading.
        objective: What it was trained with.
        card: Its scorecard.
        curve: Rows of metrics.csv.
        maps: Maps of the samples.
    """

    name: str
    objective: str
    card: Scorecard
    curve: list[dict[str, str]]
    maps: Maps


def sample_maps(classifier: Classifier, samples: Sequence[Sample], protocol: Protocol) -> Maps:
    """Read the samples' maps as the scorecard's protocol reads them."""
    labels = torch.tensor([sample.label for sample in samples])
    device = classifier.device
    reading = protocol.read(classifier, _batch(samples).to(device), labels.to(device), protocol.generator())
    return Maps(colour(reading.clean), colour(reading.disturbed), (reading.predicted.cpu() == labels).tolist())


def read_curve(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv, or none if it has none."""
    path = run / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def render(views: Sequence[RunView], samples: Sequence[Sample], note: str = "") -> str:
    """Return the page as HTML; every picture is inside it.

    Args:
        views: The runs, in the order of the columns.
        samples: The images whose maps each view holds.
        note: A sentence to open with.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    rows = [
        {
            "caption": sample.caption,
            "image": _uri(png(picture)),
            "truth": None if sample.truth is None else _uri(png(_grey(sample.truth))),
            "maps": [
                {
                    "clean": _uri(png(view.maps.clean[i])),
                    "disturbed": _uri(png(view.maps.disturbed[i])),
                    "correct": view.maps.correct[i],
                }
                for view in views
            ],
        }
        for i, (sample, picture) in enumerate(zip(samples, plain(_batch(samples)), strict=True))
    ]
    return environment.get_template("page.html").render(
        views=views,
        groups=_groups(views),
        rows=rows,
        note=note,
        curves=_uri(_curves(views)),
        settings=views[0].card.settings,
    )


def sheet(views: Sequence[RunView], samples: Sequence[Sample]) -> bytes:
    """Return the samples and their clean maps in every run as one PNG."""
    images = plain(_batch(samples))
    truths = [_grey(sample.truth) for sample in samples if sample.truth is not None]
    known = {"truth": truths} if len(truths) == len(samples) else {}
    columns = [images, *known.values(), *(view.maps.clean for view in views)]
    headings = ["image", *known, *(view.name for view in views)]
    return contact_sheet(list(zip(*columns, strict=True)), headings, [sample.caption for sample in samples])


def _batch(samples: Sequence[Sample]) -> Tensor:
    """Return the samples' pixels as [N, 3, S, S] in [0, 1]."""
    return to_float(torch.from_numpy(np.stack([sample.pixels for sample in samples])).permute(0, 3, 1, 2))


def _grey(values: Bytes) -> Picture:
    return np.repeat(values[..., None], 3, axis=2)


def _groups(views: Sequence[RunView]) -> dict[str, list[dict[str, Any]]]:
    """Return the table's rows by group; the best mean of a row is marked where a direction is better."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys(name for view in views for name in view.card.entries):
        entries = [view.card.entries.get(name) for view in views]
        first = next(entry for entry in entries if entry is not None)
        means = [entry.mean for entry in entries if entry is not None]
        best = {"higher": max, "lower": min, None: None}[first.score.better]
        cells = [
            {"text": str(entry), "best": best is not None and len(means) > 1 and entry.mean == best(means)}
            if entry
            else None
            for entry in entries
        ]
        row = {"name": name.replace("_", " "), "better": first.score.better, "cells": cells}
        groups.setdefault(first.group, []).append(row)
    return groups


def _curves(views: Sequence[RunView]) -> bytes:
    """Plot validation accuracy and sparsity over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"val_accuracy": "validation accuracy (%)", "val_gini": "Gini index of the maps (%)"}
    for axis, (column, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for view, style in zip(views, _STYLES * len(views), strict=False):
            points = [(int(row["epoch"]), 100 * float(row[column])) for row in view.curve if row.get(column)]
            axis.plot(*zip(*points, strict=True), style, label=view.name, markersize=3) if points else None
        axis.set_xlabel("epoch")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


# Told apart by marker and dash as well as by colour.
_STYLES = ["o-", "s--", "^-.", "d:", "v-", "x--", "+-.", "*:"]


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
