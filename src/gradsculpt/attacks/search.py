"""The one loop of all gradient attacks: move the images, keep the best iterate of each, drop those that are done."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gradsculpt.attacks.balls import Ball
from gradsculpt.attacks.criteria import Goal
from gradsculpt.attacks.optimizers import Optimizer, State, scaled
from gradsculpt.attacks.victim import Look, Victim, keeps, refuse_flat

TRAVEL = 4.0
"""How far all steps together would go in one direction, in units of eps: the rate of the released code of AAAI 2023."""


@dataclass(frozen=True)
class Room:
    """Where the images of a batch may go: within eps of x in a ball, and within the bounds.

    Args:
        ball: In which norm.
        x: The clean images.
        eps: The radius, shaped like x.
        low: The least value of every entry, or None.
        high: The greatest value of every entry, or None.
    """

    ball: Ball
    x: Tensor
    eps: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def inside(self, delta: Tensor) -> Tensor:
        """Return the perturbation that is nearest, within both: cutting at the bounds never leads out of the ball."""
        delta = self.ball.project(delta, self.eps)
        if self.low is None or self.high is None:
            return delta
        return torch.maximum(torch.minimum(self.x + delta, self.high), self.low) - self.x

    def of(self, rows: Tensor) -> "Room":
        """Return the room of some of the images."""
        low, high = (None if edge is None else edge[rows] for edge in (self.low, self.high))
        return Room(self.ball, self.x[rows], self.eps[rows], low, high)


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
    """How an attack looks for the perturbation that serves its goal best.

    Args:
        goal: What is wanted of the maps.
        optimizer: Which way to go.
        steps: Steps from each start.
        step_size: Length of a step in units of eps; None takes 4 / steps.
        patience: Give an image up after so many steps without a better iterate; None never does.
    """

    goal: Goal
    optimizer: Optimizer
    steps: int
    step_size: float | None = None
    patience: int | None = None

    def __call__(self, victim: Victim, room: Room, y: Tensor, starts: Iterator[Tensor]) -> Best:
        """Search from each start, perturbations [N, C, H, W], and return the best of all iterates and of x itself."""
        clean = victim.look(room.x, y)
        classes, reference = clean.logits.argmax(dim=1), self.goal.reference(clean.maps)
        best = Best(room.x.clone(), self._score(clean, reference))
        for delta in starts if self.steps else ():
            self._descend(victim, room, (y, classes, reference), room.inside(delta), best)
        return best

    def _descend(self, victim: Victim, room: Room, known: tuple[Tensor, ...], delta: Tensor, best: Best) -> None:
        rows = torch.arange(len(room.x), device=room.x.device)
        state, waited = self.optimizer.start(delta), torch.zeros_like(rows)
        going = (best.score > self.goal.floor) & (room.eps > 0).flatten(1).any(dim=1)
        # All steps but the last pass judge an image and lead on; the last one only judges.
        for step in range(self.steps):
            if not bool(going.all()):
                rows, room, delta, waited = rows[going], room.of(going), delta[going], waited[going]
                known, state = _rows(known, going), _rows(state, going)
            if not len(rows):
                return
            y, classes, reference = known
            look, kept, gradient = victim.slope(room.x + delta, y, classes, partial(self._loss, reference))
            if step == 0:
                refuse_flat(gradient, kept)
            better = best.take(rows, room.x + delta, self._score(look, reference), kept)
            moved, state = self._moved(room, delta, gradient, state, step)
            waited = torch.where(better, 0, waited + 1)
            going = self._going(best.score[rows], waited, (moved != delta).flatten(1).any(dim=1))
            delta = moved
        rows, room, delta, (y, classes, reference) = rows[going], room.of(going), delta[going], _rows(known, going)
        if len(rows):
            look = victim.look(room.x + delta, y)
            best.take(rows, room.x + delta, self._score(look, reference), keeps(look.logits, classes))

    def _moved(self, room: Room, delta: Tensor, gradient: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        # In units of eps, in which the ball is a unit ball.
        direction, state = self.optimizer.direction(scaled(gradient * room.eps), state, step)
        size = TRAVEL / self.steps if self.step_size is None else self.step_size
        return room.inside(delta + size * room.ball.entry(delta[0].numel()) * room.eps * direction), state

    def _going(self, score: Tensor, waited: Tensor, moved: Tensor) -> Tensor:
        """Return which images to go on with, [N]."""
        going = score > self.goal.floor
        if not self.optimizer.remembers:
            going &= moved  # from the same place it would never move again
        return going if self.patience is None else going & (waited < self.patience)

    def _loss(self, reference: Tensor, maps: Tensor) -> Tensor:
        return self.goal.loss(maps, reference)

    def _score(self, look: Look, reference: Tensor) -> Tensor:
        """Return the scores [N]; a map that is not finite serves nobody."""
        score = self.goal.score(look.maps.nan_to_num(), reference)
        return torch.where(look.maps.flatten(1).isfinite().all(dim=1), score, torch.inf)


def _rows(parts: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    return tuple(part[rows] for part in parts)
