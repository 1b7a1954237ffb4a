"""How alike the maps of images are before and after attacks and noise of several sizes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import heatmap
from gradsculpt.evaluation import Curve
from gradsculpt.evaluation.results import entry
from gradsculpt.metrics import Score, ssim, topk_intersection
from gradsculpt.numerics import length, unit
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import OnImages, few, targets, told

_SIZE = "root-mean-square change (8-bit levels)"
_CHANGES: Mapping[str, tuple[str, str]] = {
    "attack": ("topk:eps={size},k={k},steps={steps}", "top-k attack"),
    "noise": ("random:eps={size},kind=gaussian", "Gaussian noise"),
}
"""How images are changed: the attack as a text, and what it is called."""

_SCORES = {
    "topk": (topk_intersection.scores[0], "top-k overlap with the clean map"),
    "ssim": (ssim.scores[0], "SSIM with the clean map"),
    "distance": (
        Score("distance", 0.0, math.sqrt(2), "lower", meaning="How far apart two heat maps of length 1 are: 0 is not."),
        "L2 distance from the clean map",
    ),
}


@dataclass(frozen=True)
class Steadiness(OnImages):
    """Compares maps of images with those after the L2 top-k attack and after Gaussian noise, at several sizes.

    For each change, attack or noise, and each size it keeps, a value an image, `topk_CHANGE_SIZE`, the share of the
    largest non-zero pixels that stays; `ssim_CHANGE_SIZE`; and `distance_CHANGE_SIZE`, the L2 distance of the heat maps
    once these have the length 1. And each as a curve over the sizes, such as `topk_attack`.

    Args:
        method: The attribution as a text.
        sizes: Sizes of the attack and of the noise, root mean squares of the change in 8-bit levels.
        steps: Steps of the attack.
        k: Share of the pixels that are the largest: of all for the attack, of the non-zero ones for the score.

    The other arguments are those of `OnImages`; the class that is kept is the one that is predicted.
    Raises: ArgumentError if a number is out of range.
    Source: Zhang and Farnia, ICCV 2023 (MoreauGrad), the robustness study of its code: the L2 top-k attack in ten
        steps, k = 40%, and Gaussian noise.
    Deviation: the attack is that of `TopKAttack`, which keeps the best of its iterates; the code never scores the last
        one, and has noise of a standard deviation, not of a length.
    """

    method: str = "gradient"
    sizes: tuple[float, ...] = (0.5, 1.0, 2.0)
    steps: int = 10
    k: float = 0.4
    takes: ClassVar = "network"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.each_at_least(self, steps=1)
        checks.share("k", self.k)
        checks.not_empty("sizes", len(self.sizes))
        for size in self.sizes:
            checks.within("sizes in 8-bit levels", size, 0.0, 255.0)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method."""
        return {"Attribution": (self.method,)}

    def run(self, given: Given) -> None:
        """Change the images in each way and compare their maps."""
        (_, classifier, view), *_ = self.views(given)
        attribute, target = given.attribution(self.method, classifier), targets(classifier, view, self.target)
        found: dict[tuple[str, str, float], list[Tensor]] = {}
        with given.reporter.work(f"changing images, {self.method}", len(view.names)) as tell, told(self.method):
            for rows in few(view.images01):
                x, y = classifier.space.normalize(view.images01[rows]), target[rows]
                before = heatmap(attribute(classifier.network, x, y), clip=100.0)
                for change, (text, _) in _CHANGES.items():
                    for size in self.sizes:
                        attack = given.attack(text.format(size=size, k=self.k, steps=self.steps), classifier)
                        changed = attack(classifier.network, attribute, x, y)
                        after = heatmap(attribute(classifier.network, changed, y), clip=100.0)
                        for name, values in _compared(before, after, self.k).items():
                            found.setdefault((name, change, size), []).append(values)
                tell(min(rows.stop, len(view.names)), len(view.names))
        kept = {place: torch.cat(each).double().cpu() for place, each in found.items()}
        columns, curves = dict[Score, dict[str, float]](), dict[str, Curve]()
        for (name, change, size), each in kept.items():
            circumstances = f"before and after the {_CHANGES[change][1]} of {size:g} of 255 levels"
            score = _SCORES[name][0].within(f"{name}_{change}_{size:g}", circumstances)
            columns[score] = dict(zip(view.names, each.tolist(), strict=True))
        for name in _SCORES:
            for change in _CHANGES:
                series = [kept[name, change, size] for size in self.sizes]
                curves[f"{name}_{change}"] = self._curve(name, change, series, given.seed)
        given.keep(columns, curves, method=self.method)

    def _curve(self, name: str, change: str, values: Sequence[Tensor], seed: int) -> Curve:
        score, label = _SCORES[name]
        entries = [entry("experiment", score, each, seed) for each in values]
        mean, low, high = (tuple(getattr(each, end) for each in entries) for end in ("mean", "low", "high"))
        return Curve(_CHANGES[change][1], _SIZE, label, self.sizes, mean, low, high)


def _compared(before: Tensor, after: Tensor, k: float) -> dict[str, Tensor]:
    """Return how alike heat maps [N, H, W] are, [N] each."""
    return {
        "topk": topk_intersection(before, after, k, nonzero=True),
        "ssim": ssim(before, after),
        "distance": length(unit(before) - unit(after)),
    }
