"""What training minimises."""

from gradsculpt.objectives.adversarial import AdversarialTraining
from gradsculpt.objectives.alignment import LocalGradientAlignment
from gradsculpt.objectives.base import DataTerm, Objective, Regulariser, Requirements, Scaled, Sum, TeacherSpecification
from gradsculpt.objectives.distillation import ExplanationDistillation
from gradsculpt.objectives.entropy import CrossEntropy, MaxEntropy
from gradsculpt.objectives.input_gradient_alignment import InputGradientAlignment
from gradsculpt.objectives.passes import Losses, Passes
from gradsculpt.objectives.schedules import Moment, PixelBounds, Pixels, Ramp, Setting, warmup
from gradsculpt.objectives.second_order import GradientPenalty, HessianNorm, SecondOrder
from gradsculpt.perturbations import State

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
    "DataTerm",
    "ExplanationDistillation",
    "GradientPenalty",
    "HessianNorm",
    "InputGradientAlignment",
    "LocalGradientAlignment",
    "Losses",
    "MaxEntropy",
    "Moment",
    "Objective",
    "Passes",
    "PixelBounds",
    "Pixels",
    "Ramp",
    "Regulariser",
    "Requirements",
    "Scaled",
    "SecondOrder",
    "Setting",
    "State",
    "Sum",
    "TeacherSpecification",
    "warmup",
]
