"""The results: the pages of the folder results/, their pictures beside them, under one heading."""

import re
import shutil
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def pages(folder: Path) -> dict[str, str]:
    """Return the page of each result, and copy its pictures beside it."""
    made = dict[str, str]()
    for readme in sorted(RESULTS.glob("*/README.md")):
        name = readme.parent.name
        made[f"results/{name}.md"] = _LINK.sub(lambda found: _linked(found[1], readme.parent, folder), _text(readme))
        for picture in readme.parent.glob("*.png"):
            target = folder / "results" / name / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
    return made


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _linked(target: str, home: Path, folder: Path) -> str:
    """Return a link of a README for its place in the site; what is no page and no picture is named as it is."""
    path = (home / target).resolve()
    if path.suffix == ".png":
        return f"]({path.parent.name}/{path.name})"
    if path.name == "README.md" and path.parent.parent == RESULTS:
        return f"]({path.parent.name}.md)"
    return "](../../results.md)"
