"""The groups of a scorecard: what each measures of a batch of images."""

from gradsculpt.evaluation.groups.clean import Accuracy, GroundTruth, Sparsity
from gradsculpt.evaluation.groups.faithfulness import Fidelity, Sanity
from gradsculpt.evaluation.groups.metric import MetricGroup
from gradsculpt.evaluation.groups.robustness import RobustnessAttack, RobustnessRandom

SCORE_GROUPS = (Accuracy, Sparsity, RobustnessRandom, RobustnessAttack, Fidelity, GroundTruth, Sanity, MetricGroup)
"""What can be measured, in the order of the table."""
