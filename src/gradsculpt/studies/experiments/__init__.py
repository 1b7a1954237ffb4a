"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given

EXPERIMENTS: tuple[type[Experiment], ...] = ()

__all__ = ["EXPERIMENTS", "Experiment", "Given"]
