"""Pictures of maps, and of what a network takes for a class."""

from gradsculpt.visualize.cascade import cascade_curve, cascade_sheet
from gradsculpt.visualize.display import show
from gradsculpt.visualize.features import Ascent, ClassFeatures, class_features
from gradsculpt.visualize.render import colour, contact_sheet, difference, overlay, plain, png
from gradsculpt.visualize.spectrum import IMAGENET_COLOURS, colour_matrix

__all__ = ["IMAGENET_COLOURS", "Ascent", "ClassFeatures", "cascade_curve", "cascade_sheet", "class_features", "colour"]
__all__ += ["colour_matrix", "contact_sheet", "difference", "overlay", "plain", "png", "show"]
