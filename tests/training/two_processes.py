"""Trains by the command in two processes, and then by hand in one and in two; a test runs it in a process of its own.

At the first training with two devices Lightning starts this module again, as it does with the command. By hand, a batch
is the whole set, so that it does not matter which process gets which images.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from gradsculpt.cli.main import main
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, GradientPenalty, LocalGradientAlignment, Objective
from gradsculpt.penalties import L1, SquaredL2
from gradsculpt.perturbations import Free
from tests.training.small import network, train, weights

OBJECTIVES: dict[str, Objective] = {
    "cross entropy": CrossEntropy(),
    "adversarial": AdversarialTraining(L1(0.05)),
    "alignment": LocalGradientAlignment(0.1, 1.0, eps=0.5, noise="gradient"),
    "sum": AdversarialTraining(L1(0.05)) + GradientPenalty(SquaredL2(0.1)),
}

COMMAND = (
    "train --data digits --image-size 8 --batch-size 64 --epochs 2 --recipe l1 --device cpu --devices 2 --threads 1"
)


def compare(folder: Path) -> dict[str, list[float]]:
    """Return how far weights are apart after both trainings, and how far they have moved."""
    start, gaps = weights(network(norm=False)), {}
    for name, objective in OBJECTIVES.items():
        one, two = network(norm=False), network(norm=False)
        train(folder, objective, one, batch_size=16, epochs=3)
        train(folder, objective, two, batch_size=8, epochs=3, devices=2)
        gaps[name] = [(weights(two) - weights(one)).norm().item(), (weights(one) - start).norm().item()]
    return gaps


def resumed(folder: Path) -> list[float]:
    """Return how far weights are apart if training is interrupted, and if every process then gets one's state."""
    objective, kept = AdversarialTraining(L1(0.1), Free(2)), folder / "both.ckpt"
    straight, parts, mixed = (network(norm=False) for _ in range(3))
    settings: dict[str, Any] = {"batch_size": 4, "devices": 2}
    train(folder, objective, straight, epochs=3, **settings)
    train(folder, objective, parts, epochs=1, keep=kept, **settings)
    train(folder, objective, parts, epochs=3, resume=kept, **settings)
    if os.environ["LOCAL_RANK"] == "0":
        checkpoint = torch.load(kept, weights_only=True)
        checkpoint["states"] = checkpoint["states"][:1] * 2
        torch.save(checkpoint, folder / "mixed.ckpt")
    train(folder, objective, mixed, epochs=3, resume=folder / "mixed.ckpt", **settings)
    return [(weights(other) - weights(straight)).norm().item() for other in (parts, mixed)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    if status := main([*COMMAND.split(), "--out", str(out / "run")]):
        sys.exit(status)
    gaps, interrupted = compare(out / "by hand"), resumed(out / "by hand")
    if os.environ["LOCAL_RANK"] == "0":
        (out / "gaps.json").write_text(json.dumps(gaps))
        (out / "interrupted.json").write_text(json.dumps(interrupted))
