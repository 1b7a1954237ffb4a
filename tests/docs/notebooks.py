"""The notebooks of docs/: `python -m tests.docs.notebooks [NAME ...]` runs them whole, and tells seconds and pictures.

A notebook has one cell with the tag `parameters`; the suite runs it with those of `SMALL` in their place.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
BOOKS = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}

SMALL = {
    "train": "epochs, count = 1, 80",
    "audit": "epochs, count, steps = 1, 64, 2",
    "compare": "epochs, count, seeds = 1, 64, (0,)",
}
"""What makes each small."""

PARAMETERS = "parameters"
_SECONDS = 300


def read(name: str) -> Any:
    """Return a notebook as it is stored."""
    return nbformat.read(BOOKS[name], as_version=4)  # type: ignore[no-untyped-call]


def tagged(notebook: Any) -> list[Any]:
    """Return the cells that hold the parameters."""
    return [cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ())]


def ran(name: str, folder: Path, *, small: bool) -> Any:
    """Return a notebook with its outputs, run in a folder; raise `CellExecutionError` at the first cell that fails."""
    notebook = read(name)
    if small:
        (cell,) = tagged(notebook)
        cell.source = SMALL[name]
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=_SECONDS, kernel_name="python3", resources=resources).execute()
    return notebook


def pictures(notebook: Any) -> Iterator[str]:
    """Yield the pictures of a notebook that was run, in base64."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                yield output.data["image/png"]


def errors(notebook: Any) -> list[str]:
    """Return what a notebook that was run wrote on standard error."""
    return [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stderr"
    ]


def main() -> int:
    """Run notebooks whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BOOKS))
    parser.add_argument("--keep", type=Path, help="a folder for the notebooks with their outputs")
    given = parser.parse_args()
    for name in given.names or BOOKS:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            notebook = ran(name, Path(folder), small=False)
        said = f"{name}: {time.monotonic() - started:.1f} s, {len(list(pictures(notebook)))} pictures"
        sys.stdout.write(f"{said}{', but wrote on standard error' if errors(notebook) else ''}\n")
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, given.keep / f"{name}.ipynb")  # type: ignore[no-untyped-call]
    return 0


if __name__ == "__main__":
    sys.exit(main())
