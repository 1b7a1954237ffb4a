"""Pictures of maps."""

from gradsculpt.visualize.render import colour, overlay, plain, png
from gradsculpt.visualize.sheet import contact_sheet

__all__ = ["colour", "contact_sheet", "overlay", "plain", "png"]
