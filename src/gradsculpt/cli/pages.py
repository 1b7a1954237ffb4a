"""The page of a command that scores: its options, where it may stand, and the folder of its scores."""

import os
from pathlib import Path

from gradsculpt.accidents import check_kinds
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.parser import Parser
from gradsculpt.errors import ArgumentError, RunError

_OTHER_KINDS = {".pdf", ".jpg", ".jpeg", ".svg", ".json", ".csv", ".md", ".txt", ".docx"}


def add_page_options(parser: Parser, option: str, default: Path | None, told: str) -> None:
    """Add the options of a page: its file, and how many images it shows."""
    parser.add_argument(option, type=Path | None, default=default, help=told)
    parser.add_argument("--count", type=int, default=8, limit=at_least(1), help="Images whose maps are shown.")


def check_page(page: Path) -> None:
    """Raise `ArgumentError` or `RunError` if no page can be written there."""
    kind = page.suffix.lower()
    fact = ""
    if os.path.isdir(page):
        fact = "a folder"
    elif kind == ".png":
        fact = "the name of the picture beside it"
    elif kind in _OTHER_KINDS:
        fact = f"the name of a {kind} file"
    if fact:
        raise ArgumentError(f"{page} is {fact}, so no page can be written there; pass the name of a file, .html.")
    check_kinds(page.parent, [f"{page.stem}.png"], [scores_folder(page).name])
    above = next(folder for folder in page.absolute().parents if os.path.exists(folder))
    if not (os.path.isdir(above) and os.access(above, os.W_OK)):
        fact = "may not be written to" if os.path.isdir(above) else "is no folder"
        raise RunError(f"the page {page} cannot be written, as {above} {fact}; pass the name of another file.")


def scores_folder(page: Path) -> Path:
    """Return where the scores that a page shows are kept, a folder a network: those of the runs themselves stay."""
    return page.with_name(f"{page.stem}-scores")
