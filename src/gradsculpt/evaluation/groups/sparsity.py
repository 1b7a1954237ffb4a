"""How concentrated a map is."""

from collections.abc import Iterator
from dataclasses import dataclass

from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.metrics import connectedness, gini


@dataclass(frozen=True)
class Sparsity(ScoreGroup):
    """How concentrated the map is, and whether its top hangs together.

    Source: Gong et al., CVPR 2024, Table 3 (Gini index) and section 4.3 (connected maps).
    """

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield the Gini index and the connected components of the heat maps."""
        yield Column(gini.scores[0], gini(batch.heat))
        components = connectedness(batch.heat)
        for score in connectedness.scores:
            yield Column(score, components[score.name])
