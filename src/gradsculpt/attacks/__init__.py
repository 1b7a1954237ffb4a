"""How a map is manipulated by a change of the image that nobody sees."""

from gradsculpt.attacks.base import Attack, Bounds
from gradsculpt.attacks.criteria import frame, mass_center
from gradsculpt.attacks.manipulation import (
    Manipulation,
    MassCenterAttack,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
)
from gradsculpt.attacks.random import RandomPerturbation
from gradsculpt.attacks.twin import SmoothTwin

ATTACKS: tuple[type[Attack], ...] = (
    TargetedManipulation,
    UntargetedManipulation,
    TopKAttack,
    MassCenterAttack,
    RandomPerturbation,
)

__all__ = [
    "ATTACKS",
    "Attack",
    "Bounds",
    "Manipulation",
    "MassCenterAttack",
    "RandomPerturbation",
    "SmoothTwin",
    "TargetedManipulation",
    "TopKAttack",
    "UntargetedManipulation",
    "frame",
    "mass_center",
]
