"""What the site says of the code is read from the code: these pages are written into docs/generated at each build."""

from pathlib import Path
from typing import Any

from generation import commands, deviations, docstrings, mathml, python, recipes, results, scores

PAGES = (python.pages, commands.pages, recipes.pages, scores.pages, deviations.pages, results.pages)
"""Each takes the folder of the pages and returns their texts by their paths in it."""


def setup(app: Any) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    mathml.setup(app)
    docstrings.setup(app)
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(folder: Path) -> None:
    """Write all pages into a folder, those that have not changed excepted, and delete what is not made any more."""
    texts = {folder / name: text for make in PAGES for name, text in make(folder).items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if path not in texts:
            path.unlink()
