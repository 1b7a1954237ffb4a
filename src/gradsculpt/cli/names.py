"""Names of files: safe on any system, and unlike each other."""

import re
from collections.abc import Iterable
from pathlib import Path

from gradsculpt.data.listing import SUFFIXES


def file_name(text: str) -> str:
    """Return a text as one name of a file on any system, without the suffix of an image.

    Example:
        >>> file_name("test/my cat.png")
        'test_my_cat'
    """
    path = Path(text)
    return re.sub(r"[^\w.=-]+", "_", str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else text))


def numbered(names: Iterable[str]) -> list[str]:
    """Return names unlike each other: one that was there before gets a number.

    Example:
        >>> numbered(["run", "run-2", "run", "run"])
        ['run', 'run-2', 'run-3', 'run-4']
    """
    taken: dict[str, None] = {}
    for name in names:
        number, unlike = 1, name
        while unlike in taken:
            number += 1
            unlike = f"{name}-{number}"
        taken[unlike] = None
    return list(taken)
