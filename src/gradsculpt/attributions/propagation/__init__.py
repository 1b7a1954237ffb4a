"""Maps by an ordinary backward pass in which some functions propagate by a rule of their own."""

from gradsculpt.attributions.propagation.deep_lift import DeepLift
from gradsculpt.attributions.propagation.guided import GuidedBackprop
from gradsculpt.attributions.propagation.lrp import LRP

__all__ = ["LRP", "DeepLift", "GuidedBackprop"]
