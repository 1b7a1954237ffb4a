"""Judgement: a model and data in, a scorecard out."""

from gradsculpt.evaluation.scorecard import Entry, Scorecard
from gradsculpt.evaluation.scoring import Protocol, evaluate

__all__ = ["Entry", "Protocol", "Scorecard", "evaluate"]
