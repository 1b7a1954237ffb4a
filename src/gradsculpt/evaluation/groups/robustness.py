"""How alike maps stay when the image is changed: at random, or by an attack."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from gradsculpt import checks
from gradsculpt.attacks import TargetedManipulation, TopKAttack
from gradsculpt.attributions import heatmap
from gradsculpt.evaluation.batch import EvaluationBatch, MapAttack
from gradsculpt.evaluation.groups.base import Column, CurveText, Point, ScoreGroup
from gradsculpt.metrics import Neighbourhood, cosine, local_lipschitz, rps, ssim, topk_dice, topk_intersection

_CHANGE = "root-mean-square change (8-bit levels)"


@dataclass(frozen=True)
class RobustnessRandom(ScoreGroup):
    """How alike the maps of clean and noisy images are.

    Args:
        eps: Half-width of the uniform noise, in 8-bit pixel levels.
        rps_levels: Half-widths of the noise of RPS, in 8-bit pixel levels; none leaves RPS and sensitivity out.
        draws: Noisy copies of an image for RPS and sensitivity.

    Source: Gong et al., CVPR 2024, B.6 (top-k overlap, k = 40%); Joo et al., AAAI 2023 (RPS at 4, 8 and 16 levels).
    """

    eps: float = 8.0
    k: float = 0.4
    rps_levels: tuple[float, ...] = ()
    draws: int = 10

    label: ClassVar[str] = "steadiness under noise"
    question: ClassVar[str] = "Do the maps stay the same under slight noise?"
    note: ClassVar[str] = (
        "Robustness: the map of the image against the one after uniform noise of ±{eps:g}/255; top-k counts a "
        "share of {k:g} of the non-zero pixels."
    )
    curves: ClassVar[Mapping[str, CurveText]] = {
        "noise_cosine": CurveText(
            "Robustness to noise",
            "half-width of the noise (8-bit levels)",
            "cosine with the clean map",
            "Higher is better: the maps of noisy images point the same way as those of clean ones.",
        )
    }

    def __post_init__(self) -> None:
        checks.each_at_least(self, draws=1)
        check_levels(eps=(self.eps,), rps_levels=self.rps_levels)
        checks.share("k", self.k)

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield overlap and similarity of the maps, and RPS and sensitivity where levels are given."""
        noisy = heatmap(batch.noisy_maps(self.eps), clip=100.0)
        yield from _alike("", "before and after slight noise", batch.heat, noisy, self.k)
        if not self.rps_levels:
            return
        given = (batch.network, batch.attribution, batch.x, batch.target)
        neighbourhood = Neighbourhood(draws=self.draws, bounds=batch.bounds, seed=batch.seed)
        for level in self.rps_levels:
            values = rps(*given, batch.pixels(level), neighbourhood)
            for score in rps.scores:
                told = replace(score, name=f"rps_{score.name}_{level:g}")
                told = replace(told, meaning=told.meaning.replace("slight noise", f"noise of {level:g} of 255 levels"))
                yield Column(told, values[score.name])
            yield Column(rps.scores[0], values["cosine"], Point("noise_cosine", level))
        yield Column(local_lipschitz.scores[0], local_lipschitz(*given, batch.pixels(self.eps), neighbourhood))


@dataclass(frozen=True)
class RobustnessAttack(ScoreGroup):
    """How alike the maps of clean and attacked images are.

    Args:
        eps: Half-width of the targeted attack, in 8-bit pixel levels.
        levels: Root-mean-square sizes of the top-k attack, in 8-bit pixel levels: its L2 length is this times the root
            of the number of entries; none leaves it out.
        images: How many images are attacked, the first ones, in so many `steps` each.
        smooth_beta: As of the attacks.

    Source: Joo et al., AAAI 2023, experiments (targeted, 100 steps); Levine et al. 2019 and Gong et al., CVPR 2024, B.6
        (top-k).
    """

    eps: float = 4.0
    levels: tuple[float, ...] = (0.5, 1.0, 2.0)
    steps: int = 20
    images: int = 32
    k: float = 0.4
    smooth_beta: float | Literal["auto"] | None = "auto"

    label: ClassVar[str] = "steadiness under attack"
    question: ClassVar[str] = "Do the maps stay the same when somebody sets out to change them unseen?"
    note: ClassVar[str] = (
        "Attacks: {steps} steps on the first {images} images at most; the targeted one within ±{eps:g}/255, the "
        "predicted class kept."
    )
    curves: ClassVar[Mapping[str, CurveText]] = {
        "topk_attack": CurveText(
            "Robustness to the top-k attack: overlap",
            _CHANGE,
            "top-k overlap with the clean map (%)",
            "Higher is better: the most important pixels stay important when the image is attacked.",
        ),
        "topk_attack_ssim": CurveText(
            "Robustness to the top-k attack: SSIM",
            _CHANGE,
            "SSIM with the clean map",
            "Higher is better: the map of the attacked image looks like that of the clean one.",
        ),
    }

    def __post_init__(self) -> None:
        checks.each_at_least(self, steps=1, images=1)
        check_levels(eps=(self.eps,), levels=self.levels)
        checks.share("k", self.k)
        if self.smooth_beta is not None and not isinstance(self.smooth_beta, str):
            checks.at_least("smooth_beta", self.smooth_beta, 1e-3)

    @property
    def attack(self) -> MapAttack:
        """The targeted attack."""
        return MapAttack(TargetedManipulation, self.eps, self.steps, self.images, self.smooth_beta)

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield overlap and similarity of the maps after the targeted attack, and after each top-k attack."""
        if not (count := batch.first(self.images)):
            return
        clean = batch.heat[:count]
        attacked = heatmap(batch.attacked_maps(self.attack), clip=100.0)
        yield from _alike("attacked_", "before and after an attack on the map", clean, attacked, self.k)
        for level in self.levels:
            after = heatmap(batch.attacked_maps(replace(self.attack, kind=TopKAttack, size=level)), clip=100.0)
            overlap = topk_intersection(clean, after, self.k, nonzero=True)
            told = f"before and after an attack on them of {level:g} of 255 levels"
            yield Column(topk_intersection.scores[0].within(f"topk_attack_{level:g}", told), overlap)
            yield Column(topk_intersection.scores[0], 100 * overlap, Point("topk_attack", level))
            yield Column(ssim.scores[0], ssim(clean, after), Point("topk_attack_ssim", level))


def check_levels(**sizes: tuple[float, ...]) -> None:
    """Raise `ArgumentError` unless every size is one in 8-bit levels."""
    for name, levels in sizes.items():
        for level in levels:
            checks.within(f"{name} in 8-bit levels", level, 0.0, 255.0)


def _alike(prefix: str, told: str, before: Tensor, after: Tensor, k: float) -> Iterator[Column]:
    top = {"k": k, "nonzero": True}
    for metric, options in ((topk_intersection, top), (topk_dice, top), (ssim, {}), (cosine, {})):
        score = metric.scores[0].within(f"{prefix}{metric.scores[0].name}", told)
        yield Column(score, metric(before, after, **options))
