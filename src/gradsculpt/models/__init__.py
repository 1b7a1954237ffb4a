"""Networks by name, with weights of others, smooth activations, and checkpoints."""

from gradsculpt.models.checkpoint import load, save
from gradsculpt.models.classifier import Classifier, OutputOf
from gradsculpt.models.networks import MODELS, build
from gradsculpt.models.small import ConvNet, LeNet
from gradsculpt.models.smooth import to_softplus
from gradsculpt.models.weights import PRETRAINED, imagenet_classes, pretrained, with_weights

__all__ = ["MODELS", "PRETRAINED", "Classifier", "ConvNet", "LeNet", "OutputOf"]
__all__ += ["build", "imagenet_classes", "load", "pretrained", "save", "to_softplus", "with_weights"]
