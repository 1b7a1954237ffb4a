"""Maps of what a model's output depends on."""

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient
from gradsculpt.attributions.heatmap import heatmap

ATTRIBUTIONS: tuple[type[Attribution], ...] = (Gradient,)

__all__ = ["ATTRIBUTIONS", "Attribution", "Gradient", "heatmap"]
