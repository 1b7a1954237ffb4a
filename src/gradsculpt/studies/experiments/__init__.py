"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.cascade import Cascade
from gradsculpt.studies.experiments.diff_roar import DiffRoar
from gradsculpt.studies.experiments.features import Features
from gradsculpt.studies.experiments.insertions import Insertions
from gradsculpt.studies.experiments.maps import AttackedMaps, Maps
from gradsculpt.studies.experiments.stability import Stability

EXPERIMENTS: tuple[type[Experiment], ...] = (AttackedMaps, Cascade, DiffRoar, Features, Insertions, Maps, Stability)

__all__ = ["EXPERIMENTS", "AttackedMaps", "Cascade", "DiffRoar", "Experiment", "Features", "Given", "Insertions"]
__all__ += ["Maps", "Stability"]
