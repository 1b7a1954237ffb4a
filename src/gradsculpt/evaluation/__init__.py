"""Judgement: a model and data in, a scorecard out."""

from gradsculpt.evaluation.batch import EvaluationBatch, MapAttack
from gradsculpt.evaluation.diff_roar import DiffRoar, Retraining, diff_roar
from gradsculpt.evaluation.groups import SCORE_GROUPS
from gradsculpt.evaluation.groups.base import Column, CurveText, Point, ScoreGroup
from gradsculpt.evaluation.groups.clean import Accuracy, GroundTruth, Sparsity
from gradsculpt.evaluation.groups.faithfulness import Fidelity, Sanity
from gradsculpt.evaluation.groups.metric import MetricGroup
from gradsculpt.evaluation.groups.robustness import RobustnessAttack, RobustnessRandom
from gradsculpt.evaluation.layer_randomization import LayerStage, find_stages
from gradsculpt.evaluation.masked import masked_images
from gradsculpt.evaluation.protocol import Protocol
from gradsculpt.evaluation.randomization import SANITY_SCORES, Randomization, data_randomization, randomization
from gradsculpt.evaluation.results import Curve, Entry
from gradsculpt.evaluation.scorecard import Scorecard
from gradsculpt.evaluation.scoring import evaluate
from gradsculpt.evaluation.shards import Shard

__all__ = ["SCORE_GROUPS", "Column", "CurveText", "EvaluationBatch", "MapAttack", "Point", "Protocol", "ScoreGroup"]
__all__ += ["Accuracy", "Fidelity", "GroundTruth", "MetricGroup", "RobustnessAttack", "RobustnessRandom", "Sanity"]
__all__ += ["Curve", "Entry", "Scorecard", "Shard", "Sparsity", "evaluate"]
__all__ += ["SANITY_SCORES", "LayerStage", "Randomization", "data_randomization", "find_stages", "randomization"]
__all__ += ["DiffRoar", "Retraining", "diff_roar", "masked_images"]
