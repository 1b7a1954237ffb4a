"""`gradsculpt explain`."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from gradsculpt.attributions import Attribution
from gradsculpt.cli.console import progress_console
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import DEVICES, prepare
from gradsculpt.cli.runs import Run, attribution, open_run
from gradsculpt.data import to_float
from gradsculpt.data.base import Bytes
from gradsculpt.data.decode import decode
from gradsculpt.data.listing import SUFFIXES
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.visualize import colour, contact_sheet, overlay, plain, png

_BATCH = 32
_SHEET_ROWS = 24
_PICTURE_SIDE = 224


@dataclass(frozen=True)
class _Image:
    """An image to explain: its name, pixels [S, S, 3] and true class, where that is known."""

    name: str
    pixels: Bytes
    label: int | None


def run(words: Sequence[str]) -> None:
    """Write heat maps, overlays and raw arrays of images."""
    prepare()
    parser = command_parser("explain", "Write heat maps, overlays and raw arrays of images.")
    parser.add_argument("run", type=Path, help="Run directory.")
    parser.add_argument("images", type=Path, nargs="*", help="Image files, or folders of them.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the maps.")
    parser.add_argument("--data", type=str | None, help="Explain samples of this data instead of files.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--split", type=str, choices=["test", "val", "train"], default="test", help="Part of --data.")
    parser.add_argument("--count", type=int, default=16, help="How many samples of --data, evenly spaced.")
    parser.add_argument("--method", type=str, nargs="+", default=["gradient"], help="Attributions, one or more.")
    parser.add_argument("--output", type=str, default="logit", help="logit, probability or log_probability.")
    parser.add_argument("--target", type=str | None, help="true, predicted (the default for files) or a class name.")
    parser.add_argument("--clip", type=float, default=99.0, help="Percentile of a map that becomes the brightest.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    parser.add_argument("--strict", action="store_true", help="Stop at the first unreadable file.")
    options = parser.build(parser.read(words))
    opened, console = open_run(options["run"], options["device"]), progress_console()
    methods = {name: attribution(name, options["output"]) for name in options["method"]}
    images, unreadable = _collect(opened, options, console)
    _explain(opened, images, methods, options, console)
    console.print(f"{len(images)} images explained in {options['out']}", highlight=False)
    if unreadable:
        console.print(f"{len(unreadable)} files could not be read:", *unreadable, sep="\n  ", highlight=False)


def _explain(
    opened: Run, images: Sequence[_Image], methods: dict[str, Attribution], options: dict[str, Any], console: Console
) -> None:
    """Write every map, an index of the targets, and a sheet of the first images."""
    out, classifier = options["out"], opened.classifier
    out.mkdir(parents=True, exist_ok=True)
    rows, labels, index = [], [], []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        pixels = torch.from_numpy(np.stack([image.pixels for image in part])).permute(0, 3, 1, 2)
        x01 = to_float(pixels.to(classifier.device))
        with torch.no_grad():
            probabilities = classifier(x01).softmax(dim=1)
        target = _targets(options["target"], part, probabilities, classifier.classes).to(classifier.device)
        pictures = [plain(x01)]
        for name, method in methods.items():
            maps = method(classifier.network, classifier.space.normalize(x01), target)
            heat, over = colour(maps, options["clip"]), overlay(x01, maps, options["clip"])
            for image, one, hot, laid in zip(part, maps, heat, over, strict=True):
                np.save(out / f"{image.name}.{name}.npy", one.cpu().numpy())
                (out / f"{image.name}.{name}.png").write_bytes(png(hot, _PICTURE_SIDE))
                (out / f"{image.name}.{name}.overlay.png").write_bytes(png(laid, _PICTURE_SIDE))
            pictures += [heat, over]
        rows += list(zip(*pictures, strict=True))
        for image, chosen, scores in zip(part, target.tolist(), probabilities, strict=True):
            best = int(scores.argmax())
            true = "" if image.label is None else classifier.classes[image.label]
            labels.append(classifier.classes[chosen])
            index.append(
                [image.name, true, classifier.classes[best], classifier.classes[chosen], f"{scores[chosen]:.4f}"]
            )
        console.print(f"{min(start + _BATCH, len(images))} of {len(images)} explained", highlight=False)
    with (out / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "true", "predicted", "target", "probability"], *index])
    columns = ["image", *(heading for name in methods for heading in (name, f"{name} on image"))]
    (out / "sheet.png").write_bytes(contact_sheet(rows[:_SHEET_ROWS], columns, labels[:_SHEET_ROWS]))


def _targets(wanted: str | None, images: Sequence[_Image], probabilities: Tensor, classes: Sequence[str]) -> Tensor:
    """Return the class to explain for each image."""
    known = [image.label for image in images if image.label is not None]
    if wanted in (None, "true") and len(known) == len(images):
        return torch.tensor(known)
    if wanted == "true":
        raise ArgumentError("the true class of a file is not known; pass --target predicted or a class name.")
    if wanted in (None, "predicted"):
        return probabilities.argmax(dim=1)
    if wanted not in classes:
        raise ArgumentError(f"--target {wanted} is no class of this run; its classes are {', '.join(classes)}.")
    return torch.full((len(images),), list(classes).index(wanted))


def _collect(opened: Run, options: dict[str, Any], console: Console) -> tuple[list[_Image], list[str]]:
    """Return the images to explain, and what is wrong with the files that cannot be read."""
    if bool(options["images"]) == bool(options["data"]):
        raise ArgumentError("nothing to explain, or two things; pass image files or folders, or --data with --count.")
    if options["data"]:
        part = getattr(opened.data(options, console), options["split"])
        chosen = np.unique(np.linspace(0, len(part) - 1, max(1, options["count"])).round().astype(np.int64))
        return [_Image(_plain(part.names[i]), part.images[i], int(part.labels[i])) for i in chosen], []
    images, unreadable = [], []
    for path, name in _files(options["images"]):
        try:
            images.append(_Image(name, decode(path, opened.classifier.image_size), None))
        except DataError as error:
            if options["strict"]:
                raise
            unreadable.append(str(error))
    if not images:
        raise DataError(f"none of the files can be read: {' '.join(unreadable[:3]) or 'the folders hold no images.'}")
    return images, unreadable


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield every image file with a name for its maps, unlike all others."""
    taken: dict[str, int] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no file or folder {path}; mind the spelling.")
        files = (
            [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES] if path.is_dir() else [path]
        )
        for file in files:
            stem = _plain(str(file.relative_to(path).with_suffix("")) if path.is_dir() else file.stem)
            taken[stem] = taken.get(stem, 0) + 1
            yield file, stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"


def _plain(name: str) -> str:
    """Return a name that is one file name on any system."""
    return re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix("") if Path(name).suffix.lower() in SUFFIXES else name))
