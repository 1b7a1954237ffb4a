"""What the results of a study are drawn as."""

from gradsculpt.studies.figures.bars import Bars
from gradsculpt.studies.figures.base import Figure, Measured, Results
from gradsculpt.studies.figures.contours import Contours
from gradsculpt.studies.figures.curves import Curves, Lines
from gradsculpt.studies.figures.gallery import Gallery
from gradsculpt.studies.figures.pictures import Pictures
from gradsculpt.studies.figures.scatter import Scatter

FIGURES: tuple[type[Figure], ...] = (Bars, Contours, Curves, Gallery, Lines, Pictures, Scatter)

__all__ = ["FIGURES", "Bars", "Contours", "Curves", "Figure", "Gallery", "Lines", "Measured", "Pictures", "Results"]
__all__ += ["Scatter"]
