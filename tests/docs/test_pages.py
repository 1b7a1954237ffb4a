"""Every block of every page runs, and leaves the pictures that the page shows."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.blocks import DOCS, FENCE, PAGES, document
from tests.docs.photos import bring

PICTURE = re.compile(r"!\[[^\]]*\]\((?P<path>[^)]*pictures/[^)]+)\)")
MOST = 300_000


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    bring(tmp_path)
    examples = list(document(PAGES[page], small=True).examples())
    for example in examples:
        example.evaluate()
    for shown in pictures(page):
        made = tmp_path / shown.relative_to(DOCS / "pictures" / page)
        assert made.is_file(), f"no block of {page} makes {made.name}"
        if made.parent == tmp_path:  # by a block of Python, as it stands
            assert alike(made, shown) < 0.02, f"{shown} is not what the blocks make; python -m tests.docs.remake {page}"


@pytest.mark.parametrize("page", PAGES)
def test_pictures_are_there_and_small(page: str) -> None:
    for shown in pictures(page):
        assert shown.is_file(), f"{shown} is missing; python -m tests.docs.remake {page}"
        assert os.stat(shown).st_size < MOST, shown


def test_every_picture_is_shown() -> None:
    shown = {picture for page in PAGES for picture in pictures(page)}
    assert {path for path in (DOCS / "pictures").rglob("*.*") if path.is_file()} == shown


@pytest.mark.parametrize("page", PAGES)
def test_fences_are_closed(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    assert not re.search(r"^(```|:::)", FENCE.sub("", text), re.MULTILINE)


def pictures(page: str) -> list[Path]:
    """Return the pictures that a page shows, of those made by its blocks."""
    text = PAGES[page].read_text(encoding="utf-8")
    return [(PAGES[page].parent / found["path"]).resolve() for found in PICTURE.finditer(text)]


def alike(a: Path, b: Path) -> float:
    """Return the mean distance of the pixels of two pictures, of which 1 is the largest; 1 if their sizes differ."""
    first, second = (np.asarray(Image.open(path).convert("RGB"), dtype=float) for path in (a, b))
    return float(np.abs(first - second).mean() / 255) if first.shape == second.shape else 1.0
