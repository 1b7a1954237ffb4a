"""The one loop of all gradient attacks: move the images, keep the best iterate of each, drop those that are done."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt.attacks.attacked_model import AttackedModel, Look, keeps, refuse_flat
from gradsculpt.attacks.balls import FeasibleSet
from gradsculpt.attacks.criteria import Criterion
from gradsculpt.attacks.optimizers import Memory, Optimizer, scaled

TRAVEL = 4.0
"""How far all steps together would go in one direction, in units of eps: the rate of the released code of AAAI 2023."""


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
    """How an attack looks for the perturbation that serves its criterion best; settings are as of `Manipulation`."""

    criterion: Criterion
    optimizer: Optimizer
    steps: int
    step_size: float | None = None
    patience: int | None = None

    def __call__(self, attacked: AttackedModel, feasible: FeasibleSet, y: Tensor, starts: Iterator[Tensor]) -> Best:
        """Search from each start, perturbations [N, C, H, W], and return the best of all iterates and of x itself."""
        clean = attacked.look(feasible.x, y)
        classes, reference = clean.logits.argmax(dim=1), self.criterion.reference(clean.maps)
        best = Best(feasible.x.clone(), self._score(clean, reference))
        for delta in starts if self.steps else ():
            self._descend(attacked, feasible, (y, classes, reference), feasible.nearest(delta), best)
        return best

    def _descend(
        self, attacked: AttackedModel, feasible: FeasibleSet, wanted: tuple[Tensor, ...], delta: Tensor, best: Best
    ) -> None:
        """Go down from one start, with the classes of the maps, those to keep, and the criterion's reference."""
        rows = torch.arange(len(feasible.x), device=feasible.x.device)
        memory, waited = self.optimizer.start(delta), torch.zeros_like(rows)
        going = (best.score > self.criterion.floor) & (feasible.eps > 0).flatten(1).any(dim=1)
        # All steps but the last pass judge an image and lead on; the last one only judges.
        for step in range(self.steps):
            if not bool(going.all()):
                rows, feasible, delta, waited = rows[going], feasible.of(going), delta[going], waited[going]
                wanted, memory = _rows(wanted, going), _rows(memory, going)
            if not len(rows):
                return
            look, kept, gradient = attacked.slope(feasible.x + delta, wanted, self.criterion.loss)
            if step == 0:
                refuse_flat(gradient, kept)
            better = best.take(rows, feasible.x + delta, self._score(look, wanted[2]), kept)
            moved, memory = self._moved(feasible, delta, gradient, memory, step)
            waited = torch.where(better, 0, waited + 1)
            going = self._going(best.score[rows], waited, (moved != delta).flatten(1).any(dim=1))
            delta = moved
        rows, feasible, delta = rows[going], feasible.of(going), delta[going]
        y, classes, reference = _rows(wanted, going)
        if len(rows):
            look = attacked.look(feasible.x + delta, y)
            best.take(rows, feasible.x + delta, self._score(look, reference), keeps(look.logits, classes))

    def _moved(
        self, feasible: FeasibleSet, delta: Tensor, gradient: Tensor, memory: Memory, step: int
    ) -> tuple[Tensor, Memory]:
        # In units of eps, in which the ball is a unit ball.
        direction, memory = self.optimizer.direction(scaled(gradient * feasible.eps), memory, step)
        size = TRAVEL / self.steps if self.step_size is None else self.step_size
        entry = size * feasible.ball.entry(delta[0].numel())
        return feasible.nearest(delta + entry * feasible.eps * direction), memory

    def _going(self, score: Tensor, waited: Tensor, moved: Tensor) -> Tensor:
        going = score > self.criterion.floor
        if not self.optimizer.remembers:
            going &= moved  # from the same place it would never move again
        return going if self.patience is None else going & (waited < self.patience)

    def _score(self, look: Look, reference: Tensor) -> Tensor:
        """Return the scores [N]; a map that is not finite serves nobody."""
        score = self.criterion.score(look.maps.nan_to_num(), reference)
        return torch.where(look.maps.flatten(1).isfinite().all(dim=1), score, torch.inf)


def _rows(tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[rows] for tensor in tensors)
