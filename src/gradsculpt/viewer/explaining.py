"""Explain: what networks say of a picture, and their maps side by side, with what is to be said of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gradsculpt.cli.folder import array_file, file_name, numbered
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.images import class_index, pixels01
from gradsculpt.cli.parts import family, names
from gradsculpt.cli.sized import attribution_for
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models.imagenet import in_words
from gradsculpt.report.meaning import Said, direction, of_map, of_network, percent
from gradsculpt.viewer.work import Done, Step, Ticket
from gradsculpt.visualize import colour, overlay, plain, png
from gradsculpt.wording import counted, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.models import Classifier
    from gradsculpt.viewer.pictures import Picture
    from gradsculpt.viewer.subjects import Subject
    from gradsculpt.visualize.render import Picture as Pixels

PREDICTED = ""
"""What stands for the class that each network predicts itself."""

_SHOWN, _SIDE = 5, 224
_SCORES = 3  # that are told under a map: in which share of the pixels half of it lies, its Gini index, its spots


@dataclass(frozen=True)
class Prediction:
    """A class of a network, in words and as it is named there, and its probability in [0, 1]."""

    called: str
    name: str
    probability: float


@dataclass(frozen=True)
class Seen:
    """What a network says of a picture: its likeliest classes, the first first."""

    network: str
    top: tuple[Prediction, ...]


@dataclass(frozen=True)
class Map:
    """The map of a picture, a network and an attribution.

    Args:
        network: The title of the network.
        method: The attribution, as `gradsculpt explain` names it.
        target: The class that is explained.
        values: The map, float32 [C, S, S], as `gradsculpt explain` writes it.
        image: The picture as the network sees it, in 8 bits, [S, S, 3].
        said: What scores say of it, each with its name and value.
        sureness: How sure the network is of the class when all but the top of the pixels are hidden, in a sentence.
    """

    network: str
    method: str
    target: Prediction
    values: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8]
    said: tuple[Said, ...]
    sureness: str

    @property
    def title(self) -> str:
        """The network and the attribution."""
        return f"{self.network}: {self.method}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be said of it, with the name of each score."""
        named = [
            f"{each.text.removesuffix('.')} ({each.score.name.replace('_', ' ')}, {direction(each.score)})."
            for each in self.said
        ]
        return (f"{self.target.called}: {percent(self.target.probability)} sure.", *named, self.sureness)


@dataclass(frozen=True)
class Rendering:
    """How maps are shown.

    Args:
        over: How strongly a map covers its picture, in [0, 1]; 0 shows the picture, and None the map alone.
        clip: The percentile of a map that becomes the brightest, 0 to 100.
        signed: Show the sign.
    """

    over: float | None = None
    clip: float = 99.0
    signed: bool = False


@dataclass(frozen=True)
class Explained:
    """What networks say of a picture, and the maps of all networks and attributions."""

    title: str
    label: str | None
    seen: tuple[Seen, ...]
    maps: tuple[Map, ...] = ()


def methods() -> list[str]:
    """Return the names of the attributions, as `gradsculpt list` has them."""
    return list(names(family("Attribution")))


class Look:
    """The work of asking networks what they see in a picture."""

    def __init__(self, picture: Picture, subjects: Sequence[Subject]) -> None:
        self._picture, self._subjects = picture, subjects

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Explained]]:
        """Yield steps, then the likeliest classes of every network."""
        seen = []
        for subject in self._subjects:
            network = yield from subject.opening(ticket)
            yield Step(f"asking {subject.title}")
            images01, _ = _images(self._picture, network.classifier)
            seen.append(Seen(subject.title, _top(network.classifier, images01)))
        yield Done(Explained(self._picture.title, self._picture.label, tuple(seen)))


