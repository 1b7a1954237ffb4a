"""How near the bound of the cosine criterion comes to the criterion itself, by the size of the noise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.data import loader, to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Curve
from gradsculpt.evaluation.results import entry
from gradsculpt.inputs import in_precision_of
from gradsculpt.metrics import Neighbourhood, Score, spearman, upper_bound
from gradsculpt.studies.experiments.base import Experiment, Given

_LEVELS = "half-width of the noise (8-bit levels)"
_CAPTION = "The lower the steadier; where both curves of a network run side by side, the bound says how steady it is."

HELD = Score(
    "bound_held",
    0.0,
    1.0,
    None,
    "fraction",
    "Of how many sizes of noise the map turned no further than the bound allows.",
)
ALIGNMENT = Score(
    "alignment",
    -1.0,
    1.0,
    None,
    meaning="How alike images are ranked by how far their maps turn and by how far the bound lets them.",
)


@dataclass(frozen=True)
class UpperBounds(Experiment):
    """The cosine criterion and its bounds by curvature over gradient, as the noise grows.

    It keeps, by image, criterion, bound and directional bound at each level, the share of levels at which the
    directional bound holds, and by level how alike images are ranked by it and by the criterion (rank correlation); as
    curves, criterion and directional bound by level; and as arrays `levels` [L], and `cosine_criterion`, `bound` and
    `directional_bound` [L, N].

    Args:
        levels: Half-widths of the uniform noise, in 8-bit levels.
        images: How many test images, drawn at random by the seed; no more than there are.
        draws: Noisy copies of each.
        probes: Random vectors for the Frobenius norm.
        batch_size: Images at once.

    Raises: ArgumentError, when made, if a number is out of range, or there are no levels or fewer than two images.
    Source: Joo et al., AAAI 2023 (local gradient alignment), Theorem 6 and Figure 3(b).
    """

    levels: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    images: int = 200
    draws: int = 10
    probes: int = 10
    batch_size: int = 50

    def __post_init__(self) -> None:
        checks.each_at_least(self, images=2, draws=1, probes=1, batch_size=1)
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels:
            raise ArgumentError("levels is empty, so nothing would be measured; pass half-widths such as [4, 16].")
        for level in self.levels:
            checks.within("levels in 8-bit levels", level, 0.0, 255.0)

    def run(self, given: Given) -> None:
        """Measure a network on its test images."""
        classifier, data = given.classifier(), given.data().test
        count = min(self.images, len(data))
        chosen = np.sort(np.random.default_rng(given.seed).choice(len(data), count, replace=False))
        images, space = data.subset(chosen), classifier.space
        low, high = space.bounds
        around = Neighbourhood(self.draws, (low.to(classifier.device), high.to(classifier.device)), given.seed)
        found: dict[float, list[Mapping[str, Tensor]]] = {level: [] for level in self.levels}
        done = 0
        with given.reporter.work("bounds of the cosine criterion", count) as tell:
            for batch, labels, *_ in loader(images, self.batch_size, shuffle=False):
                x = space.normalize(in_precision_of(classifier.network, to_float(batch.to(classifier.device))))
                y = labels.to(classifier.device)
                for level, values in found.items():
                    eps = space.pixels(level / 255).to(x)
                    values.append(upper_bound(classifier.network, x, y, eps, around, self.probes))
                done += len(x)
                tell(done, count)
        names = [score.name for score in upper_bound.scores]
        whole = {name: torch.stack([_whole(each, name) for each in found.values()]) for name in names}
        self._keep(given, whole, tuple(images.names))

    def _keep(self, given: Given, values: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
        columns: dict[Score, dict[str, float]] = {}
        for score in upper_bound.scores:
            for level, row in zip(self.levels, values[score.name], strict=True):
                told = replace(score, name=f"{score.name}_{level:g}")
                columns[told] = dict(zip(names, row.tolist(), strict=True))
        criterion, bound = values["cosine_criterion"], values["directional_bound"]
        held = (criterion <= bound).double().mean(dim=0)
        columns[HELD] = dict(zip(names, held.tolist(), strict=True))
        alike = spearman(criterion[:, None], bound[:, None])
        columns[ALIGNMENT] = {f"level {level:g}": float(a) for level, a in zip(self.levels, alike, strict=True)}
        curves = {
            name: self._curve(title, values[name], given.seed)
            for name, title in (("cosine_criterion", "Cosine criterion"), ("directional_bound", "Its bound"))
        }
        arrays = {name: each.numpy() for name, each in values.items()}
        given.keep(columns, curves, {"levels": np.array(self.levels), **arrays})

    def _curve(self, title: str, values: Tensor, seed: int) -> Curve:
        score = Score(title, 0.0, inf, "lower")
        points = [entry("experiment", score, row, seed) for row in values]
        means, lows, highs = zip(*((each.mean, each.low, each.high) for each in points), strict=True)
        return Curve(title, _LEVELS, title, tuple(self.levels), means, lows, highs, _CAPTION)


def _whole(batches: list[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.cat([each[name] for each in batches]).cpu()
