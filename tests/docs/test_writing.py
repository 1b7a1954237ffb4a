"""How pages are written: what they begin with, where their links lead, and that the README's commands can be read."""

import re

import pytest

from gradsculpt.cli.main import COMMANDS
from tests.docs.blocks import DOCS, FENCE, PAGES, commands, read

README = DOCS.parent / "README.md"
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
OUTSIDE = re.compile(r"https://[a-z0-9.-]+\.[a-z]{2,}(/[\w./~%#?=&+-]*)?")


def prose(page: str) -> str:
    """Return the text of a page without its blocks."""
    return FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_says_first_what_the_reader_can_do_afterwards(page: str) -> None:
    lead = prose(page).strip().split("\n\n")[1]
    assert re.search(r"\bafter (this|these) pages?\b", lead, re.IGNORECASE), lead


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for found in LINK.finditer(prose(page)):
        target = found["target"]
        if ":" in target:
            assert OUTSIDE.fullmatch(target), target
        else:
            path = (PAGES[page].parent / target.partition("#")[0]).resolve()
            assert path.is_file() or "generated" in path.parts, target


@pytest.mark.parametrize("page", PAGES)
def test_lines_can_be_read_in_an_editor(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    assert "\t" not in text
    assert text.endswith("\n")
    assert not re.search(r"[ ]$", text, re.MULTILINE)


def test_the_commands_of_the_readme_can_be_read() -> None:
    blocks = [block["text"] for block in FENCE.finditer(README.read_text(encoding="utf-8")) if not block["kind"]]
    lines = [words for block in blocks for words in commands(block) if words and words[0] == "gradsculpt"]
    assert len(lines) > 20
    for words in lines:
        if words[1] in COMMANDS and not any("mine" in word for word in words):
            read(words[1:])
