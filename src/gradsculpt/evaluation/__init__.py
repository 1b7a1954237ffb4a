"""Judgement: a model and data in, a scorecard out."""

from gradsculpt.evaluation.evaluate import Protocol, evaluate
from gradsculpt.evaluation.scorecard import Entry, Scorecard

__all__ = ["Entry", "Protocol", "Scorecard", "evaluate"]
