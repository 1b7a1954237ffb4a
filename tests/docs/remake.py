"""Makes the pictures of pages anew, by their blocks at full size: python -m tests.docs.remake tutorial/two-networks."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.docs.blocks import DOCS, PAGES, document
from tests.docs.photos import bring
from tests.docs.test_pages import MOST, pictures


def remake(page: str, folder: Path) -> None:
    """Run the blocks of a page in a folder, and copy what they leave to docs/pictures."""
    os.environ["MPLBACKEND"] = "agg"
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    bring(folder)
    for example in document(PAGES[page], small=False).examples():
        example.evaluate()
    for shown in pictures(page):
        keep(folder / shown.relative_to(DOCS / "pictures" / page), shown)


def keep(made: Path, shown: Path) -> None:
    """Copy a picture; one that is too large with fewer colours, and then with fewer pixels."""
    shown.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, shown)
    picture, scale = Image.open(made), 1.0
    while shown.stat().st_size >= MOST and made.suffix == ".png":
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.convert("RGB").resize(size).quantize(256, kmeans=5, dither=Image.Dither.NONE).save(shown, optimize=True)
        scale *= 0.85


if __name__ == "__main__":
    for each in sys.argv[1:] or PAGES:
        with tempfile.TemporaryDirectory() as place:
            remake(each, Path(place))
