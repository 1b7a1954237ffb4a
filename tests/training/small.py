"""Trainings of a few steps, as `gradsculpt train` sets them up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradsculpt.data import Augment, loader
from gradsculpt.data.base import ImageSet
from gradsculpt.data.batches import Share
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import Objective
from gradsculpt.training import ClassifierModule, Optimization, TrainSettings
from gradsculpt.training.fitting import build_trainer
from gradsculpt.training.normalisation import synchronize

SIDE, CLASSES = 8, 3


def images(count: int = 16) -> ImageSet:
    """Return noise with labels, and maps of what is important in it."""
    pixels = np.random.default_rng(0)
    return ImageSet(
        pixels.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        pixels.integers(0, CLASSES, count),
        ("a", "b", "c"),
        tuple(map(str, range(count))),
        pixels.random((count, SIDE, SIDE, 3), dtype=np.float32),
    )


def network(*, norm: bool = True) -> nn.Sequential:
    """Return a network in float32: convolution, batch norm, softplus, pooling, convolution, softplus, linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.Softplus(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Conv2d(6, 8, 2), nn.Softplus(), nn.Flatten(), nn.Linear(32, CLASSES))


def train(
    out: Path,
    objective: Objective,
    model: nn.Module,
    *,
    lr: float = 0.1,
    resume: Path | None = None,
    keep: Path | None = None,
    optimization: Optimization | None = None,
    tell: Callable[[str], None] = lambda note: None,
    count: int = 16,
    shuffle: bool = False,
    drop_last: bool = False,
    validate: bool = False,
    replays: int | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Train a network in place with plain gradient descent, in the order of the images, and return what was logged.

    The training goes on where the checkpoint `resume` stopped, and leaves one in `keep`. Of several processes, each
    calls this.
    """
    defaults: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "threads": 1}
    plain = Optimization("sgd", lr=lr, momentum=0.0, weight_decay=0.0, schedule="constant")
    chosen = TrainSettings(out, objective=objective, optimization=optimization or plain, **defaults | settings)
    module = ClassifierModule(
        model,
        objective,
        InputSpace((0.5,) * 3, (0.25,) * 3),
        chosen.augment or Augment(flip=False, crop=0.0),
        chosen.optimization,
        epochs=chosen.epochs,
        channels_last=chosen.channels_last,
        graphs=chosen.graphs,
        on_nan=chosen.on_nan,
        tell=tell,
    )
    if chosen.sync_batchnorm:
        synchronize(model)
    trainer = build_trainer(chosen, enable_checkpointing=False)  # two processes may train by themselves side by side
    share = Share(trainer.global_rank, trainer.world_size)
    replays = objective.requirements.replays if replays is None else replays
    order: dict[str, Any] = {"shuffle": shuffle or replays > 1, "drop_last": drop_last, "replays": replays}
    batches = loader(images(count), chosen.batch_size, share=share, placed=True, **order)
    held_out = loader(images(count), chosen.batch_size, share=share, placed=True, shuffle=False) if validate else None
    trainer.fit(module, batches, held_out, ckpt_path=resume, weights_only=True)
    if keep is not None:
        trainer.save_checkpoint(keep)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def weights(model: nn.Module) -> Tensor:
    """Return all parameters in one row."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])
