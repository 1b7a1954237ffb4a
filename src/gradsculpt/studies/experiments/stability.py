"""How alike the maps of several trainings of one network are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.data import ImageSet, loader, to_float
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.evaluation.scoring import BLANK_MAPS
from gradsculpt.metrics import stability
from gradsculpt.studies.experiments.base import Experiment, Given, Takes


@dataclass(frozen=True)
class Stability(Experiment):
    """The likeness of the maps that trainings with other seeds give to the same test images, by `metrics.stability`.

    It keeps `ssim` and `topk_dice`, a value an image: the mean over all pairs of seeds; and `zero_map` if there are
    maps of zeros, which are alike and show nothing. What the trainings have in common is up to their settings: with
    `swap`, each has other training and test images, and the images here are drawn from the test images of all.

    Args:
        images: How many test images are looked at, at most, drawn from those that all trainings have in common.
        k: Share of the non-zero pixels that are the top.
        method: The attribution, as a text.
        target: The class whose maps are read: the true one, or the one that each network predicts.
        batch_size: Images a pass.

    Raises: ArgumentError, when made, if a number is out of range; when run, with a single seed. DataError if trainings
        have no test images in common.
    Source: Gong et al., CVPR 2024, section 5.2, B.7: two trainings, 1,000 training images of one swapped with test
        images, 500 common test images.
    Deviation: Each training swaps by its own seed, so with `swap=500` two of them differ in about 1,000 images. The
        notes tell in how many, as a validation part that is cut off by the seed adds to them.
    """

    takes: ClassVar[Takes] = "seeds"

    images: int = 500
    k: float = 0.4
    method: str = "gradient"
    target: Literal["true", "predicted"] = "true"
    batch_size: int = 32

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, images=1, batch_size=1)
        checks.share("k", self.k)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method."""
        return {"Attribution": (self.method,)}

    def run(self, given: Given) -> None:
        """Read the maps of all trainings, and compare them two by two."""
        if len(given.runs) < 2:
            raise ArgumentError(
                f"stability compares trainings with other seeds, and there is only seed {next(iter(given.runs), '-')}; "
                "name two seeds at least in the study."
            )
        data = {seed: given.data(seed) for seed in given.runs}
        names = common({seed: splits.test for seed, splits in data.items()}, self.images, given.seed)
        maps = {}
        for seed, splits in data.items():
            place = {name: i for i, name in enumerate(splits.test.names)}
            maps[seed] = self._maps(given, seed, splits.test.subset(np.array([place[name] for name in names])))
        pairs = list(combinations(maps, 2))
        scored = [stability(maps[one], maps[other], self.k) for one, other in pairs]
        columns = {
            score: torch.stack([each[score.name] for each in scored]).double().mean(dim=0) for score in stability.scores
        }
        blank = torch.stack([(each == 0).flatten(1).all(dim=1) for each in maps.values()]).double().mean(dim=0)
        columns |= {BLANK_MAPS.score: blank} if bool(blank.any()) else {}
        learnt = {seed: set(splits.train.names) for seed, splits in data.items()}
        given.keep(
            {score: dict(zip(names, values.tolist(), strict=True)) for score, values in columns.items()},
            seeds=list(given.runs),
            images=len(names),
            train=max(map(len, learnt.values())),
            train_differs=max(len(learnt[one] - learnt[other]) for one, other in pairs),
        )

    def _maps(self, given: Given, seed: str, images: ImageSet) -> Tensor:
        classifier = given.classifier(seed)
        attribute, maps = given.attribution(self.method, classifier), list[Tensor]()
        with given.reporter.work(f"maps of seed {seed}", len(images)) as tell:
            for batch in loader(images, self.batch_size, shuffle=False):
                x = classifier.space.normalize(to_float(batch.images.to(classifier.device)))
                classes = batch.labels.to(x.device) if self.target == "true" else None
                maps.append(attribute(classifier.network, x, classes).detach().float().cpu())
                tell(sum(map(len, maps)), len(images))
        return torch.cat(maps)


def common(sets: Mapping[str, ImageSet], count: int, seed: int) -> list[str]:
    """Return the names of at most so many images that all sets have, drawn by the seed, in the order of the first set.

    Raises: DataError if there are none.
    """
    first, *others = (images.names for images in sets.values())
    shared = set(first).intersection(*others)
    if not shared:
        raise DataError(
            f"the trainings of the seeds {', '.join(sets)} have no test image in common, so their maps cannot be "
            "compared; let them swap fewer images with the test images."
        )
    names = [name for name in first if name in shared]
    chosen = np.random.default_rng([seed, 0, 5]).permutation(len(names))[:count]
    return [names[i] for i in np.sort(chosen)]
