"""Perturbations that learn from the training pass itself."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations.base import LossGradient, Perturbation

_SHORTEST, _LONGEST = 1e-6, 1e6


@dataclass
class _Carried:
    """What a perturbation remembers from one step to the next.

    Args:
        delta: The perturbations [N, C, H, W] that the next batch starts with.
        waiting: The perturbations that the batch in training starts with, and its penalty.
    """

    delta: Tensor | None = None
    waiting: tuple[Tensor, Penalty] | None = None

    def start(self, x: Tensor) -> Tensor:
        """Return a perturbation for each row of x."""
        delta = torch.zeros_like(x, requires_grad=False)
        if self.delta is not None and self.delta.shape[1:] == x.shape[1:]:
            count = min(len(self.delta), len(x))
            delta[:count] = self.delta[:count]
        return delta

    def keep(self, delta: Tensor) -> None:
        """Remember these perturbations, and those of rows that the batch did not have."""
        rest = None if self.delta is None or self.delta.shape[1:] != delta.shape[1:] else self.delta[len(delta) :]
        self.delta = delta if rest is None or not len(rest) else torch.cat([delta, rest.to(delta)])


@dataclass(frozen=True)
class Free(Perturbation):
    """Free adversarial training: each batch is trained on `replays` times in a row, and delta moves at each.

    The backward pass of the training step gives the gradient that moves delta, so there is no other pass. delta is
    carried from step to step and from batch to batch. Epochs count optimiser steps: an epoch has as many as ever and
    visits 1 / replays of the data, so that the learning-rate schedule is that of ordinary training, and `replays`
    epochs go once through the data. The commands' loader does so; in a loop of your own, hand in each batch
    `replays` times.

    delta becomes `conjugate_prox(delta + dual(g), D)`, where D = dual(g) / g entry by entry: a proximal gradient step
    as long as that of `OneStep`, at rest where delta = dual(g). For `L1` it is clip(delta + eps sign(g), -eps, eps).

    The object holds delta: use one for each training. Rows go by their place in the batch; a smaller batch moves the
    rows that it has, and another image shape starts from 0. A loss on which `backward` is not called, as in
    validation, moves nothing; neither does a gradient that is not finite. Do not expect `torch.autograd.grad` with
    respect to parameters alone to move delta.

    g is the gradient that `backward` computes, times the batch size, because objectives average over the batch. A
    loss that is scaled otherwise (gradient accumulation, loss scaling in float16) scales g with it: `L1` and
    `GroupL21` do not see that, and the quadratic part of others grows or shrinks by the same factor.

    Args:
        replays: How often each batch is trained on; m in the paper, which takes 4 for ImageNet and 8 for CIFAR-10.

    Raises:
        ArgumentError: If there is not at least one replay; in a backward pass, if the penalty is not convex
            (`Harmonization` needs `positive=True`).

    Source: Shafahi et al., NeurIPS 2019 ("Adversarial training for free!"), algorithm 1; trained with in Gong et al.,
        CVPR 2024 (AdvGrad), C.2.2, which gives no settings.
    """

    replays: int = 4
    _carried: _Carried = field(default_factory=_Carried, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.at_least("replays", self.replays, 1)

    def __call__(
        self, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the perturbations that the steps before left, without any pass."""
        delta = self._carried.start(x)
        self._carried.waiting = delta, penalty
        return delta.clone()

    @property
    def carried(self) -> Tensor | None:
        """The perturbations that the next batch starts with."""
        return self._carried.delta

    def restore(self, carried: Tensor | None) -> None:
        """Start the next batch with these perturbations."""
        self._carried.delta = carried

    def watch(self, inputs: Tensor) -> Tensor:
        """Return the batch in such a way that a backward pass through it moves delta."""
        waiting, self._carried.waiting = self._carried.waiting, None
        if waiting is None or not torch.is_grad_enabled():
            return inputs
        delta, penalty = waiting
        watched = inputs.detach().requires_grad_()

        def learn(gradient: Tensor) -> None:
            self._carried.keep(_moved(delta, gradient.detach() * len(gradient), penalty))

        watched.register_hook(learn)  # type: ignore[no-untyped-call]
        return watched


def _moved(delta: Tensor, gradient: Tensor, penalty: Penalty) -> Tensor:
    """Return delta after a step as long as dual(gradient) and the proximal step that belongs to it."""
    move = penalty.dual(gradient)
    # Where an entry is flat the proximal step is as long as can be. Ratios of another sign, which only penalties that
    # entangle entries have, make it as short as can be.
    step = (move / gradient).nan_to_num(nan=_LONGEST, posinf=_LONGEST).clamp(_SHORTEST, _LONGEST)
    moved = penalty.conjugate_prox(delta + move, step)
    return torch.where(moved.isfinite(), moved, delta)
