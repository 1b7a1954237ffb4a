"""What training minimises."""

from gradsculpt.objectives.adversarial import AdversarialTraining
from gradsculpt.objectives.base import Losses, Objective
from gradsculpt.objectives.cross_entropy import CrossEntropy

OBJECTIVES: tuple[type[Objective], ...] = (CrossEntropy, AdversarialTraining)

__all__ = ["OBJECTIVES", "AdversarialTraining", "CrossEntropy", "Losses", "Objective"]
