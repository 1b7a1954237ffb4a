"""Whether a map shows what the network looks at, and what it has learnt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from gradsculpt import checks
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, CurveText, Point, ScoreGroup
from gradsculpt.evaluation.randomization import SANITY_SCORES, randomization
from gradsculpt.metrics import aopc_morf, deletion, deletion_curve, insertion, insertion_curve

_PROBABILITY = "probability of the class (%)"


@dataclass(frozen=True)
class Fidelity(ScoreGroup):
    """How the class output follows the pixels in the order of the map.

    Where another group of the protocol attacks maps, the images that it attacked are also put together in the order of
    their attacked maps (adversarial insertion).

    Args:
        steps: Shares of pixels at which insertion, deletion and AOPC look at the network.

    Source: Petsiuk et al., BMVC 2018 (insertion, deletion); Samek et al. 2017 (AOPC); Joo et al., AAAI 2023
        (adversarial insertion).
    """

    steps: int = 20

    trials: ClassVar[int] = 8  # as every one takes dozens of passes through the network
    label: ClassVar[str] = "fidelity to the network"
    question: ClassVar[str] = "Do the pixels that the maps call important matter to the network?"
    curves: ClassVar[Mapping[str, CurveText]] = {
        "insertion": CurveText(
            "Insertion",
            "pixels shown, most important first (%)",
            _PROBABILITY,
            "A curve that rises early is better: the pixels that the map puts first make the class.",
        ),
        "deletion": CurveText(
            "Deletion",
            "pixels hidden, most important first (%)",
            _PROBABILITY,
            "A curve that falls early is better: without the pixels that the map puts first, the class is gone.",
        ),
    }

    def __post_init__(self) -> None:
        checks.each_at_least(self, steps=1)

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield insertion and deletion with their curves, AOPC, and adversarial insertion where maps are attacked."""
        given = (batch.network, batch.x, batch.target, batch.maps, self.steps)
        for metric, trace in ((insertion, insertion_curve), (deletion, deletion_curve)):
            score, curve = metric.scores[0], trace(*given)
            yield Column(score, curve.mean(dim=1))
            for i, values in enumerate(curve.unbind(dim=1)):
                yield Column(score, 100 * values, Point(score.name, round(100 * i / self.steps, 6)))
        yield Column(aopc_morf.scores[0], aopc_morf(*given))
        if batch.attack and (count := batch.first(batch.attack.images)):
            order = batch.attacked_maps(batch.attack)
            curve = insertion_curve(batch.network, batch.x[:count], batch.target[:count], order, self.steps)
            order_of = "in the order of the map of an attacked image"
            yield Column(insertion.scores[0].within("adv_insertion", order_of), curve.mean(dim=1))


@dataclass(frozen=True)
class Sanity(ScoreGroup):
    """How alike the maps stay while the weights are drawn anew from the output down to the input.

    Args:
        images: For how many images the weights are randomised, the first ones.
        stages: Into how many stages the modules are merged whose weights are randomised one after the other; None takes
            each by itself.

    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps).
    """

    images: int = 16
    stages: int | None = None
    k: float = 0.4

    label: ClassVar[str] = "dependence on what was learnt"
    question: ClassVar[str] = "Do the maps depend on what the network has learnt?"
    curves: ClassVar[Mapping[str, CurveText]] = {
        "cascade_ssim": CurveText(
            "Sanity: weights drawn anew, from the output down to a layer",
            "layer",
            "SSIM with the trained map",
            "A curve that falls is better: a map that stays the same while what was learnt is taken away does not "
            "show it.",
        )
    }

    def __post_init__(self) -> None:
        checks.each_at_least(self, images=1, stages=1)
        checks.share("k", self.k)

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield similarities to the trained map, means over the stages, and the curve of one through the stages."""
        if not (count := batch.first(self.images)):
            return
        given = (batch.network, batch.attribution, batch.x[:count], batch.target[:count])
        cascade = randomization(*given, batch.seed, self.stages, k=self.k)
        for name in ("ssim", "spearman", "topk_intersection"):
            score = replace(SANITY_SCORES[name], name=f"randomized_{name}", unit="")
            yield Column(score, cascade[name].mean(dim=0))
        for stage, values in zip(cascade.stages, cascade["ssim"], strict=True):
            yield Column(SANITY_SCORES["ssim"], values, Point("cascade_ssim", stage))
