"""Work of studies that no command does: on trained networks, or on none."""

from gradsculpt.studies.experiments.base import Experiment, Given
from gradsculpt.studies.experiments.costs import Costs
from gradsculpt.studies.experiments.duality import Duality
from gradsculpt.studies.experiments.first_order import FirstOrder
from gradsculpt.studies.experiments.toy import Toy

EXPERIMENTS: tuple[type[Experiment], ...] = (Costs, Duality, FirstOrder, Toy)

__all__ = ["EXPERIMENTS", "Costs", "Duality", "Experiment", "FirstOrder", "Given", "Toy"]
