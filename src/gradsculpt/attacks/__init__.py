"""How a map is manipulated by a change of the image that nobody sees."""

from gradsculpt.attacks.base import Attack, RandomPerturbation
from gradsculpt.attacks.criteria import Criterion, frame, mass_center
from gradsculpt.attacks.manipulation import (
    Attacked,
    Manipulation,
    MassCenterAttack,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
)
from gradsculpt.inputs import Bounds

ATTACKS: tuple[type[Attack], ...] = (
    TargetedManipulation,
    UntargetedManipulation,
    TopKAttack,
    MassCenterAttack,
    RandomPerturbation,
)

__all__ = ["ATTACKS", "Attack", "Attacked", "Bounds", "Criterion", "Manipulation", "frame", "mass_center"]
__all__ += ["MassCenterAttack", "RandomPerturbation", "TargetedManipulation", "TopKAttack", "UntargetedManipulation"]
