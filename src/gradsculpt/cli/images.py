"""The images that a command is given, what a network says of them, and which class is explained or attacked."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gradsculpt.cli.folder import file_name, numbered
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.networks import add_data_options
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.parser import Options, Parser, without_effect
from gradsculpt.cli.parts import hints_of
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError, DataError, did_you_mean
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from gradsculpt.data.base import Bytes

_BATCH_IMAGES, _LISTED = 32, 10


@dataclass(frozen=True)
class NamedImage:
    """An image: a name for its files, unlike all others, pixels [S, S, 3], and true class, where that is known.

    The source is what it is called where it comes from.
    """

    name: str
    pixels: Bytes
    label: str | None
    source: str = ""

    @property
    def title(self) -> str:
        """What it goes by where there is no room for more."""
        return self.called or self.name

    @property
    def called(self) -> str:
        """Its true class in words, where that is known."""
        from gradsculpt.models.imagenet import in_words

        return in_words(self.label) if self.label else ""


def add_image_options(parser: Parser, count: int) -> None:
    """Add the options that say which images a command works on; `count` is the default of `--count`."""
    add_data_options(parser, "Samples of this data instead of files.")
    split = ["test", "val", "train"]
    parser.add_argument("--split", type=str, choices=split, default="test", group="images", help="Part of --data.")
    parser.add_argument(
        "--count",
        type=int,
        default=count,
        limit=at_least(1),
        group="images",
        help="How many samples of --data, evenly spaced.",
    )
    output = hints_of(value("gradsculpt.attributions.Gradient"))["output"]
    parser.add_argument("--output", type=output, default="logit", help="What is explained, of a class.")
    parser.add_argument("--target", type=str | None, help="true, predicted (the default for files) or a class name.")
    parser.add_argument("--strict", action="store_true", group="images", help="Stop at the first unreadable file.")


def check_images(paths: Sequence[Path], options: Options, words: Sequence[str]) -> None:
    """Raise an error if no images are named, or files that are not there; nothing is imported."""
    if bool(paths) == bool(options["data"]):
        raise ArgumentError("nothing to explain, or two things; pass image files or folders, or --data with --count.")
    if paths:
        without_effect(words, ("count", "split", "data_dir", "cache_dir"), "on image files, only with --data")
    for path in paths:
        if not os.path.exists(path):
            raise DataError(f"there is no file or folder {path}; mind the spelling.")


def collect(
    network: NamedNetwork, paths: Sequence[Path], options: Options, reporter: Reporter
) -> tuple[list[NamedImage], list[str]]:
    """Return images at the size of a network, and what is wrong with the files that cannot be read.

    Paths are those of files, and of folders of files; options those of `add_image_options`, and `out`.
    """
    from gradsculpt.data.decode import NotReadError, decode

    if options["data"]:
        data = getattr(network.data(options, reporter), options["split"])
        chosen = evenly_spaced(len(data), options["count"])
        names = numbered(file_name(data.names[i]) for i in chosen)
        labels = [data.classes[data.labels[i]] for i in chosen]
        named = zip(names, chosen, labels, strict=True)
        return [NamedImage(name, data.images[i], label, data.names[i]) for name, i, label in named], []
    images, unreadable = [], []
    for path, name in _files(paths):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")  # what matters is raised, or told of below
                pixels = decode(path, network.classifier.image_size)
            images.append(NamedImage(name, pixels, None, printable(str(path))))
        except DataError as error:
            if options["strict"] or isinstance(error, NotReadError):
                raise
            unreadable.append(str(error))
    if not images:
        raise DataError(f"none of the files can be read: {' '.join(unreadable[:3]) or 'the folders hold no images.'}")
    return images, unreadable


def unread(unreadable: Sequence[str]) -> list[str]:
    """Return what is to be said of files that could not be read: nothing where there are none."""
    return (
        [f"{counted(len(unreadable), 'files')} could not be read:", *(f"  {line}" for line in unreadable)]
        if unreadable
        else []
    )


def evenly_spaced(total: int, count: int) -> npt.NDArray[np.int64]:
    """Return at most so many of `total` indices, evenly spaced from the first to the last.

    Example:
        >>> evenly_spaced(9, 3).tolist(), evenly_spaced(2, 3).tolist()
        ([0, 4, 8], [0, 1])
    """
    import numpy as np

    return np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))


def batches(
    images: Sequence[NamedImage], entries: int, device: torch.device
) -> Iterator[tuple[Sequence[NamedImage], Tensor]]:
    """Yield the images by a few, with their pixels [N, 3, S, S] in [0, 1], not many more than so many `entries`."""
    import numpy as np

    step = max(1, min(_BATCH_IMAGES, entries // images[0].pixels.size))
    for start in range(0, len(images), step):
        batch = images[start : start + step]
        yield batch, pixels01(np.stack([image.pixels for image in batch]), device)


def pixels01(pixels: Bytes, device: torch.device | str = "cpu") -> Tensor:
    """Turn pixels [N, S, S, 3] of 8 bits into images [N, 3, S, S] in [0, 1]."""
    import torch

    from gradsculpt.data import to_float

    return to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device))


def _files(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return every image file with a name for its maps, unlike all others."""
    from gradsculpt.data.listing import SUFFIXES

    files, names = list[Path](), list[str]()
    for path in paths:
        root, inside = path.parent, [path]
        if os.path.isdir(path):
            root, inside = path, [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
        names += [file_name(str(file.relative_to(root))) for file in inside]
        files += inside
    return list(zip(files, numbered(names), strict=True))


class Prediction(NamedTuple):
    """What a network says of an image: the predicted class, the class that is looked at, and its probability."""

    predicted: str
    target: str
    probability: float

    def __str__(self) -> str:
        from gradsculpt.models.imagenet import in_words

        return f"{in_words(self.target)} ({self.probability:.0%})"

    @property
    def called(self) -> str:
        """The predicted class in words."""
        from gradsculpt.models.imagenet import in_words

        return in_words(self.predicted)


def predictions(probabilities: Tensor, target: Tensor, classes: Sequence[str]) -> list[Prediction]:
    """Return what is to be said of images by their probabilities [N, K] and the classes [N] that are looked at."""
    scores = probabilities.gather(1, target[:, None])[:, 0].tolist()
    chosen = zip(probabilities.argmax(dim=1).tolist(), target.tolist(), scores, strict=True)
    return [Prediction(classes[best], classes[looked_at], score) for best, looked_at, score in chosen]


def target_classes(
    wanted: str | None, labels: Sequence[str | None], probabilities: Tensor, classes: Sequence[str]
) -> Tensor:
    """Return the classes [N] to look at, by the names of the true ones, where known, and probabilities [N, K].

    What is wanted is true, predicted or a class; None stands for the true ones where all are known, else predicted.
    """
    import torch

    position = {name: i for i, name in enumerate(classes)}
    if wanted in position and wanted in ("true", "predicted"):
        raise ArgumentError(
            f"--target {wanted} could be the class of that name, or the {wanted} class of each image; leave it away "
            "for the true classes where they are known and the predicted ones elsewhere, or rename the class."
        )
    if wanted in (None, "true") and all(label in position for label in labels):
        return torch.tensor([position[str(label)] for label in labels], device=probabilities.device)
    if wanted == "true":
        strange = next((label for label in labels if label is not None), None)
        of_network = f"the network knows no class {strange}, the true one"
        fact = "the true class of a file is not known" if strange is None else of_network
        raise ArgumentError(f"{fact}; pass --target predicted or a class name.")
    if wanted in (None, "predicted"):
        return probabilities.argmax(dim=1)
    return torch.full((len(labels),), class_index(str(wanted), classes, "--target"), device=probabilities.device)


def class_index(name: str, classes: Sequence[str], option: str) -> int:
    """Return the index of a class that was typed for an option; raise `ArgumentError` if there is not one of that name.

    A class that goes by its WordNet number has the names of that number too.
    """
    from gradsculpt.models.imagenet import in_words, wordnet

    name = printable(name)
    if name in classes:
        return classes.index(name)
    known = [[word.casefold() for word in wordnet().get(other.strip().casefold(), ())] for other in classes]
    named = [i for i, words in enumerate(known) if name.casefold() in words]
    if len(named) == 1:
        return named[0]
    if named:
        raise ArgumentError(f"{option} {name} could be {' or '.join(classes[i] for i in named)}; pass one of these.")
    words = [other if in_words(other) == other else f"{other} ({in_words(other)})" for other in classes]
    more = f" and {len(classes) - _LISTED} more" if len(classes) > _LISTED else ""
    near = {word: other for other in classes for word in (other, in_words(other))}
    raise ArgumentError(
        f"{option} {name} is no class of this network; its classes are {', '.join(words[:_LISTED])}{more}."
        f"{did_you_mean(name, near, 3)}"
    )
