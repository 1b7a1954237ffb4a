"""What a training keeps at the end of an epoch: a checkpoint to go on from, and a network that can be used at once."""

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gradsculpt.runs import BEST, CHECKPOINTS, LAST, METRICS, Reached
from gradsculpt.seals import OPEN, SEAL, seal
from gradsculpt.training import table
from gradsculpt.training.resuming import ROWS, TABLE, CheckpointInRun, check_archive, checkpoint, table_of
from gradsculpt.training.settings import TrainSettings


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

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint; raise `RunError` if it is not what was written."""
        check_archive(Path(path))
        return super().load_checkpoint(path, *args, **options)


def _save(content: Any, path: Path) -> None:
    """Write by PyTorch, whose error of a full disk speaks of positions in its archive alone."""
    comment = f"{SEAL} {OPEN}".encode()
    try:
        with path.open("w+b") as stream:
            torch.save(content, stream)
            stream.seek(-2, os.SEEK_END)  # the length of the archive's comment, which is its end
            stream.write(len(comment).to_bytes(2, "little") + comment)
        seal(path)
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
        content = checkpoint(path)
        module.load_state_dict(content["state_dict"])
        epoch = int(content["epoch"]) + 1
        if settings.keeps_last:
            score = _in_table(table_of(content) or table.rows(settings.out / METRICS), epoch)
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


def _in_table(rows: Sequence[Mapping[str, str]], epoch: int) -> str | None:
    """Return the validation accuracy of an epoch as it stands in the table of metrics."""
    return next((row.get("val_accuracy") for row in rows if table.reached(row) == epoch), None)


def _number(score: Any) -> float | None:
    return float(score) if score not in (None, "") else None


class MetricsTable(Callback):
    """Writes one row an epoch to a CSV file; a resumed run keeps the rows of the epochs it keeps.

    Checkpoints have the rows as well, so that none is lost with the file. `tell` is given what has to be known of that.
    """

    def __init__(self, path: Path, tell: Callable[[str], None] = lambda note: None) -> None:
        self._path, self._tell, self._started = path, tell, 0.0
        self._rows: list[dict[str, str]] = []

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint."""
        return TABLE

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {ROWS: self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows over."""
        self._rows = [dict(row) for row in state_dict[ROWS]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the rows of the epochs before this one, if no checkpoint had them, or write what the file lacks."""
        if not trainer.is_global_zero:
            return
        done, both = trainer.current_epoch, (table.rows(self._path), self._rows)
        there, kept = ([row for row in rows if table.reached(row) <= done] for rows in both)
        if kept and kept != there:
            self._tell(f"{self._path} lacked epochs, or had others, and is written again from the checkpoint")
        elif len(there) < done:
            self._tell(f"{self._path} has {len(there)} of the {done} epochs before; the others are lost")
        self._rows = kept or there
        if kept and kept != there:
            self._write()

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
        self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with in_run(self._path, lasting=False) as draft:
            with draft.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [*columns, f"{SEAL} {OPEN}"])
                writer.writeheader()
                writer.writerows(self._rows)
            seal(draft)
