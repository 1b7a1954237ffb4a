"""Judgement: a model and data in, a scorecard out."""

from gradsculpt.evaluation.protocol import Protocol, Reading
from gradsculpt.evaluation.scorecard import Entry, Scorecard
from gradsculpt.evaluation.scoring import evaluate

__all__ = ["Entry", "Protocol", "Reading", "Scorecard", "evaluate"]
