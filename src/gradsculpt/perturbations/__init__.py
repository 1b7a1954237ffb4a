"""Solvers of the inner maximum of adversarial training, for any penalty."""

from gradsculpt.perturbations.base import LossGradient, Perturbation
from gradsculpt.perturbations.one_step import OneStep

PERTURBATIONS: tuple[type[Perturbation], ...] = (OneStep,)

__all__ = ["PERTURBATIONS", "LossGradient", "OneStep", "Perturbation"]
