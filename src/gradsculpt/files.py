"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a draft beside `path`, which takes its name when the block ends and is removed if the block fails.

    Whoever reads `path` meanwhile, or after a crash, finds what was there before. Folders above it are made.

    Raises:
        OSError: If the folder cannot be made, or the draft cannot be written or renamed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, whole(Path(folder) / "note.txt") as draft:
        ...     _ = draft.write_text("all of it")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, as some writers add or choose theirs by it.
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        # Or a crash of the machine could leave the new name on an empty file.
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
