"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.features import Features
from gradsculpt.studies.experiments.insertions import Insertions
from gradsculpt.studies.experiments.maps import AttackedMaps, Maps
from gradsculpt.studies.experiments.upper_bounds import UpperBounds

EXPERIMENTS: tuple[type[Experiment], ...] = (AttackedMaps, Features, Insertions, Maps, UpperBounds)

__all__ = ["EXPERIMENTS", "AttackedMaps", "Experiment", "Features", "Given", "Insertions", "Maps", "UpperBounds"]
