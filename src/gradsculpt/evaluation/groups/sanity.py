"""Whether a map shows what the network has learnt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from gradsculpt import checks
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, CurveText, Point, ScoreGroup
from gradsculpt.evaluation.randomization import SANITY_SCORES, randomization


@dataclass(frozen=True)
class Sanity(ScoreGroup):
    """How alike the maps stay while the weights are drawn anew from the output down to the input.

    Args:
        images: For how many images the weights are randomised, the first ones.
        stages: Into how many stages the modules are merged whose weights are randomised one after the other; None takes
            each by itself.
        k: Share of the non-zero pixels whose overlap is counted.

    Raises:
        ArgumentError: If a number is out of range.

    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps).
    """

    images: int = 16
    stages: int | None = None
    k: float = 0.4

    curves: ClassVar[Mapping[str, CurveText]] = MappingProxyType(
        {
            "cascade_ssim": CurveText(
                "Sanity: weights drawn anew, from the output down to a layer",
                "layer",
                "SSIM with the trained map",
                "A curve that falls is better: a map that stays the same while what was learnt is taken away does not "
                "show it.",
            )
        }
    )

    def __post_init__(self) -> None:
        checks.at_least("images", self.images, 1)
        checks.within("k", self.k, 0.0, 1.0)
        if self.stages is not None:
            checks.at_least("stages", self.stages, 1)

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield similarities to the trained map, means over the stages, and the curve of one through the stages."""
        count = batch.first(self.images)
        if not count:
            return
        given = (batch.network, batch.attribution, batch.x[:count], batch.target[:count])
        cascade = randomization(*given, batch.seed, self.stages, k=self.k)
        for name in ("ssim", "spearman", "topk_intersection"):
            score = replace(SANITY_SCORES[name], name=f"randomized_{name}", unit="")
            yield Column(score, cascade[name].mean(dim=0))
        for stage, values in zip(cascade.stages, cascade["ssim"], strict=True):
            yield Column(SANITY_SCORES["ssim"], values, Point("cascade_ssim", stage or "network"))