class Explain:
    """The work of explaining a picture.

    Args:
        picture: What is explained.
        subjects: By which networks; one at least.
        attributions: By which attributions, of `methods`; one at least.
        target: The class that is explained, by its name or a synonym; `PREDICTED` for each network's own.
        most: How many maps may be made.

    Raises: ArgumentError if nothing is chosen, too much is, or an attribution is not known.
    """

    def __init__(
        self, picture: Picture, subjects: Sequence[Subject], attributions: Sequence[str], target: str, most: int
    ) -> None:
        if not attributions:
            raise ArgumentError("no attribution is chosen; choose one at least.")
        self._methods = list(dict.fromkeys(map(canonical, attributions)))
        for each in self._methods:  # others could be code of any kind, which no visitor may run
            if each not in methods():
                raise ArgumentError(f"{each} is not on offer; choose from {', '.join(methods())}.")
        self._picture, self._subjects, self._target = picture, subjects, target
        self._total = len(subjects) * len(self._methods)
        if self._total > most:
            raise ArgumentError(
                f"{counted(len(subjects), 'networks')} with {counted(len(self._methods), 'attributions')} make "
                f"{self._total} maps, and {most} are made at once; choose fewer."
            )

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Explained]]:
        """Yield steps, then all maps."""
        seen, maps = list[Seen](), list[Map]()
        for subject in self._subjects:
            classifier = (yield from subject.opening(ticket)).classifier
            images01, pixels = _images(self._picture, classifier)
            probabilities = classifier.probabilities(images01)
            seen.append(Seen(subject.title, _likeliest(probabilities[0], classifier)))
            target = _class(self._target, probabilities, classifier, subject.title)
            for method in self._methods:
                yield Step(f"{method} of {subject.title}", len(maps) / self._total)
                ticket.check()
                values = self._map(classifier, subject.title, method, images01, target)
                yield Step(f"measuring {method} of {subject.title}", (len(maps) + 0.8) / self._total)
                said = _prediction(probabilities[0], int(target), classifier)
                x = classifier.space.normalize(images01)
                shown = tuple(of_map(values[0])[:_SCORES]), of_network(classifier.network, x, target, values)[0]
                maps.append(Map(subject.title, method, said, values[0].float().cpu().numpy(), pixels, *shown))
        yield Done(Explained(self._picture.title, self._picture.label, tuple(seen), tuple(maps)))

    def _map(self, classifier: Classifier, title: str, method: str, images01: Tensor, target: Tensor) -> Tensor:
        try:
            attribute = attribution_for(method, classifier)
            return attribute(classifier.network, classifier.space.normalize(images01), target).detach()
        except ModelError as error:
            raise ModelError(f"{method} cannot explain {title}: {error}") from error


def picture_of(each: Map, rendering: Rendering) -> Pixels:
    """Return a map as it is shown, uint8 [S, S, 3]."""
    values = torch.from_numpy(each.values)[None]
    if rendering.over is None:
        return colour(values, rendering.clip, signed=rendering.signed)[0]
    images01 = pixels01(each.image[None])
    laid = overlay(images01, values, rendering.clip, signed=rendering.signed)[0].astype(np.float32)
    shown = plain(images01)[0].astype(np.float32) * (1 - rendering.over) + laid * rendering.over
    pixels: Pixels = shown.round().astype(np.uint8)
    return pixels


def files_of(explained: Explained, rendering: Rendering, folder: Path) -> list[Path]:
    """Write each map as a raw array and as it is shown, and return the files, which have safe names."""
    folder.mkdir(parents=True, exist_ok=True)
    image = file_name(explained.title)
    stems = numbered(f"{image}.{_in_file(each.network)}.{_in_file(each.method)}" for each in explained.maps)
    written = []
    for each, stem in zip(explained.maps, stems, strict=True):
        (folder / f"{stem}.npy").write_bytes(array_file(each.values))
        (folder / f"{stem}.png").write_bytes(png(picture_of(each, rendering), _SIDE))
        written += [folder / f"{stem}.png", folder / f"{stem}.npy"]
    return written


def renamed(explained: Explained, title: str) -> Explained:
    """Return the same of a picture that is called otherwise."""
    return replace(explained, title=title)


def _in_file(text: str) -> str:
    return file_name(text.replace(".", "_").replace(":", "-").replace(",", "-"))


def _images(picture: Picture, classifier: Classifier) -> tuple[Tensor, npt.NDArray[np.uint8]]:
    pixels = picture.at(classifier.image_size)
    return pixels01(pixels[None], classifier.device), pixels


def _top(classifier: Classifier, images01: Tensor) -> tuple[Prediction, ...]:
    return _likeliest(classifier.probabilities(images01)[0], classifier)


def _likeliest(probabilities: Tensor, classifier: Classifier) -> tuple[Prediction, ...]:
    order = probabilities.topk(min(_SHOWN, len(probabilities))).indices.tolist()
    return tuple(_prediction(probabilities, i, classifier) for i in order)


def _prediction(probabilities: Tensor, index: int, classifier: Classifier) -> Prediction:
    name = printable(classifier.classes[index])
    return Prediction(in_words(name), name, float(probabilities[index]))


def _class(wanted: str, probabilities: Tensor, classifier: Classifier, title: str) -> Tensor:
    if wanted == PREDICTED:
        return probabilities.argmax(dim=1)
    index = class_index(wanted, classifier.classes, f"for {title}, the class")
    return torch.full((1,), index, device=probabilities.device)
