"""Maps of what a model's output depends on."""

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.grad_cam import GradCAM
from gradsculpt.attributions.gradient import Gradient
from gradsculpt.attributions.heatmap import heatmap, signed_heatmap
from gradsculpt.attributions.integrated import InputXGradient, IntegratedGradients
from gradsculpt.attributions.moreau import DualAveraging, MoreauGrad, MoreauInfo, ProximalGradient, Solver
from gradsculpt.attributions.propagation import LRP, DeepLift, GuidedBackprop
from gradsculpt.attributions.relex import RelEx
from gradsculpt.attributions.smoothed import Smoothed, SmoothGrad, SmoothGradSquared, VarGrad
from gradsculpt.attributions.sparsified import Sparsified, SparsifiedGradient, SparsifiedSmoothGrad

ATTRIBUTIONS: tuple[type[Attribution], ...] = (
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
    SparsifiedGradient,
    SparsifiedSmoothGrad,
    MoreauGrad,
    RelEx,
    GuidedBackprop,
    LRP,
    DeepLift,
    GradCAM,
    Smoothed,
    Sparsified,
)

SOLVERS: tuple[type[Solver], ...] = (DualAveraging, ProximalGradient)

__all__ = [
    "ATTRIBUTIONS",
    "LRP",
    "SOLVERS",
    "Attribution",
    "DeepLift",
    "DualAveraging",
    "GradCAM",
    "Gradient",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "MoreauGrad",
    "MoreauInfo",
    "ProximalGradient",
    "RelEx",
    "SmoothGrad",
    "SmoothGradSquared",
    "Smoothed",
    "Solver",
    "Sparsified",
    "SparsifiedGradient",
    "SparsifiedSmoothGrad",
    "VarGrad",
    "heatmap",
    "signed_heatmap",
]
