"""Convex penalties of gradient maps, with everything that convex duality says of them."""

from gradsculpt.penalties.attention import Harmonization
from gradsculpt.penalties.base import Penalty, ScaledPenalty, Size
from gradsculpt.penalties.function import FunctionPenalty
from gradsculpt.penalties.groups import GroupL21
from gradsculpt.penalties.norms import L1, ElasticNet, SquaredL2

PENALTIES: tuple[type[Penalty], ...] = (
    L1,
    SquaredL2,
    ElasticNet,
    GroupL21,
    Harmonization,
    FunctionPenalty,
    ScaledPenalty,
)

__all__ = [
    "L1",
    "PENALTIES",
    "ElasticNet",
    "FunctionPenalty",
    "GroupL21",
    "Harmonization",
    "Penalty",
    "ScaledPenalty",
    "Size",
    "SquaredL2",
]
