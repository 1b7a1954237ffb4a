"""What becomes of a network's maps as its weights are drawn anew, from the output down to the input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from gradsculpt import checks
from gradsculpt.data import ImageSet, to_float
from gradsculpt.evaluation import SANITY_SCORES, Curve, Randomization, randomization
from gradsculpt.evaluation.results import entry
from gradsculpt.metrics import Score
from gradsculpt.studies.experiments.base import Experiment, Given, Takes
from gradsculpt.studies.experiments.chosen import drawn
from gradsculpt.visualize import colour, plain
from gradsculpt.visualize.cascade import spaced

if TYPE_CHECKING:
    import numpy.typing as npt

    from gradsculpt.models import Classifier

_SCORES = ("ssim", "spearman", "topk_intersection", "blank")


@dataclass(frozen=True)
class Cascade(Experiment):
    """The maps of a network beside those with its weights drawn anew, stage by stage, by `evaluation.randomization`.

    It keeps `ssim`, `spearman`, `topk_intersection` and `blank`, a value an image: the mean over the stages; a curve of
    each over the stages, in per cent where it is a share; and for `Pictures` an image a row, `pictures i` [columns, S,
    S, 3]: the image, its map, and its map at stages from the output to the input, each coloured by its own scale.

    Args:
        images: How many test images are looked at, at most: each class has as many, up to one.
        method: The attribution, as a text.
        target: The class whose maps are read: the true one, or the one that the network predicts before.
        stages: Into how many stages modules are merged; None takes each by itself.
        k: Share of the non-zero pixels that are the top.
        rows: How many of them are shown, of as many classes as there are.
        columns: How many stages are shown, at most, evenly spaced, the last among them.
        batch_size: Images a pass.

    Raises: ArgumentError, when made, if a number is out of range; ModelError, when run, if weights cannot be drawn.
    Source: Gong et al., CVPR 2024, C.2.6, Fig. 11, 15; Adebayo et al., NeurIPS 2018.
    """

    takes: ClassVar[Takes] = "network"

    images: int = 64
    method: str = "gradient"
    target: Literal["true", "predicted"] = "predicted"
    stages: int | None = None
    k: float = 0.4
    rows: int = 4
    columns: int = 8
    batch_size: int = 32

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, images=1, rows=0, columns=1, batch_size=1, stages=1)
        checks.share("k", self.k)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method."""
        return {"Attribution": (self.method,)}

    def run(self, given: Given) -> None:
        """Draw weights anew, and keep what becomes of the maps."""
        classifier, tested = given.classifier(), given.data().test
        tested = tested.subset(self._chosen(tested.labels, given.seed))
        pixels = torch.from_numpy(np.asarray(tested.images[:])).permute(0, 3, 1, 2)
        images01 = to_float(pixels.to(classifier.device))
        with given.reporter.work("weights drawn anew", self.stages, "stages") as tell:
            result = randomization(
                classifier.network,
                given.attribution(self.method, classifier),
                classifier.space.normalize(images01),
                torch.from_numpy(tested.labels) if self.target == "true" else None,
                given.seed,
                self.stages,
                tell,
                k=self.k,
                keep=min(self.rows, len(tested)),
                batch_size=self.batch_size,
            )
        scores = [replace(SANITY_SCORES[name], name=name) for name in _SCORES]
        means = {score: result[score.name].double().mean(dim=0).tolist() for score in scores}
        shown = spaced(len(result.stages), self.columns)
        given.keep(
            {score: dict(zip(tested.names, values, strict=True)) for score, values in means.items()},
            {score.name: _curve(score, result, given.seed) for score in scores},
            {f"pictures {i}": strip for i, strip in enumerate(_strips(images01, result, shown))},
            rows=_labels(tested, classifier, len(result.original)),
            columns=["image", "map", *(result.stages[stage] for stage in shown)],
            stages=list(result.stages),
            images=list(tested.names),
        )

    def _chosen(self, labels: "npt.NDArray[np.int64]", seed: int) -> "npt.NDArray[np.int64]":
        """Return which images are looked at, those that are shown in front."""
        several, few = (drawn(labels, min(count, len(labels)), seed) for count in (self.images, self.rows))
        return np.array(list(dict.fromkeys([*few, *several]))[: self.images], dtype=np.int64)


def _curve(score: Score, result: Randomization, seed: int) -> Curve:
    """Return means over the images at each stage, with their bootstrap intervals."""
    scale = 100 if score.unit == "fraction" else 1
    entries = [entry("experiment", score, scale * values, seed) for values in result[score.name]]
    titles = {
        "ssim": "SSIM",
        "spearman": "Rank correlation",
        "topk_intersection": "Top pixels kept",
        "blank": "Blank pixels",
    }
    mean, low, high = (tuple(getattr(each, end) for each in entries) for end in ("mean", "low", "high"))
    label = f"{titles[score.name]} (%)" if scale != 1 else f"{titles[score.name]} with the trained map"
    caption = "A curve that falls is better: a map that stays while what was learnt is taken away does not show it."
    return Curve(titles[score.name], "weights drawn anew down to", label, result.stages, mean, low, high, caption)


def _strips(images01: torch.Tensor, result: Randomization, shown: Sequence[int]) -> "list[npt.NDArray[np.uint8]]":
    """Return a row of pictures for each image of which maps are kept, [columns, S, S, 3]."""
    if not len(result.original):
        return []
    columns = [plain(images01[: len(result.original)]), colour(result.original)]
    columns += [colour(result.maps[stage]) for stage in shown]
    return [np.stack(row) for row in zip(*columns, strict=True)]


def _labels(tested: ImageSet, classifier: "Classifier", count: int) -> list[str]:
    classes = classifier.classes or tested.classes
    return [classes[label] for label in tested.labels[:count]]
