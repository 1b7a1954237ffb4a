"""MoreauGrad: what is minimised, how its minimiser is found and differentiated, and the map that is read off it."""

from gradsculpt.attributions.moreau.attribution import MoreauGrad, MoreauInfo
from gradsculpt.attributions.moreau.envelope import EnvelopeValue
from gradsculpt.attributions.moreau.solvers import DualAveraging, ProximalGradient, Solver

__all__ = ["DualAveraging", "EnvelopeValue", "MoreauGrad", "MoreauInfo", "ProximalGradient", "Solver"]
