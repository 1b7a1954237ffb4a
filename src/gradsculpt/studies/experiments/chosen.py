"""Which images of a set an experiment looks at, and what it needs of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from gradsculpt import checks
from gradsculpt.data import ImageSet, to_float
from gradsculpt.errors import ArgumentError, DataError, ModelError, did_you_mean
from gradsculpt.studies.experiments.base import Experiment, Given, Takes

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from gradsculpt.models import Classifier

_LISTED = 5
_ENTRIES = 2**18  # of a batch: few, as some methods take seconds an image, and as they make their own batches


@dataclass(frozen=True)
class OnImages(Experiment):
    """An experiment on a few images that all networks of a study see.

    Args:
        images: Names of images, in the order to be shown; none to draw them.
        count: How many to draw: each class has as many, up to one.
        part: Which images: those of the test, or of validation, or of training.
        target: The class that maps are of: the true one of each image, or the one that the network predicts.
    """

    takes: ClassVar[Takes] = "networks"

    images: tuple[str, ...] = field(default=(), kw_only=True)
    count: int = field(default=6, kw_only=True)
    part: Literal["test", "val", "train"] = field(default="test", kw_only=True)
    target: Literal["true", "predicted"] = field(default="true", kw_only=True)

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, count=1)

    def views(self, given: Given) -> "Iterator[tuple[str, Classifier, View]]":
        """Yield each network with its name and the images, of the size that it takes.

        Raises: DataError if a network's data lack an image that the first one's have.
        """
        names: Sequence[str] = self.images
        for network in given.runs:
            data = self.data(given, network)
            names = names or [data.names[i] for i in drawn(data.labels, self.count, given.seed)]
            yield network, given.classifier(network), self.view(network, data, names, given.device)

    def data(self, given: Given, network: str) -> ImageSet:
        """Return the images of a network that some are chosen from."""
        images: ImageSet = getattr(given.data(network), self.part)
        return images

    def view(self, network: str, data: ImageSet, names: Sequence[str], device: str) -> "View":
        """Return images by their names."""
        place = {name: i for i, name in enumerate(data.names)}
        if lacking := [name for name in names if name not in place]:
            fact = f"the {self.part} images of {network} have none of the name {lacking[0]}"
            if self.images:
                near = did_you_mean(lacking[0], data.names, 3) or f" Some are {', '.join(data.names[:_LISTED])}."
                raise ArgumentError(
                    f"{fact}, which is to be shown; pass names of its images, or none to draw them.{near}"
                )
            raise DataError(
                f"{fact}, which the first network's have; show networks of other data in studies of their own."
            )
        rows = np.array([place[name] for name in names])
        pixels = np.asarray(data.images[rows])
        return View(
            tuple(names),
            pixels,
            to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)),
            torch.from_numpy(data.labels[rows]).to(device),
            data.classes,
            None if data.attention is None else np.asarray(data.attention[rows]),
        )


@dataclass(frozen=True)
class View:
    """Images as one network sees them.

    Args:
        names: Their names; `pixels` [N, S, S, 3] are of 8 bits, `images01` [N, 3, S, S] the same on the device.
        labels: True classes [N], of `classes`.
        truth: Truth or attention maps [N, S, S] or [N, S, S, C]; None if the data have none.
    """

    names: tuple[str, ...]
    pixels: "npt.NDArray[np.uint8]"
    images01: "Tensor"
    labels: "Tensor"
    classes: tuple[str, ...]
    truth: "npt.NDArray[Any] | None"

    def notes(self) -> dict[str, Any]:
        """Return the names of the images, and their true classes."""
        return {"images": list(self.names), "true": [self.classes[label] for label in self.labels.tolist()]}

    def arrays(self) -> "dict[str, npt.NDArray[Any]]":
        """Return the pixels, and where it is known what a map should be, that: truth in [0, 1], [N, S, S]."""
        if self.truth is None:
            return {"images": self.pixels}
        truth = np.abs(self.truth.astype(np.float32))
        truth = truth.sum(axis=3) if truth.ndim == 4 else truth
        peak = truth.max(axis=(1, 2), keepdims=True)
        return {"images": self.pixels, "truth": (truth / np.where(peak > 0, peak, 1)).astype(np.float16)}


def said(classifier: "Classifier", view: View) -> dict[str, Any]:
    """Return what a network says of images: predicted classes, and their probabilities and those of the true ones."""
    probabilities = classifier.probabilities(view.images01)
    best, places = probabilities.max(dim=1)
    classes = classifier.classes or view.classes
    return {
        "predicted": [classes[i] for i in places.tolist()],
        "probability": [round(value, 4) for value in best.tolist()],
        "of_true": [round(value, 4) for value in probabilities.gather(1, view.labels[:, None])[:, 0].tolist()],
    }


def targets(classifier: "Classifier", view: View, target: str) -> "Tensor":
    """Return the classes [N] whose maps are shown."""
    return view.labels if target == "true" else classifier.probabilities(view.images01).argmax(dim=1)


def drawn(labels: "npt.NDArray[np.int64]", count: int, seed: int) -> list[int]:
    """Draw images at random but repeatably, each class as often as any other, up to one; in the order of the classes.

    What is drawn for a smaller count is among what is drawn for a larger one.

    Raises: ArgumentError if there are fewer images.

    Example:
        >>> [[0, 0, 0, 1, 1, 2][i] for i in drawn(np.array([0, 0, 0, 1, 1, 2]), 5, seed=0)]
        [0, 0, 1, 1, 2]
    """
    if count > len(labels):
        raise ArgumentError(f"count={count} images cannot be shown, as there are only {len(labels)}; pass fewer.")
    generator = np.random.default_rng([seed, 4])
    tie = generator.permutation(int(labels.max()) + 1)  # the order in which classes take turns
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[np.random.default_rng([seed, int(label), 4]).permutation(members)] = np.arange(len(members))
    first = np.lexsort((tie[labels], turn))[:count]
    return [int(i) for i in first[np.lexsort((turn[first], labels[first]))]]


@contextmanager
def told(fact: str) -> Iterator[None]:
    """Say of a `ModelError` which network and method it is of."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{fact}: {error}") from error


def few(images01: "Tensor") -> Iterator[slice]:
    """Yield rows of images, so few that a batch of them suits any method."""
    step = max(1, _ENTRIES // images01[0].numel())
    for start in range(0, len(images01), step):
        yield slice(start, start + step)
