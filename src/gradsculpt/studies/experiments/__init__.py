"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.aopc_drop import AopcDrop
from gradsculpt.studies.experiments.attacked_maps import AttackedMaps
from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.cascade import Cascade
from gradsculpt.studies.experiments.costs import Costs
from gradsculpt.studies.experiments.diff_roar import DiffRoar
from gradsculpt.studies.experiments.duality import Duality
from gradsculpt.studies.experiments.features import Features
from gradsculpt.studies.experiments.first_order import FirstOrder
from gradsculpt.studies.experiments.insertions import Insertions
from gradsculpt.studies.experiments.map_length import MapLength
from gradsculpt.studies.experiments.maps import Maps
from gradsculpt.studies.experiments.stability import Stability
from gradsculpt.studies.experiments.steadiness import Steadiness
from gradsculpt.studies.experiments.toy import Toy
from gradsculpt.studies.experiments.upper_bounds import UpperBounds

EXPERIMENTS: tuple[type[Experiment], ...] = (
    AopcDrop,
    AttackedMaps,
    Cascade,
    Costs,
    DiffRoar,
    Duality,
    Features,
    FirstOrder,
    Insertions,
    MapLength,
    Maps,
    Stability,
    Steadiness,
    Toy,
    UpperBounds,
)

__all__ = ["EXPERIMENTS", "AopcDrop", "AttackedMaps", "Cascade", "Costs", "DiffRoar", "Duality", "Experiment"]
__all__ += ["Features", "FirstOrder", "Given", "Insertions", "MapLength", "Maps", "Stability", "Steadiness"]
__all__ += ["Toy", "UpperBounds"]
