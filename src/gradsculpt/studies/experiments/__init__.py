"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.aopc_drop import AopcDrop
from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.features import Features
from gradsculpt.studies.experiments.insertions import Insertions
from gradsculpt.studies.experiments.map_length import MapLength
from gradsculpt.studies.experiments.maps import AttackedMaps, Maps

EXPERIMENTS: tuple[type[Experiment], ...] = (AopcDrop, AttackedMaps, Features, Insertions, MapLength, Maps)

__all__ = [
    "EXPERIMENTS",
    "AopcDrop",
    "AttackedMaps",
    "Experiment",
    "Features",
    "Given",
    "Insertions",
    "MapLength",
    "Maps",
]
