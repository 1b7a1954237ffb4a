"""What fidelity a map loses against the one that it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import Score
from gradsculpt.metrics.fidelity import morf_curve
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import told
from gradsculpt.studies.experiments.tested import OnTests, scored

_KEPT = Score(
    "fidelity_kept",
    float("-inf"),
    float("inf"),
    "higher",
    "fraction",
    "What share of the fidelity of the map that it was made from a map still has: 1 is all of it.",
)


@dataclass(frozen=True)
class AopcDrop(OnTests):
    """What share of its area over the perturbation curve a map loses against the one that it was made from.

    It keeps `aopc_20` for 20 regions, and so on: the area of each image; `aopc_drop_20`: how far it falls short of the
    area of the base method, as a share of the mean of that over all images, so that the mean is `relative_drop`; and
    `fidelity_kept`, 1 minus the drop at the largest number of regions. Where the base method's mean is not positive,
    nothing can be lost: drops are left out, and a note says so.

    Args:
        method: The map, as a text.
        base: The map that it was made from, as a text; the simple gradient is its own.
        steps: How many regions are perturbed.

    The other argument is that of `OnTests`.
    Raises: ArgumentError, when made, if a number is below 1 or there is none.
    Source: Gong et al., CVPR 2024, C.2.4, Table 5 and Fig. 1.
    Deviation: As of `aopc_morf` and `relative_drop`. The interval of a drop takes the mean of the base as known.
    """

    method: str = "gradient"
    base: str = "gradient"
    steps: tuple[int, ...] = (20, 50, 100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps:
            raise ArgumentError("steps names no number of regions, so nothing is perturbed; pass [20, 50, 100].")
        for count in self.steps:
            checks.whole("steps", count, 1)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the methods."""
        return {"Attribution": (self.method, self.base)}

    def run(self, given: Given) -> None:
        """Perturb the images in the order of both maps, and keep the areas."""
        tested, classifier, done = self.tested(given), given.classifier(), 0
        texts = dict.fromkeys((self.base, self.method))
        areas: dict[str, list[Tensor]] = {text: [] for text in texts}
        with given.reporter.work("perturbing", len(tested)) as tell:
            for batch in scored(tested, classifier):
                for text in texts:
                    with told(f"{text} cannot explain the network"):
                        maps = given.attribution(text, classifier)(classifier.network, batch.x, batch.y)
                    curve = morf_curve(classifier.network, batch.x, batch.y, maps, max(self.steps))
                    areas[text].append(_areas(curve, self.steps))
                done += len(batch.names)
                tell(done, len(tested))
        base, mine = (torch.cat(areas[text], dim=1) for text in (self.base, self.method))
        lost = [count for count, area in zip(self.steps, base, strict=True) if not float(area.mean()) > 0]
        without = ""
        if lost:
            without = f"the mean area of {self.base} is not positive at {lost}, so no share of it can be lost"
            given.reporter.say(f"{without}; drops at these are left out.")
        columns = _columns(self.steps, base, mine)
        given.keep(
            {score: dict(zip(tested.names, values.tolist(), strict=True)) for score, values in columns.items()},
            without=without,
        )


def _areas(curve: Tensor, steps: Sequence[int]) -> Tensor:
    """Return the area over the beginning of a curve [N, L + 1], for each number of steps: [steps, N]."""
    return torch.stack([(curve[:, :1] - curve[:, : count + 1]).mean(dim=1) for count in steps]).double().cpu()


def _columns(steps: Sequence[int], base: Tensor, mine: Tensor) -> dict[Score, Tensor]:
    columns = {
        Score(f"aopc_{count}", -1.0, 1.0, "higher", "", f"The mean loss of probability over {count} regions."): area
        for count, area in zip(steps, mine, strict=True)
    }
    for count, whole, area in zip(steps, base, mine, strict=True):
        if float(whole.mean()) > 0:
            drop, told = (whole - area) / whole.mean(), f"What share of the area is lost over {count} regions."
            columns[Score(f"aopc_drop_{count}", float("-inf"), float("inf"), "lower", "fraction", told)] = drop
            if count == max(steps):
                columns[_KEPT] = 1 - drop
    return columns
