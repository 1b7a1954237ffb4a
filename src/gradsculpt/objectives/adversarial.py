"""Adversarial training with the conjugate of a penalty: the AdvGrad method."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.devices import placed
from gradsculpt.errors import ArgumentError
from gradsculpt.isolation import undisturbed
from gradsculpt.objectives.base import DataTerm, Requirements
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Setting, resolved
from gradsculpt.penalties import L1, Penalty
from gradsculpt.perturbations import InnerLoss, OneStep, Perturbation, State


@dataclass(frozen=True)
class AdversarialTraining(DataTerm):
    """Cross entropy at x + delta, where delta nearly maximises L(x + delta) - h(delta).

    To first order this trains with L + h*(grad L): the input gradient is penalised without differentiating twice.
    A step costs the passes of the perturbation (two for `OneStep`, none for `Free` and `Noise`) and one training step
    on x + delta. `0.5 * AdversarialTraining(penalty)` is `AdversarialTraining(0.5 * penalty)`; `Noise`, which follows
    no penalty, becomes half as large. While delta is sought, batch statistics are those of training, a dropout mask is
    that of the training pass that follows, and nothing is left behind.

    Args:
        penalty: h*, what the input gradients are to be small in. Only `Noise` does without, and ignores one.
        perturbation: How delta is found.
        bounds: Smallest and largest model input, to which x + delta is clamped: `space.bounds`, or `PixelBounds()` in
            trainings that know the space. None leaves it as it is, as the paper does.

    Raises: ArgumentError if there is no penalty for a perturbation that needs one.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2, Proposition 1; B.3.
    Deviation: the inner loss is summed over the batch, so delta does not depend on the batch size. h(delta) does not
        depend on the network, so it is left out of the reported loss. The released code updates running statistics in
        the inner pass too, and draws another dropout mask there.

    Example:
        >>> objective = AdversarialTraining(L1(0.5))
        >>> round(objective(torch.nn.Flatten(), torch.zeros(1, 2, 1, 1), torch.tensor([0])).loss.item(), 4)
        1.3133
    """

    penalty: Penalty | None = None
    perturbation: Perturbation = field(default_factory=OneStep)
    bounds: tuple[Tensor, Tensor] | Setting | None = None
    name: ClassVar[str] = "adversarial_cross_entropy"

    def __post_init__(self) -> None:
        checks.declared(self)
        if self.penalty is None and self.perturbation.needs_penalty:
            raise ArgumentError(
                f"there is no penalty, so {self.perturbation!r} does not know what a perturbation costs. "
                "Pass one, for instance AdversarialTraining(L1(0.01)); only Noise does without."
            )

    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        """Return the logits at x + delta."""

        def loss_gradient(inputs: Tensor) -> tuple[Tensor, Tensor]:
            with undisturbed(passes.model):  # each pass by itself, so that all draw the mask of the training pass
                return passes.loss_gradient(inputs)

        def values(inputs: Tensor) -> Tensor:
            with undisturbed(passes.model), torch.no_grad():
                return passes.losses(passes.logits(inputs))

        random = {"generator": passes.generator} if self.perturbation.needs_randomness else {}
        # Nothing is free but delta = 0, for a perturbation that does not ask.
        penalty = (self.penalty or L1(0.0)).given(passes.attention)
        delta, state = self.perturbation.step(state, InnerLoss(loss_gradient, values), passes.x, penalty, **random)
        with torch.no_grad():
            perturbed = passes.x + delta
            if self.bounds is not None:
                low, high = resolved(self.bounds)
                perturbed = perturbed.clamp(*(placed(end, perturbed) for end in (low, high)))
        if self.perturbation.needs_backward:
            state = {**state, "inputs": perturbed.requires_grad_()}
        return passes.logits(perturbed), state

    def scaled(self, factor: float) -> "AdversarialTraining":
        """Return adversarial training with the penalty, and noise that follows no penalty, times a factor."""
        if factor == 1:
            return self
        penalty = None if self.penalty is None else factor * self.penalty
        return replace(self, penalty=penalty, perturbation=self.perturbation.scaled(factor))

    @property
    def requirements(self) -> Requirements:
        """The replays of the perturbation, whether it takes one step, and the attention that the penalty follows."""
        solver = self.perturbation
        return replace(super().requirements, replays=solver.replays, smooth=solver.one_gradient)

    def initial_state(self) -> State:
        """Return the first state of the perturbation."""
        return self.perturbation.initial_state()

    def learnt(self, state: State) -> State:
        """Return what the perturbation has learnt."""
        return self.perturbation.learnt(state)
