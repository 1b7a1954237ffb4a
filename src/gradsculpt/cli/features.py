"""`gradsculpt features`."""

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from gradsculpt.cli.console import progress_console
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.process import DEVICES, make_folder, prepare
from gradsculpt.cli.runs import Subject, add_network_options, open_classifier
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.visualize import Ascent, class_features, colour_matrix, contact_sheet, plain, png
from gradsculpt.visualize.render import Picture
from gradsculpt.visualize.spectrum import Colours

_PICTURE_SIDE = 224
_SHEET_COLUMNS = 5
_COLOUR_IMAGES = 256
_MOST = 20


def run(words: Sequence[str]) -> None:
    """Write the image that raises each class's logit the most."""
    prepare()
    parser = _parser()
    options, console = parser.build(parser.read(words)), progress_console()
    ascent = Ascent(**{entry.name: options[entry.name] for entry in fields(Ascent)})
    weights = options["weights"] or []
    if len(weights) > 1:
        raise ArgumentError(f"there are {len(weights)} --weights for one network; pass one.")
    subject = open_classifier(
        options["run"],
        weights=next(iter(weights), None),
        mean=tuple(options["mean"]),
        std=tuple(options["std"]),
        image_size=options["image_size"],
        device=options["device"],
    )
    chosen = _chosen(options["classes"], subject.classifier.classes)
    colours = _colours(subject, options, console) if options["colours"] == "data" else None
    _write(subject, chosen, ascent, colours, options, console)
    console.print(f"{len(chosen)} classes pictured in {options['out']}", highlight=False)


def _parser() -> Parser:
    parser = command_parser("features", "Write the image that raises each class's logit the most, and a sheet of them.")
    parser.add_argument("run", type=str, help="Run directory, or a network by name, as of gradsculpt explain.")
    parser.add_argument("--classes", type=str, nargs="+", default=[], help=f"Class names; default the first {_MOST}.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the images.")
    parser.add_argument(
        "--colours",
        type=str,
        choices=["imagenet", "data"],
        default="imagenet",
        help="Whether colours vary together as in ImageNet, or as in the training images.",
    )
    parser.add_argument("--data", type=str | None, help="Other data than the run's, for --colours data.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--batch_size", type=int, default=16, help="Classes at once.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    add_network_options(parser)
    parser.add_class_arguments(Ascent)
    return parser


def _write(
    subject: Subject,
    chosen: Sequence[int],
    ascent: Ascent,
    colours: Colours | None,
    options: dict[str, Any],
    console: Console,
) -> None:
    """Write a picture a class, an index of what they reach, and a sheet."""
    out, classifier, size = options["out"], subject.classifier, options["batch_size"]
    make_folder(out)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"pictures of {subject.name}", total=None)
        images, reached = class_features(
            classifier,
            chosen,
            ascent=ascent,
            colours=colours,
            batch_size=size,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    with torch.no_grad():
        probabilities = torch.cat([classifier(part).softmax(dim=1) for part in torch.split(images, size)])
    pictures, names = plain(images), [classifier.classes[index] for index in chosen]
    table = []
    for i, (index, name, picture) in enumerate(zip(chosen, names, pictures, strict=True)):
        file_name = f"{index}-" + re.sub(r"[^\w.-]+", "_", name) + ".png"
        (out / file_name).write_bytes(png(picture, _PICTURE_SIDE))
        table.append([index, name, f"{reached[i]:.4f}", f"{probabilities[i, index]:.4f}", file_name])
    with (out / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["index", "class", "reached", "probability", "file"], *table])
    (out / "sheet.png").write_bytes(_sheet(pictures, names, f"{subject.name}: {ascent.output}, {ascent.steps} steps"))


def _chosen(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the indices of classes by name, each once."""
    position = {name: index for index, name in enumerate(classes)}
    for name in names:
        if name not in position:
            near = difflib.get_close_matches(name, classes, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            listed = ", ".join(classes[:10]) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
            raise ArgumentError(f"--classes {name} is no class of this network; its classes are {listed}.{hint}")
    return list(dict.fromkeys(position[name] for name in names or classes[:_MOST]))


def _colours(subject: Subject, options: dict[str, Any], console: Console) -> Colours:
    """Return the colours of training images, evenly spaced."""
    part = subject.data(options, options["out"], console).train
    rows = np.unique(np.linspace(0, len(part) - 1, _COLOUR_IMAGES).round().astype(np.int64))
    return colour_matrix(to_float(torch.from_numpy(np.asarray(part.images[rows])).permute(0, 3, 1, 2)))


def _sheet(pictures: Sequence[Picture], names: Sequence[str], note: str) -> bytes:
    """Return a sheet with the name of the class under every picture."""
    columns = min(_SHEET_COLUMNS, len(pictures))
    missing = -len(pictures) % columns
    shown = [*pictures, *[np.full_like(pictures[0], 255)] * missing]
    captions = [*names, *[""] * missing]
    starts = range(0, len(shown), columns)
    return contact_sheet(
        [shown[start : start + columns] for start in starts],
        [""] * columns,
        [""] * len(starts),
        captions=[captions[start : start + columns] for start in starts],
        note=note,
    )
