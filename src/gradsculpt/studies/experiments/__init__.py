"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.upper_bounds import UpperBounds

EXPERIMENTS: tuple[type[Experiment], ...] = (UpperBounds,)

__all__ = ["EXPERIMENTS", "Experiment", "Given", "UpperBounds"]
