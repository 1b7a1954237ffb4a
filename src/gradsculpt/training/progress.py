"""What a training reports while it runs: metrics.csv, and lines in a log."""

import csv
import time
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from gradsculpt.progress import Estimate, Reporter


class MetricsTable(Callback):
    """Writes one row an epoch to a CSV file; a resumed run keeps the rows of the epochs it keeps."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, 0.0
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the rows of the epochs before this one."""
        if self._path.exists():
            with self._path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]

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
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)


class EpochLines(Callback):
    """Writes one plain line an epoch, for logs; terminals get a progress bar instead."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter, self._estimate = reporter, Estimate(clock)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; epochs of a training that is resumed took none of its time."""
        self._estimate.resumed(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's line with an estimate of the time left."""
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        metrics = trainer.callback_metrics
        shown = (name for name in ("train_loss", "train_accuracy", "val_accuracy", "val_gini") if name in metrics)
        values = "  ".join(f"{name} {float(metrics[name]):.3f}" for name in shown)
        spent, left = self._estimate.spent(), self._estimate.left(done, total)
        self._reporter.say(f"epoch {done}/{total}  {values}  {spent:.0f} s, about {left:.0f} s left")
