"""What each network takes for a class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from gradsculpt import checks
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.studies.experiments.base import Experiment, Given, Takes
from gradsculpt.studies.experiments.chosen import told
from gradsculpt.visualize import Ascent, class_features, colour_matrix, plain

_COLOUR_IMAGES = 256


@dataclass(frozen=True)
class Features(Experiment):
    """The picture that raises each class's logit the most, of some classes, by every network; for `Pictures`.

    It keeps, for the i-th network, `pictures i` [classes, S, S, 3] in 8 bits; and as notes the networks (`rows`), the
    classes (`columns`), and as `captions` what its picture makes of the class: its probability.

    Args:
        classes: Names of classes; none for the first `count`.
        count: How many classes, if they are not named.
        colours: Whether colours vary together as in ImageNet, or as in the training images: imagenet or data.
        ascent: Settings of `Ascent` by name, such as steps; its seed is that of the study.

    Raises: ArgumentError, when made, if a number is out of range, or there is no such setting.
    Source: Gong et al., CVPR 2024, Fig. 3.
    """

    takes: ClassVar[Takes] = "networks"

    classes: tuple[str, ...] = ()
    count: int = 5
    colours: Literal["imagenet", "data"] = "imagenet"
    ascent: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, count=1)
        self._ascent(seed=0)

    def run(self, given: Given) -> None:
        """Seek the pictures, and keep them."""
        ascent, arrays = self._ascent(given.seed), dict[str, Any]()
        names, captions = list[str](), list[list[str]]()
        for i, network in enumerate(given.runs):
            classifier = given.classifier(network)
            names = names or list(self.classes or classifier.classes[: self.count])
            places = [self._place(name, network, classifier.classes) for name in names]
            colours = None
            if self.colours == "data":
                training = given.data(network).train.images
                rows = np.unique(np.linspace(0, len(training) - 1, _COLOUR_IMAGES).round().astype(np.int64))
                pixels = torch.from_numpy(np.asarray(training[rows])).permute(0, 3, 1, 2)
                colours = colour_matrix(to_float(pixels))
            what = f"pictures of {network}"
            with told(f"{network} has no pictures"), given.reporter.work(what, unit="steps") as tell:
                images = class_features(classifier, places, ascent=ascent, colours=colours, progress=tell).images
            probabilities = classifier.probabilities(images)
            arrays[f"pictures {i}"] = np.stack(plain(images))
            captions.append([f"{float(row[place]):.0%}" for row, place in zip(probabilities, places, strict=True)])
        note = f"The image that raises the {ascent.output} of a class; under it the probability of the class."
        given.keep({}, arrays=arrays, rows=list(given.runs), columns=names, captions=captions, note=note)

    def _ascent(self, seed: int) -> Ascent:
        known = Ascent.__dataclass_fields__
        if strange := [name for name in self.ascent if name not in known]:
            raise ArgumentError(
                f"ascent has no setting {strange[0]}; its settings are {', '.join(known)}."
                f"{did_you_mean(strange[0], list(known))}"
            )
        return Ascent(**{"seed": seed, **self.ascent})

    def _place(self, name: str, network: str, classes: tuple[str, ...]) -> int:
        if name not in classes:
            raise ArgumentError(
                f"{network} has no class {name}, so it has no picture of it; its classes are "
                f"{', '.join(classes[:5])}{' and more' if len(classes) > 5 else ''}.{did_you_mean(name, list(classes))}"
            )
        return classes.index(name)
