"""Maps of what a model's output depends on."""

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient
from gradsculpt.attributions.heatmap import heatmap
from gradsculpt.attributions.input_gradient import InputXGradient
from gradsculpt.attributions.integrated import IntegratedGradients
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
    Smoothed,
    Sparsified,
)

__all__ = [
    "ATTRIBUTIONS",
    "Attribution",
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "SmoothGrad",
    "SmoothGradSquared",
    "Smoothed",
    "Sparsified",
    "SparsifiedGradient",
    "SparsifiedSmoothGrad",
    "VarGrad",
    "heatmap",
]
