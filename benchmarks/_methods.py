"""What is timed: a case is a step of one method on one network."""

from collections.abc import Sequence
from typing import NamedTuple

from gradsculpt.objectives import LocalGradientAlignment, Objective
from gradsculpt.penalties import ElasticNet
from gradsculpt.studies.experiments.plain import Formula, plain

EPS = 4 / 255 / 0.25


class Case(NamedTuple):
    """One line of the table: a step, and what it is measured against."""

    name: str
    network: str
    batch: int
    side: int
    objective: Objective
    passes: float
    published: str = "-"
    softplus: float | None = None
    bf16: bool = False

    @property
    def plain(self) -> Formula | None:
        """The formula of the objective, written plainly; made where it is wanted, as it cannot go to a process."""
        return plain(self.objective)

    def called(self, words: Sequence[str] | None) -> bool:
        """Tell whether one of the words is in its name or that of its network; without words it is meant, too."""
        title = f"{self.name} {self.network}/{self.batch}"
        return words is None or any(word in title for word in words)


ELASTIC = ElasticNet(0.01, 0.05)
ALIGNMENT = LocalGradientAlignment(l2=0.01, cosine=1.0, eps=EPS)
