"""The test images of a network that an experiment scores, in batches as the network takes them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradsculpt import checks
from gradsculpt.data import ImageSet, loader, to_float
from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.chosen import drawn

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.models import Classifier

_ENTRIES = 2**21  # of a batch


class Scored(NamedTuple):
    """Test images with their names: `x` [N, C, S, S] as the network takes them, and true classes `y` [N]."""

    names: tuple[str, ...]
    x: "Tensor"
    y: "Tensor"


@dataclass(frozen=True)
class OnTests(Experiment):
    """An experiment that scores test images of one network.

    Args:
        images: How many test images, each class as often as any other, up to one; all if there are fewer.
    """

    images: int = field(default=500, kw_only=True)

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, images=1)

    def tested(self, given: Given) -> ImageSet:
        """Return the images, the same ones in the same order whatever the device."""
        data = given.data().test
        return data.subset(np.array(drawn(data.labels, min(self.images, len(data)), given.seed), dtype=np.int64))


def scored(images: ImageSet, classifier: "Classifier") -> Iterator[Scored]:
    """Yield images in batches, as a classifier's network takes them."""
    size, start = max(1, _ENTRIES // int(np.prod(images.images.shape[1:]))), 0
    for batch in loader(images, size, shuffle=False):
        x = classifier.space.normalize(to_float(batch.images.to(classifier.device)))
        yield Scored(tuple(images.names[start : start + len(x)]), x, batch.labels.to(x.device))
        start += len(x)
