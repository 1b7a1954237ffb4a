"""What regularisers of the input gradient have in common: they are dear, and can be had more cheaply."""

from abc import abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.objectives.base import Objective, Regulariser, Scaled
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Moment


@dataclass(frozen=True, kw_only=True)
class SecondOrder(Regulariser):
    """A regulariser whose gradient takes a second differentiation, with two ways of paying less for it.

    To write one, derive a frozen dataclass, name its terms, and give it `terms_of`; `GradientPenalty` is an example.

    Args:
        every: Compute it at every so many steps only, with so many times the weight.
        share: Compute it on this share of each batch only.
    """

    every: int = 1
    share: float = 1.0

    def __post_init__(self) -> None:
        checks.at_least("every", self.every, 1)
        checks.within("share", self.share, 0.0, 1.0)
        checks.positive("share", self.share)

    def at(self, moment: Moment) -> Objective:
        """Return the regulariser with its settings resolved; between its steps, it counts nothing."""
        if self.every == 1:
            return super().at(moment)
        return Scaled(replace(self, every=1).at(moment), self.every if moment.step % self.every == 0 else 0.0)

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms of the share of the batch.

        Raises:
            ArgumentError: If it is to be computed at some steps only, and the step is not known.
        """
        if self.every > 1:
            raise ArgumentError(
                f"{type(self).__name__} counts at every {self.every} steps, and the step is not known. "
                "Call objective.at(Moment(epoch, step)) and use what it returns."
            )
        count = max(1, round(self.share * len(passes.x)))
        return self.terms_of(passes if self.share == 1 else passes.first(count))

    @abstractmethod
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms, averaged over the images of these passes."""
