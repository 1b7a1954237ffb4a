"""How a map is manipulated by a change of the image that nobody sees."""

from gradsculpt.attacks.base import Attack
from gradsculpt.attacks.criteria import Criterion, frame, mass_center
from gradsculpt.attacks.manipulation import (
    Attacked,
    Manipulation,
    MassCenterAttack,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
)
from gradsculpt.attacks.random import RandomPerturbation
from gradsculpt.inputs import Bounds

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
    "Attacked",
    "Bounds",
    "Criterion",
    "Manipulation",
    "MassCenterAttack",
    "RandomPerturbation",
    "TargetedManipulation",
    "TopKAttack",
    "UntargetedManipulation",
    "frame",
    "mass_center",
]
