"""Networks by name, smooth activations, and checkpoints."""

from gradsculpt.models.checkpoint import load, save
from gradsculpt.models.classifier import Classifier
from gradsculpt.models.convnet import ConvNet
from gradsculpt.models.lenet import LeNet
from gradsculpt.models.networks import MODELS, build
from gradsculpt.models.smooth import to_softplus

__all__ = ["MODELS", "Classifier", "ConvNet", "LeNet", "build", "load", "save", "to_softplus"]
