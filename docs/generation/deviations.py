"""Where the code departs from its sources: every Deviation that a docstring has, in one list."""

import inspect
import re
from pathlib import Path
from typing import Any

from generation.public import PACKAGES, homes, members

_ENTRY = re.compile(r"^Deviations?: (.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)


def pages(folder: Path) -> dict[str, str]:
    """Return the list, which the page of the limits includes."""
    rows = dict[str, str]()
    for package in PACKAGES:
        for name, value in members(package).items():
            for text in found(value):
                rows.setdefault(f"{homes()[package]}.{name}", " ".join(text.split()))
    entries = "\n".join(f"- {{py:obj}}`{path}`: {text}" for path, text in rows.items())
    return {"deviations.md": f"# Deviations from the sources\n\n{entries}\n"}


def found(value: Any) -> list[str]:
    """Return the deviations that a docstring names."""
    return _ENTRY.findall(inspect.cleandoc(value.__doc__ or ""))
