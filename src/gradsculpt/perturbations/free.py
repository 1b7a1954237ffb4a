"""Perturbations that learn from the training pass itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.numerics import wide
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations.base import LossGradient, Perturbation, State

_SHORTEST, _LONGEST = 1e-6, 1e6


@dataclass(frozen=True)
class Free(Perturbation):
    """Free adversarial training: each batch is trained on `replays` times in a row, and delta moves at each.

    The backward pass of the training step gives the gradient that moves delta, so there is no other pass. delta is
    carried from step to step and from batch to batch. Epochs count optimiser steps: an epoch has as many as ever and
    visits 1 / replays of the data, so that the learning-rate schedule is that of ordinary training. The commands'
    loader does so; in a loop of your own, hand in each batch `replays` times.

    delta becomes `conjugate_prox(delta + dual(g), D)`, where D = dual(g) / g entry by entry: a proximal gradient step
    as long as that of `OneStep`, at rest where delta = dual(g). For `L1` it is clip(delta + eps sign(g), -eps, eps).

    The state holds delta, for one training, in float32 at least. Rows go by their place in the batch; a smaller batch
    moves the rows that it has, and another image shape starts from 0. A loss on which `backward` is not called before
    the next step, as in validation or with `torch.autograd.grad`, moves nothing; neither does a gradient that is not
    finite.

    g is the gradient that `backward` computes, times the batch size, because objectives average over the batch. A
    loss that is scaled otherwise (gradient accumulation, loss scaling in float16) scales g with it: `L1` and
    `GroupL21` do not see that, and the quadratic part of others grows or shrinks by the same factor.

    Args:
        replays: How often each batch is trained on; m in the paper, which takes 4 for ImageNet and 8 for CIFAR-10.

    Raises: ArgumentError if there is not at least one replay; after a backward pass, if the penalty is not convex
        (`Harmonization` needs `positive=True`).
    Source: Shafahi et al., NeurIPS 2019 ("Adversarial training for free!"), algorithm 1; trained with in Gong et al.,
        CVPR 2024 (AdvGrad), C.2.2, which gives no settings.
    """

    replays: int = 4
    needs_backward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.each_at_least(self, replays=1)

    def initial_state(self) -> State:
        """Return the perturbations of no row."""
        return {"delta": torch.empty(0)}

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return the perturbations that the steps before left, without any pass."""
        carried = self.learnt(state)["delta"]
        delta = torch.zeros_like(wide(x), requires_grad=False)
        if carried.shape[1:] == x.shape[1:]:
            rows = min(len(carried), len(x))
            delta[:rows] = carried[:rows]
        return delta.to(x.dtype, copy=True), {"delta": carried, "moving": delta, "penalty": penalty}

    def learnt(self, state: State) -> State:
        """Return the perturbations that the next batch starts with, those of rows that the last did not have too."""
        carried, inputs = state["delta"], state.get("inputs")
        if inputs is not None and inputs.grad is not None:
            with torch.no_grad():
                moved = _moved(state["moving"], wide(inputs.grad) * len(inputs), state["penalty"])
            others = carried[len(moved) :] if carried.shape[1:] == moved.shape[1:] else carried[:0]
            carried = torch.cat([moved, others.to(moved)]) if len(others) else moved
        return {"delta": carried}


def _moved(delta: Tensor, gradient: Tensor, penalty: Penalty) -> Tensor:
    move = penalty.dual(gradient)
    # Where an entry is flat the proximal step is as long as can be. Ratios of another sign, which only penalties that
    # entangle entries have, make it as short as can be.
    step = (move / gradient).nan_to_num(nan=_LONGEST, posinf=_LONGEST).clamp(_SHORTEST, _LONGEST)
    moved = penalty.conjugate_prox(delta + move, step)
    return torch.where(moved.isfinite(), moved, delta)
