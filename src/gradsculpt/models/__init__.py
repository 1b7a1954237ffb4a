"""Networks by name, with weights of others, smooth activations, checkpoints, and files for others."""

from gradsculpt.models.checkpoint import load, save
from gradsculpt.models.classifier import Classifier, OutputOf
from gradsculpt.models.export import Exported, export_onnx, export_torchscript
from gradsculpt.models.networks import MODELS, build
from gradsculpt.models.published import PRETRAINED
from gradsculpt.models.small import ConvNet, LeNet
from gradsculpt.models.smooth import to_softplus
from gradsculpt.models.starting import Start, freeze, started
from gradsculpt.models.weights import imagenet_classes, pretrained, with_weights

__all__ = ["MODELS", "PRETRAINED", "Classifier", "ConvNet", "Exported", "LeNet", "OutputOf", "Start"]
__all__ += ["build", "export_onnx", "export_torchscript", "freeze", "imagenet_classes", "load", "pretrained", "save"]
__all__ += ["started", "to_softplus", "with_weights"]
