"""The one loop of all gradient attacks: move the images, keep the best iterate of each, drop those that are done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt.attacks.attacked_model import AttackedModel, Look, keeps
from gradsculpt.attacks.balls import FeasibleSet
from gradsculpt.attacks.criteria import Criterion
from gradsculpt.numerics import unit, wide
from gradsculpt.outputs import predicted

TRAVEL = 4.0
"""How far all steps together would go in one direction, in units of eps: the rate of the released code of AAAI 2023."""

Memory = tuple[Tensor, ...]
"""What is remembered from step to step, one entry an image."""


@dataclass(frozen=True)
class Adam:
    """Mean gradient over the root of the mean squared gradient, each entry by itself.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    decay: tuple[float, float] = (0.9, 0.999)
    floor: float = 1e-8
    remembers: ClassVar[bool] = True

    def start(self, like: Tensor) -> Memory:
        """Return what is remembered before the first step: means of 0."""
        return torch.zeros_like(like), torch.zeros_like(like)

    def direction(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        """Return the direction of descent, and both means; steps are counted from 0."""
        means = zip(memory, (gradient, gradient.square()), self.decay, strict=True)
        memory = tuple(old.lerp(new, 1 - decay) for old, new, decay in means)
        mean, square = (value / (1 - decay ** (step + 1)) for value, decay in zip(memory, self.decay, strict=True))
        return -mean / (square.sqrt() + self.floor), memory


@dataclass(frozen=True)
class Steepest:
    """The steepest way down in a norm.

    Args:
        ascent: The way up from a gradient: its sign in the l-infinity norm, itself in L2.

    Source: Madry et al., ICLR 2018 (PGD).
    """

    ascent: Callable[[Tensor], Tensor]
    remembers: ClassVar[bool] = False

    def start(self, like: Tensor) -> Memory:
        """Return what is remembered: nothing."""
        return ()

    def direction(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        """Return the opposite of the way up."""
        return -self.ascent(gradient), memory


Optimizer = Adam | Steepest
"""Turns gradients, `scaled`, into directions of descent of that scale, which may depend on what it `remembers`."""

OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "sign": Steepest(torch.sign), "gradient": Steepest(lambda g: g)}


def scaled(gradient: Tensor) -> Tensor:
    """Scale the gradient of every image to a root mean square of 1; one that is zero or not finite becomes zero."""
    entries: float = gradient[0].numel() ** 0.5
    return unit(gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)) * entries


@dataclass
class Best:
    """The best image so far of each, and its score."""

    x: Tensor
    score: Tensor

    def take(self, rows: Tensor, x: Tensor, score: Tensor, kept: Tensor) -> Tensor:
        """Take over what kept its class and scores better, and return what did."""
        better = kept & (score < self.score[rows])
        self.x[rows[better]] = x[better]
        self.score[rows[better]] = score[better]
        return better


@dataclass(frozen=True)
class Search:
    """How an attack looks for the perturbation that serves its criterion best; settings are as of `Manipulation`.

    Perturbations, maps and scores are in float32 at least; only what the network takes and gives is in its precision.
    """

    criterion: Criterion
    optimizer: Optimizer
    steps: int
    step_size: float | None = None
    patience: int | None = None

    def __call__(
        self,
        attacked: AttackedModel,
        feasible: FeasibleSet,
        y: Tensor,
        starts: Iterator[Tensor],
        advance: Callable[[int], None] = lambda done: None,
    ) -> Best:
        """Search from each start, perturbations [N, C, H, W], and return the best of all iterates and of x itself.

        `advance` is told how many steps are done, over all starts: before the first one, and after each. Those that a
        search does not need are done when it ends.
        """
        clean = attacked.look(feasible.x, y)
        classes, reference = predicted(clean.logits), self.criterion.reference(wide(clean.maps))
        best = Best(feasible.x.clone(), self._score(clean, reference))
        for number, delta in enumerate(starts if self.steps else ()):
            before, delta = number * self.steps, feasible.nearest(wide(delta))
            advance(before)
            for done in self._descend(attacked, feasible, (y, classes, reference), delta, best):
                advance(before + done)
            advance(before + self.steps)
        return best

    def _descend(
        self, attacked: AttackedModel, feasible: FeasibleSet, wanted: tuple[Tensor, ...], delta: Tensor, best: Best
    ) -> Iterator[int]:
        """Go down from one start, with the classes of the maps, those to keep, and the criterion's reference.

        Yield how many steps are done, after each but the last.
        """
        rows = torch.arange(len(feasible.x), device=feasible.x.device)
        memory, waited = self.optimizer.start(delta), torch.zeros_like(rows)
        going = (best.score > self.criterion.floor) & (feasible.eps > 0).flatten(1).any(dim=1)
        size = TRAVEL / self.steps if self.step_size is None else self.step_size
        entry = size * feasible.ball.entry(delta[0].numel())
        # All steps but the last pass judge an image and lead on; the last one only judges.
        for step in range(self.steps + 1):
            if not bool(going.all()):
                rows, feasible, delta, waited = rows[going], feasible.of(going), delta[going], waited[going]
                wanted, memory = (tuple(tensor[going] for tensor in tensors) for tensors in (wanted, memory))
            if not len(rows):
                return
            images = (feasible.x + delta).to(feasible.x.dtype)
            if step == self.steps:
                y, classes, reference = wanted
                look = attacked.look(images, y)
                best.take(rows, images, self._score(look, reference), keeps(look.logits, classes))
                return
            slope = attacked.slope if step else attacked.first_slope
            look, kept, gradient = slope(images, wanted, self._loss)
            better = best.take(rows, images, self._score(look, wanted[2]), kept)
            # In units of eps, in which the ball is a unit ball.
            direction, memory = self.optimizer.direction(scaled(wide(gradient) * feasible.eps), memory, step)
            moved = feasible.nearest(delta + entry * feasible.eps * direction)
            going = best.score[rows] > self.criterion.floor
            if not self.optimizer.remembers:
                going &= (moved != delta).flatten(1).any(dim=1)  # from the same place it would never move again
            waited = torch.where(better, 0, waited + 1)
            if self.patience is not None:
                going &= waited < self.patience
            delta = moved
            if step + 1 < self.steps:
                yield step + 1

    def _loss(self, maps: Tensor, reference: Tensor) -> Tensor:
        return self.criterion.loss(wide(maps), reference)

    def _score(self, look: Look, reference: Tensor) -> Tensor:
        """Return the scores [N]; a map that is not finite serves nobody."""
        score = self.criterion.score(wide(look.maps.nan_to_num()), reference)
        return torch.where(look.maps.flatten(1).isfinite().all(dim=1), score, torch.inf)
