"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.cascade import Cascade
from gradsculpt.studies.experiments.diff_roar import DiffRoar
from gradsculpt.studies.experiments.stability import Stability

EXPERIMENTS: tuple[type[Experiment], ...] = (Cascade, DiffRoar, Stability)

__all__ = ["EXPERIMENTS", "Cascade", "DiffRoar", "Experiment", "Given", "Stability"]
