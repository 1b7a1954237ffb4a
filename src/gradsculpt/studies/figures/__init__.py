"""What the results of a study are drawn as."""

from gradsculpt.studies.figures.base import Figure, Measured, Results

FIGURES: tuple[type[Figure], ...] = ()

__all__ = ["FIGURES", "Figure", "Measured", "Results"]
