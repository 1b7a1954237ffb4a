"""Trains by the command in two processes, and then by hand in one and in two; a test runs it in a process of its own.

At the first training with two devices the command starts this module again, as it does with itself. By hand, numbers
have 64 bits, so that what differs is not rounding, and both processes train alone as well, for the comparison.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

import gradsculpt
from gradsculpt.cli.main import main
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Augment
from gradsculpt.objectives import AdversarialTraining, CrossEntropy, GradientPenalty, LocalGradientAlignment, Objective
from gradsculpt.penalties import L1, SquaredL2
from gradsculpt.perturbations import Free
from gradsculpt.training import Optimization, TrainSettings
from tests.training.small import network, train, weights

RECIPES = sorted(path.stem for path in (Path(gradsculpt.__file__).parent / "recipes").glob("*.yaml"))

COMMAND = (
    "train --data digits --image-size 8 --batch-size 64 --epochs 2 --recipe l1 --device cpu --devices 2 --threads 1"
)
ALIGNED = LocalGradientAlignment(0.1, 1.0, eps=0.5, noise="gaussian")
PENALISED = AdversarialTraining(L1(0.05)) + GradientPenalty(SquaredL2(0.1))


def grouped() -> nn.Sequential:
    """Return the small network with a normalisation that knows no batch."""
    small = network()
    small[1] = nn.GroupNorm(2, 6)
    return small


def plain() -> nn.Sequential:
    """Return the small network without any."""
    return network(norm=False)


def recipes() -> dict[str, tuple[Objective, dict[str, Any]]]:
    """Return each recipe's objective, and what else of it counts for a step."""
    found = {}
    for name in RECIPES:
        settings: TrainSettings = read_settings(["--recipe", name, "--out", "nowhere"])
        objective = settings.objective
        if objective.requirements.teacher is not None:
            objective = objective.with_teacher(plain().double())
        own: dict[str, Any] = {each: getattr(settings, each) for each in ("clip", "accumulate", "augment")}
        own["optimization"] = replace(settings.optimization, lr=0.01)
        found[name] = objective, own
    return found


def cases() -> dict[str, tuple[Objective, dict[str, Any], Callable[[], nn.Sequential]]]:
    """Return what is trained in one process and in two: an objective, settings and a network."""
    shifted = Augment(flip=True, crop=0.25)
    found = {name: (objective, own, grouped) for name, (objective, own) in recipes().items()}
    found |= {
        f"no normalisation, {i}": (each, {}, plain) for i, each in enumerate((CrossEntropy(), ALIGNED, PENALISED))
    }
    found |= {
        f"batch normalisation, {i}": (each, {"sync_batchnorm": True}, network)
        for i, each in enumerate((CrossEntropy(), AdversarialTraining(L1(0.05)), ALIGNED, PENALISED))
    }
    found |= {
        "a last batch of an odd number": (ALIGNED, {"count": 13, "augment": shifted}, plain),
        "a share of the batch": (replace(ALIGNED, share=0.5, every=2), {"shuffle": True}, plain),
        "turned and blurred": (CrossEntropy(), {"augment": Augment(rotation=20.0, blur=(0.1, 1.0))}, plain),
    }
    return found


def compare(folder: Path) -> dict[str, list[float]]:
    """Return by how much weights and what was logged are apart after both trainings, and how far weights moved."""
    gaps = {}
    for name, (objective, own, made) in cases().items():
        own = {"shuffle": True, "epochs": 2, "validate": True, "precision": "64-true", "batch": 8, **own}
        own.setdefault("optimization", Optimization("sgd", lr=0.1, momentum=0.0, weight_decay=0.0))
        batch, start = own.pop("batch"), weights(made())
        one, two = made().double(), made().double()
        logged = train(folder, objective, one, batch_size=batch, **{**own, "sync_batchnorm": False})
        shared = train(folder, objective, two, batch_size=batch // 2, devices=2, **own)
        apart = max(abs(logged[column] - shared[column]) for column in {**logged, **shared})
        values = [weights(two) - weights(one), weights(one) - start, torch.tensor(apart)]
        gaps[name] = greatest([value.norm() for value in values])
    return gaps


def greatest(values: list[Tensor]) -> list[float]:
    """Return the greatest of each number in the two processes."""
    together = torch.stack([value.double() for value in values])
    distributed.all_reduce(together, op=distributed.ReduceOp.MAX)
    return [float(value) for value in together]


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


def exchanges(folder: Path, count: int) -> int:
    """Return how often the processes call each other in an epoch, besides for the mean of gradients."""
    calls, real = 0, {name: getattr(distributed, name) for name in ("all_reduce", "broadcast", "barrier")}

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return real[name](*args, **options)

        return call

    try:
        for name in real:
            setattr(distributed, name, counted(name))
        train(folder, ALIGNED, network(), batch_size=4, devices=2, count=count, drop_last=True, validate=True)
    finally:
        for name, function in real.items():
            setattr(distributed, name, function)
    return calls


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    if status := main([*COMMAND.split(), "--out", str(out / "run")]):
        sys.exit(status)
    gaps, interrupted = compare(out / "by hand"), resumed(out / "by hand")
    calls = [exchanges(out / "by hand", count) for count in (16, 64)]
    if os.environ["LOCAL_RANK"] == "0":
        (out / "gaps.json").write_text(json.dumps(gaps))
        (out / "exchanges.json").write_text(json.dumps(calls))
        (out / "interrupted.json").write_text(json.dumps(interrupted))
