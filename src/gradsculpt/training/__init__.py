"""Training: settings in, a run directory out."""

from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.run import fit, open_data
from gradsculpt.training.settings import Optimization, TrainSettings

__all__ = ["ClassifierModule", "Optimization", "TrainSettings", "fit", "open_data"]
