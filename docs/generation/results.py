"""The results: the pages of the folder results/, their pictures beside them, under one heading."""

import re
import shutil
from functools import partial
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def pages(folder: Path) -> dict[str, str]:
    """Return the page of each result, and copy its pictures beside it."""
    made = dict[str, str]()
    for readme in sorted(RESULTS.glob("*/README.md")):
        name = readme.parent.name
        made[f"results/{name}.md"] = _LINK.sub(partial(_linked, readme.parent), readme.read_text(encoding="utf-8"))
        for picture in readme.parent.glob("*.png"):
            target = folder / "results" / name / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
    return made


def _linked(home: Path, link: re.Match[str]) -> str:
    """Return a link of a README for its place in the site; what is no page and no picture is named as it is."""
    path = (home / link[1]).resolve()
    if path.suffix == ".png":
        return f"]({path.parent.name}/{path.name})"
    if path.name == "README.md" and path.parent.parent == RESULTS:
        return f"]({path.parent.name}.md)"
    return "](../../results.md)"
