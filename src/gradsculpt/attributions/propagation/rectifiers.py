"""What is a rectifier, however it is written: the function that is cut off below a level."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from gradsculpt.dispatch import Call, Kind

LARGER = ("maximum", "max", "fmax")
"""Names of the larger of two tensors; `max` of one tensor is the largest of its entries."""

_GUARD = 1e-3


class Rectifier(NamedTuple):
    """Which of the tensors of a call is cut, and at what level it is off; a level that broadcasts to it."""

    place: int
    level: Tensor | float

    @property
    def at_zero(self) -> bool:
        """Whether the level is 0 everywhere, so that it is a ReLU."""
        return not bool(self.level.any()) if isinstance(self.level, Tensor) else self.level == 0


def rectifier(call: Call, depends: Callable[[Tensor], bool]) -> Rectifier | None:
    """Return how a call is read as a rectifier, if it can be.

    That is a function of the kind, a clamp with a lower end only or with one of 0, and the larger of a tensor and a
    constant. A clamp at a small positive number that cuts nothing negative guards a quotient and is none.

    Args:
        call: The call.
        depends: Tells whether a tensor is computed from the images, so that it is no level.
    """
    kind, tensors = call.operator.kind, call.tensors
    if kind is Kind.RECTIFIER:
        return Rectifier(0, float(call["threshold"]) if call.name == "threshold" else 0.0)
    if kind is Kind.CLAMP:
        low, high = call.levels
        if low is None or (isinstance(low, Tensor) and depends(low)):
            return None
        found = Rectifier(0, low)
        guards = not isinstance(low, Tensor) and 0 < low <= _GUARD and bool((tensors[0] >= 0).all())
        return found if found.at_zero or (high is None and not guards) else None
    if call.name in LARGER and len(tensors) == 2:
        places = [place for place, t in enumerate(tensors) if depends(t)]
        return Rectifier(places[0], tensors[1 - places[0]]) if len(places) == 1 else None
    return None
