"""A run directory seen from outside: what tells one, how far its training got, and whether it has a network yet."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradsculpt.errors import RunError
from gradsculpt.locks import LOCK, writer
from gradsculpt.reading import LARGEST, read_json

CONFIG, DESCRIPTION, WEIGHTS = "config.yaml", "model.json", "model.safetensors"
"""The files of a run: what it is trained with, and, from its first epoch on, how its network is built, and weights."""

PUBLISHED = "config.json"
"""What stands in the place of the description in a run that was shared, as the Hugging Face Hub wants it."""

CHECKPOINTS, LAST, BEST = "checkpoints", "last", "best"
"""The folder of the checkpoints, and the names of the last one and of the best."""

METRICS = "metrics.csv"
"""The table of epochs."""

_MEND = "Copy it again from where the run was made, or train again."

RUN_FILES = (CONFIG, DESCRIPTION, WEIGHTS, METRICS)
"""The files that a training writes beside its checkpoints."""

_SCORES_LOCK = ".gradsculpt-scores.lock"


@dataclass(frozen=True)
class Reached:
    """How far the training of a network got.

    Args:
        epoch: The epoch that the weights are of, from 1.
        epochs: How many the training has, or was to have.
        keep: Which epoch's network a run keeps: best or last.
        val_accuracy: Accuracy on the validation images after that epoch, where it tells anything.
        finished: Whether the training has ended, so that no later epoch takes the place of this one.

    Example:
        >>> print(Reached(3, 20, "best", 0.612))
        epoch 3 of 20, the best so far (validation accuracy 0.612)
    """

    epoch: int
    epochs: int
    keep: str = "best"
    val_accuracy: float | None = None
    finished: bool = False

    def __str__(self) -> str:
        which = {"best": "the best", "last": "the last whole one"}[self.keep] + (
            "" if self.finished or self.keep == "last" else " so far"
        )
        score = "" if self.val_accuracy is None else f" (validation accuracy {self.val_accuracy:.3f})"
        return f"epoch {self.epoch} of {self.epochs}, {which}{score}"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Reached | None":
        """Return what stands in a description, or in the text entries of a file of weights; None if nothing does."""
        with suppress(KeyError, TypeError, ValueError):
            score, keep = values.get("val_accuracy"), str(values["keep"])
            if keep in ("best", "last"):
                accuracy = None if score is None else float(score)
                return cls(int(values["epoch"]), int(values["epochs"]), keep, accuracy, values.get("finished") is True)
        return None


def is_run(folder: str | Path) -> bool:
    """Tell a run directory, finished or not."""
    return any(os.path.isfile(Path(folder) / name) for name in (CONFIG, DESCRIPTION))


def described(folder: Path) -> Path:
    """Return the file that says how the network of a run is built, wherever it is there: of a shared run, another."""
    own, shared = folder / DESCRIPTION, folder / PUBLISHED
    return shared if os.path.isfile(shared) and not os.path.lexists(own) else own


def scores_lock(folder: Path) -> str:
    """Return the name of the lock of scores in a folder: a run has one for them, as it may be trained meanwhile."""
    return _SCORES_LOCK if is_run(folder) else LOCK


def is_finished(folder: Path) -> bool:
    """Tell whether the training of a run has ended; older runs have a description only then, and it says nothing."""
    with suppress(OSError, ValueError, AttributeError):
        return bool(read_json(described(folder)).get("finished", True))
    return False


def check_free(folder: Path) -> None:
    """Raise `RunError` if a folder holds a run, which a new training would overwrite."""
    if is_run(folder) or os.path.exists(folder / CHECKPOINTS / f"{LAST}.ckpt"):
        mend = "Pass --resume to go on with it, or another --out."
        raise RunError(f"{folder} already holds a run, which would be overwritten. {mend}")


def check_files(folder: Path) -> None:
    """Raise `RunError` if a file of a run is none, such as a pipe, which could be read for ever, or a table is huge."""
    for name in (CONFIG, DESCRIPTION, PUBLISHED, METRICS, *(f"{CHECKPOINTS}/{each}.ckpt" for each in (BEST, LAST))):
        path = folder / name
        if path.exists() and not path.is_file():
            raise RunError(f"{path} is a pipe, a device or a folder, and no file, so it cannot be read. {_MEND}")
        if name == METRICS and path.exists() and path.stat().st_size > LARGEST:
            raise RunError(f"{path} has more than {LARGEST >> 20} MiB, so it is no table of epochs. {_MEND}")


def check_trained(folder: Path) -> None:
    """Raise `RunError` unless a folder is the directory of a training of which one epoch at least is whole."""
    if os.path.isfile(folder):
        raise RunError(f"{folder} is a file; pass the run directory that it lies in.")
    if not os.path.isdir(folder):
        raise RunError(f"there is no run directory {folder}; pass the --out of a `gradsculpt train`.")
    check_files(folder)
    if os.path.isfile(described(folder)):
        return
    if by := writer(folder):
        raise RunError(
            f"{folder} has no {DESCRIPTION} yet, as its first epoch has not ended ({by}), so there is no network to "
            "look at. Wait until it has: the training says how long an epoch takes."
        )
    raise RunError(
        f"{folder} has no {DESCRIPTION}, so its training did not finish an epoch (or it is no run directory). "
        f"Go on with it by `gradsculpt train --out {folder} --resume`."
    )
