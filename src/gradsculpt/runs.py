"""A run directory seen from outside: what tells one, and a finished one from others."""

from pathlib import Path

from gradsculpt.errors import RunError

CONFIG, DESCRIPTION = "config.yaml", "model.json"
"""The files that tell a run: what it is trained with, and, once the training has ended, how its network is built."""

CHECKPOINTS, LAST = "checkpoints", "last"
"""The folder of the checkpoints, and the name of the last one."""


def is_run(folder: str | Path) -> bool:
    """Tell a run directory, finished or not."""
    return any((Path(folder) / name).is_file() for name in (CONFIG, DESCRIPTION))


def check_free(folder: Path) -> None:
    """Raise `RunError` if a folder holds a run, which a new training would overwrite."""
    if is_run(folder) or (folder / CHECKPOINTS / f"{LAST}.ckpt").exists():
        mend = "Pass --resume to go on with it, or another --out."
        raise RunError(f"{folder} already holds a run, which would be overwritten. {mend}")


def check_finished(folder: Path) -> None:
    """Raise `RunError` unless a folder is the directory of a finished training."""
    if folder.is_file():
        raise RunError(f"{folder} is a file; pass the run directory that it lies in.")
    if not folder.is_dir():
        raise RunError(f"there is no run directory {folder}; pass the --out of a `gradsculpt train`.")
    if not (folder / DESCRIPTION).is_file():
        raise RunError(
            f"{folder} has no {DESCRIPTION}, so its training did not finish (or it is no run directory). "
            f"Go on with it by `gradsculpt train --out {folder} --resume`."
        )
