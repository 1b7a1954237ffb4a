"""What a training keeps at the end of an epoch: a checkpoint to go on from, and a network that can be used at once."""

import csv
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gradsculpt.errors import RunError, first_line
from gradsculpt.files import whole
from gradsculpt.machine import is_first_process
from gradsculpt.models.checkpoint import write
from gradsculpt.runs import CHECKPOINTS, LAST, Reached
from gradsculpt.training import table
from gradsculpt.training.resuming import BEST, CheckpointInRun
from gradsculpt.training.settings import TrainSettings
from gradsculpt.training.table import METRICS


class NotKeptError(RunError):
    """A file of the run cannot be written, for want of room most likely."""


@contextmanager
def in_run(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a draft of a file of the run, as `whole`; raise `NotKeptError` if it cannot be written."""
    try:
        with whole(path, lasting=lasting) as draft:
            yield draft
    except OSError as error:
        raise NotKeptError(f"{path} cannot be written ({error.strerror or error})") from error


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints that appear whole or not at all; what is kept twice of one epoch leaves the device once."""

    def __init__(self) -> None:
        self._written: tuple[int, int, Path] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        path, moment = Path(path), (checkpoint["epoch"], checkpoint["global_step"])
        with in_run(path, lasting=False) as draft:
            if self._written is not None and self._written[:2] == moment and self._written[2] != path:
                shutil.copyfile(self._written[2], draft)
            else:
                _save(checkpoint, draft)
        self._written = (*moment, path)


def _save(content: Any, path: Path) -> None:
    """Write by PyTorch, whose error of a full disk speaks of positions in its archive alone."""
    try:
        with path.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:
        reason = error.__context__
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__context__
        raise reason or OSError(f"PyTorch says: {first_line(error)}") from error


class UsableNetwork(Checkpoint):
    """Puts the network of the best epoch so far into the run, or that of the last epoch if the run keeps that.

    It comes after the checkpoints: whoever finds the network finds what to go on from as well.
    """

    def __init__(self, settings: TrainSettings, best: CheckpointInRun, description: Mapping[str, Any]) -> None:
        self._settings, self._best, self._description = settings, best, description
        self._score: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the score to beat, which a training that goes on has from before."""
        self._score = _number(self._best.best_model_score)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the network if it is the one to keep."""
        before, self._score = self._score, _number(self._best.best_model_score)
        if self._settings.keeps_last or before != self._score:
            self._put(pl_module, trainer.current_epoch + 1, _number(trainer.callback_metrics.get("val_accuracy")))

    def take(self, module: Any, *, finished: bool = False) -> Reached:
        """Give a module the network to keep from its checkpoint, and write that; return how far it got."""
        folder, settings = self._settings.out / CHECKPOINTS, self._settings
        path = folder / f"{BEST}.ckpt"
        if settings.keeps_last or not path.exists():
            path = folder / f"{LAST}.ckpt"
        content = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(content["state_dict"])
        epoch = int(content["epoch"]) + 1
        if settings.keeps_last:
            score = _in_table(settings.out / METRICS, epoch)
        else:
            score = content.get("callbacks", {}).get(self._best.state_key, {}).get("best_model_score")
        return self._put(module, epoch, _number(score), finished=finished)

    def _put(self, module: Any, epoch: int, score: float | None, *, finished: bool = False) -> Reached:
        """Write the network of a module, which is that of an epoch with an accuracy; the first process does."""
        settings = self._settings
        score, keep = None if settings.shuffle_labels else score, "last" if settings.keeps_last else "best"
        extra = {**self._description["extra"], "val_accuracy": score}
        reached = Reached(epoch, settings.epochs, keep, score, finished)
        if is_first_process():
            description = {**self._description, "extra": extra}
            write(settings.out, module.network, description, reached, lasting=finished)
        return reached


def _in_table(path: Path, epoch: int) -> str | None:
    """Return the validation accuracy of an epoch as it stands in the table of metrics."""
    return next((row.get("val_accuracy") for row in table.rows(path) if table.reached(row) == epoch), None)


def _number(score: Any) -> float | None:
    return float(score) if score not in (None, "") else None


class MetricsTable(Callback):
    """Writes one row an epoch to a CSV file; a resumed run keeps the rows of the epochs it keeps."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, 0.0
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the rows of the epochs before this one."""
        self._rows = [row for row in table.rows(self._path) if table.reached(row) <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row and write the table."""
        if not trainer.is_global_zero:
            return
        row = {"epoch": str(trainer.current_epoch + 1), "step": str(trainer.global_step)}
        row["learning_rate"] = f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}"
        row |= {name: f"{float(value):.6g}" for name, value in sorted(trainer.callback_metrics.items())}
        row["seconds"] = f"{time.monotonic() - self._started:.2f}"
        self._rows.append(row)
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with in_run(self._path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)
