"""Solvers of the inner maximum of adversarial training, for any penalty."""

from gradsculpt.perturbations.base import InnerLoss, LossGradient, Perturbation, State
from gradsculpt.perturbations.direct import Momentum, Noise, OneStep
from gradsculpt.perturbations.free import Free
from gradsculpt.perturbations.iterative import Iterative

PERTURBATIONS: tuple[type[Perturbation], ...] = (OneStep, Iterative, Momentum, Free, Noise)

__all__ = [
    "PERTURBATIONS",
    "Free",
    "InnerLoss",
    "Iterative",
    "LossGradient",
    "Momentum",
    "Noise",
    "OneStep",
    "Perturbation",
    "State",
]
