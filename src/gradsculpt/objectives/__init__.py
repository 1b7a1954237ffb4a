"""What training minimises."""

from gradsculpt.objectives.adversarial import AdversarialTraining
from gradsculpt.objectives.alignment import LocalGradientAlignment
from gradsculpt.objectives.base import Lesson, Losses, Objective, Scaled, Sum
from gradsculpt.objectives.cross_entropy import CrossEntropy
from gradsculpt.objectives.distillation import ExplanationDistillation
from gradsculpt.objectives.entropy import MaxEntropy
from gradsculpt.objectives.gradient_penalty import GradientPenalty
from gradsculpt.objectives.hessian import HessianNorm
from gradsculpt.objectives.input_gradient_alignment import InputGradientAlignment
from gradsculpt.objectives.moment import Moment, PixelBounds, Pixels, Ramp, Setting, ramp, warmup

OBJECTIVES: tuple[type[Objective], ...] = (
    CrossEntropy,
    AdversarialTraining,
    GradientPenalty,
    LocalGradientAlignment,
    HessianNorm,
    InputGradientAlignment,
    ExplanationDistillation,
    MaxEntropy,
    Sum,
    Scaled,
)

SETTINGS: tuple[type[Setting], ...] = (Ramp, Pixels, PixelBounds)

__all__ = [
    "OBJECTIVES",
    "SETTINGS",
    "AdversarialTraining",
    "CrossEntropy",
    "ExplanationDistillation",
    "GradientPenalty",
    "HessianNorm",
    "InputGradientAlignment",
    "Lesson",
    "LocalGradientAlignment",
    "Losses",
    "MaxEntropy",
    "Moment",
    "Objective",
    "PixelBounds",
    "Pixels",
    "Ramp",
    "Scaled",
    "Setting",
    "Sum",
    "ramp",
    "warmup",
]
