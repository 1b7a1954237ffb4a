"""A run directory seen from outside: what tells one, and a finished one from others."""

from pathlib import Path

from gradsculpt.errors import RunError

CONFIG, DESCRIPTION = "config.yaml", "model.json"
"""The files that tell a run: what it is trained with, and, once the training has ended, how its network is built."""


def is_run(folder: str | Path) -> bool:
    """Tell a run directory, finished or not."""
    return any((Path(folder) / name).is_file() for name in (CONFIG, DESCRIPTION))


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
