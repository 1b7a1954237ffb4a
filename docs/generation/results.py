"""The results: the pages of the folder results/, their pictures beside them, under one heading."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from gradsculpt import studies

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
    made["studies.md"] = "".join(_studies())
    costs = (RESULTS / "benchmarks.txt").read_text(encoding="utf-8")
    costs = f"```text\n{costs}```\n"
    made["costs.md"] = (
        "# Costs\n\nAfter this page you know what each method and each map costs, on what, and by which command it was "
        f"measured. Each ratio compares both sides in one run. A card's are in [gpu](results/gpu.md).\n\n{costs}"
    )
    return made


def _studies() -> Iterator[str]:
    """Yield the table of all studies: what each is of, and how many statements of its source held here."""
    yield (
        "# The papers' tables and figures\n\nAfter this page you know which table or figure of the papers was made "
        "here, and which was not. `gradsculpt study run NAME --scale cpu` makes one; `paper` is as published.\n\n"
        "| study | what it is | source | what came out at the scale cpu |\n| --- | --- | --- | --- |\n"
    )
    for path in sorted((Path(studies.__file__).parent / "shipped").glob("*.yaml")):
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        readme = RESULTS / path.stem / "README.md"
        name = f"[{path.stem}](results/{path.stem}.md)" if readme.is_file() else f"`{path.stem}`"
        yield f"| {name} | {told['title']} | {told['source']} | {_outcome(readme)} |\n"


def _outcome(readme: Path) -> str:
    """Return how many statements of the source held, as the page of a result counts them."""
    if not readme.is_file():
        return "not run"
    counted = re.search(r"^Of (\d+ statements?, .*)\.$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    return f"of {counted[1]}" if counted else "no statement to test"


def _linked(home: Path, link: re.Match[str]) -> str:
    """Return a link of a README for its place in the site; what is no page and no picture is named as it is."""
    path = (home / link[1]).resolve()
    if path.suffix == ".png":
        return f"]({path.parent.name}/{path.name})"
    if path.name == "README.md" and path.parent.parent == RESULTS:
        return f"]({path.parent.name}.md)"
    return "](../../results.md)"
