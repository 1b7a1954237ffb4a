"""Judgement: a model and data in, a scorecard out."""

from gradsculpt.evaluation.diff_roar import DIFF_ROAR, DiffRoar, diff_roar
from gradsculpt.evaluation.entries import Curve, Entry
from gradsculpt.evaluation.layer_randomization import LayerStage, find_stages
from gradsculpt.evaluation.masked import masked_images
from gradsculpt.evaluation.protocol import Protocol, Reading
from gradsculpt.evaluation.randomization import SANITY_SCORES, Randomization, data_randomization, randomization
from gradsculpt.evaluation.retraining import Retraining
from gradsculpt.evaluation.scorecard import Scorecard
from gradsculpt.evaluation.scoring import evaluate

__all__ = [
    "DIFF_ROAR",
    "SANITY_SCORES",
    "Curve",
    "DiffRoar",
    "Entry",
    "LayerStage",
    "Protocol",
    "Randomization",
    "Reading",
    "Retraining",
    "Scorecard",
    "data_randomization",
    "diff_roar",
    "evaluate",
    "find_stages",
    "masked_images",
    "randomization",
]
