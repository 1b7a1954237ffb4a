"""Symbolic links in folders that came from somewhere: what is written into a folder stays in it."""

from pathlib import Path

from gradsculpt.errors import RunError


def inside(folder: Path, name: str) -> Path:
    """Return a folder in another, or where it will be; raise `RunError` if it is a link, which would lead elsewhere.

    Example:
        >>> inside(Path("runs/en"), "cache").as_posix()
        'runs/en/cache'
    """
    path = folder / name
    if path.is_symlink():
        raise RunError(
            f"{path} is a link to {path.resolve()}, and what is written into {folder} stays in it. Put a folder in its "
            f"place, or name the other by an option such as --{name}-dir, where there is one."
        )
    return path


def unlinked(path: Path) -> Path:
    """Return the path of a file that is to be written; a link there is removed, and what it led to stays as it is.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "index.csv").symlink_to(Path(folder) / "precious")
        ...     _ = unlinked(Path(folder) / "index.csv").write_text("image")
        ...     sorted(each.name for each in Path(folder).iterdir())
        ['index.csv']
    """
    if path.is_symlink():
        path.unlink()
    return path
