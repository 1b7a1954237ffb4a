"""Networks that are exported: `python -m tests.models.exports [--only NAME ...]` tries all, at sizes as they are used.

For each it tells the seconds and the greatest difference of a logit, as ONNX and as TorchScript.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import gradsculpt as gs
from gradsculpt.errors import GradsculptError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, Exported, export_onnx, export_torchscript

SPACE = InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FORMATS: dict[str, tuple[str, Callable[..., Exported]]] = {
    "onnx": (".onnx", export_onnx),
    "torchscript": (".pt", export_torchscript),
}

OWN = {
    "lenet": 8,
    "convnet": 16,
    "resnet18-cifar": 16,
    "resnet34-cifar": 16,
    "resnet34": 33,
    "efficientnet_b0": 32,
    "pretrained:mobilenet_v2": 32,
}
"""The networks of our own by name, with a small size of images that they take."""

OTHERS = {
    "torchvision:squeezenet1_1": 32,
    "torchvision:vit_b_32": 32,
    "torchvision:swin_t": 64,
    "torchvision:densenet121": 32,
    "torchvision:mobilenet_v3_small": 32,
    "torchvision:shufflenet_v2_x0_5": 32,
    "torchvision:googlenet": 64,
    "torchvision:convnext_tiny": 32,
    "torchvision:regnet_y_400mf": 32,
    "timm:vit_tiny_patch16_224": 32,
    "timm:convnext_atto": 32,
    "timm:mobilevit_xxs": 64,
    "timm:resnet10t": 32,
    "timm:mixer_s32_224": 32,
    "timm:efficientnet_lite0": 32,
    "timm:ghostnet_050": 32,
}
"""Some of torchvision and timm."""


def classifier(name: str, size: int, *, softplus: float | None = None, classes: int = 3, seed: int = 0) -> Classifier:
    """Return a network by name whose weights and running statistics are random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = gs.models.build(name, num_classes=classes, image_size=size, softplus=softplus)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Linear) and not module.weight.any():  # heads of which some begin at 0
                nn.init.normal_(module.weight)
    return Classifier(network, SPACE, tuple(f"class {i}" for i in range(classes)), size)


def main() -> int:
    """Try all, and tell how each went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*OWN, *OTHERS])
    given = parser.parse_args()
    failures = 0
    for name, size in (OWN | OTHERS).items():
        if given.only and name not in given.only:
            continue
        its = classifier(name, size)
        for kind, (ending, export) in FORMATS.items():
            with tempfile.TemporaryDirectory() as folder:
                path, started = Path(folder) / f"net{ending}", time.monotonic()
                try:
                    exported = export(its, path)
                    said = f"{exported.difference:.1e} of {exported.largest:.2g}, {path.stat().st_size:,} bytes"
                except GradsculptError as error:
                    failures, said = failures + 1, f"FAILED: {error}"
                sys.stdout.write(f"{name:<32}{kind:<13}{time.monotonic() - started:6.1f} s  {said}\n")
                sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
