"""What a training tells of itself: lines with an estimate of the time left, and rows of a table."""

import io
from types import SimpleNamespace
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console

from gradsculpt.progress import Reporter
from gradsculpt.training.run import EpochLines


def told(first: int, *, seconds: float = 10.0, epochs: int = 10) -> list[str]:
    """Return the lines of two epochs of a training that starts or goes on with epoch `first`, counted from 0."""
    text, now = io.StringIO(), 1000.0
    lines = EpochLines(Reporter(Console(file=text, width=200)), clock=lambda: now)
    metrics = {"train_loss": torch.tensor(0.5), "val_accuracy": torch.tensor(0.25), "secret": torch.tensor(1.0)}
    state: Any = SimpleNamespace(current_epoch=first, max_epochs=epochs, callback_metrics=metrics)
    trainer, module = cast(Trainer, state), cast(LightningModule, None)
    now += 500.0  # what comes before the training is none of it
    lines.on_train_start(trainer, module)
    for epoch in (first, first + 1):
        state.current_epoch = epoch
        now += seconds
        lines.on_train_epoch_end(trainer, module)
    return text.getvalue().splitlines()


def test_the_time_left_is_that_of_the_epochs_so_far() -> None:
    assert told(0) == [
        "epoch 1/10  train_loss 0.500  val_accuracy 0.250  10 s, about 90 s left",
        "epoch 2/10  train_loss 0.500  val_accuracy 0.250  20 s, about 80 s left",
    ]


def test_the_epochs_before_a_resume_took_none_of_the_time() -> None:
    # Two epochs of 10 s; 2 are left, which will take 20 s, although 8 are done after 20 s.
    assert [line.partition("0.250  ")[2] for line in told(6)] == ["10 s, about 30 s left", "20 s, about 20 s left"]
