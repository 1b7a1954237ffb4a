"""Parts of somebody's own, one of each kind, as a command takes them: `tests.extensions.mine.Huber:weight=0.1`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor, nn

from gradsculpt.attacks import Attack, Bounds
from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.evaluation import Column, EvaluationBatch, ScoreGroup
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric
from gradsculpt.objectives.base import Regulariser
from gradsculpt.objectives.passes import Passes
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import LossGradient, Perturbation, State


@dataclass(frozen=True)
class Huber(Penalty):
    weight: float

    def value(self, g: Tensor) -> Tensor:
        return nn.functional.huber_loss(g, 0 * g, reduction="none", delta=self.weight).flatten(1).sum(dim=1)

    def conjugate(self, delta: Tensor) -> Tensor:
        return torch.where(delta.abs() <= self.weight, delta.square() / 2, torch.inf).flatten(1).sum(dim=1)

    def dual(self, g: Tensor) -> Tensor:
        return g.clamp(-self.weight, self.weight)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        return v - step * (v / (1 + step)).clamp(-self.weight, self.weight)


@dataclass(frozen=True)
class LogitDecay(Regulariser):
    weight: float
    names: ClassVar[tuple[str, ...]] = ("logit_decay",)
    reads_gradients: ClassVar[bool] = False

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        return {"logit_decay": self.weight * passes.clean.output.square().mean()}


@dataclass(frozen=True)
class HalfStep(Perturbation):
    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        return penalty.dual(loss_gradient(x)[1]) / 2, state


@dataclass(frozen=True)
class Mirrored(Attribution):
    base: Attribution = field(default_factory=Gradient)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.base(model, x, target, create_graph=create_graph).flip(-1)


mirrored = Mirrored()


@dataclass(frozen=True)
class Brighter(Attack):
    eps: float | Tensor
    bounds: Bounds
    share: float = 1.0

    def __call__(self, model: Model, attribution: Attribution, x: Tensor, y: Tensor) -> Tensor:
        return torch.minimum(x + self.share * torch.as_tensor(self.eps), torch.as_tensor(self.bounds[1]))


@metric(Score("roughness", 0.0, float("inf"), "lower"))
def roughness(maps: Tensor) -> Tensor:
    """Mean magnitude of the difference between neighbours."""
    return maps.diff(dim=-1).abs().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Contrast(ScoreGroup):
    """How much of the image has a strong map."""

    threshold: float = 0.5

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        strong = (batch.heat > self.threshold).double().mean(dim=(1, 2))
        yield Column(Score("strong_pixels", 0.0, 1.0, "lower", "fraction"), strong)


def half_squares(g: Tensor) -> Tensor:
    return g.square().flatten(1).sum(dim=1) / 2


Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def halves(image_size: int | None) -> tuple[Pair, Pair]:
    """Images that are bright on the left, class 0, or on the right, class 1."""
    images = np.random.default_rng(0).integers(0, 100, (60, image_size or 16, image_size or 16, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    images[labels == 0, :, :6] += 100
    images[labels == 1, :, -6:] += 100
    return (images[:40], labels[:40]), (images[40:], labels[40:])


def network(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, num_classes)
    )
