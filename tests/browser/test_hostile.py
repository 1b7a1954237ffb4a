"""What a stranger may upload: each is answered with a sentence, and the page goes on for everybody."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from tests.browser.served import Server
from tests.browser.visiting import START, Visit, is_a_sentence, said, status
from tests.viewer.hostile import encoded, packed, photo, png_header

PNG = photo()
_TURNED = Image.Exif()
_TURNED[0x0112] = 6
_FRAMES = [Image.new("RGB", (24, 24), (80 * i, 10, 10)) for i in range(3)]
_SCRIPT = b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = "taken"</script></svg>'

REFUSED = {
    "nothing.png": b"",
    "text.png": b"this is no picture",
    "drawing.svg": _SCRIPT,
    "drawing.png": _SCRIPT,
    "half.png": encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))[:6000],
    "bomb.png": png_header(20_000, 20_000),
}
TAKEN = {
    "turned.jpg": encoded(Image.new("RGB", (40, 24), (90, 40, 40)), "JPEG", exif=_TURNED),
    "clear.png": encoded(Image.new("RGBA", (24, 24), (90, 40, 40, 100))),
    "deep.png": encoded(Image.fromarray(np.full((24, 24), 40_000, dtype=np.uint16))),
    "moving.gif": encoded(_FRAMES[0], "GIF", save_all=True, append_images=_FRAMES[1:]),
    "../../above.png": PNG,
    "..\\..\\above.png": PNG,
    "<img src=x onerror=document.title='taken'>.png": PNG,
    "${7*7}{{7*7}}.png": PNG,
}


@pytest.fixture(scope="module")
def other(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve strangers alone, so that all that is written can be looked at."""
    server = Server(tmp_path_factory.mktemp("strangers") / "place", [str(runs / "plain")])
    yield server
    server.close()


@pytest.fixture(scope="module")
def before(other: Server) -> set[str]:
    """Return the files that there are before anything is uploaded."""
    other.address()
    return other.files()


@pytest.fixture(scope="module")
def stranger(other: Server, before: set[str], browser: Browser) -> Iterator[Visit]:
    visitor = Visit(browser, other.address())
    said(visitor.tab("Explain"), START)
    yield visitor
    visitor.close()


def works(visitor: Visit, panel: Locator) -> None:
    """See that an honest visitor is served."""
    visitor.upload(panel, {"name": "honest.png", "mimeType": "image/png", "buffer": PNG})
    said(panel, "then press Explain")
    visitor.press(panel, "Explain")
    said(panel, "Done.")
    assert visitor.page.title() == "gradsculpt"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_a_sentence(stranger: Visit, other: Server, name: str) -> None:
    panel = stranger.tab("Explain")
    status(panel).evaluate("line => line.dataset.old = true")
    stranger.upload(panel, {"name": name, "mimeType": "image/png", "buffer": REFUSED[name]})
    told = said(panel, re.compile(re.escape(name.rpartition(".")[0]), re.IGNORECASE))
    expect(panel.locator(".gs-failed")).to_be_visible()
    assert is_a_sentence(told, other.place), told
    works(stranger, panel)


@pytest.mark.parametrize("name", TAKEN)
def test_odd_pictures_are_taken_and_their_names_are_names(stranger: Visit, other: Server, name: str) -> None:
    panel = stranger.tab("Explain")
    status(panel).evaluate("line => line.dataset.old = true")
    stranger.upload(panel, {"name": name, "mimeType": "image/png", "buffer": TAKEN[name]})
    told = said(panel, "then press Explain")
    assert is_a_sentence(told, other.place), told
    if name.isascii() and name[0].isalpha():
        assert name in told  # what was done to it is said
    stranger.press(panel, "Explain")
    said(panel, "Done.")
    assert stranger.page.title() == "gradsculpt"
    assert not panel.locator("img[onerror]").count()


def bomb(path: Path) -> Path:
    """Write a zip of 2 GB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(8):
            with file.open(f"class {i % 2}/{i}.png", "w") as entry:
                for _ in range(8):
                    entry.write(bytes(2**22))
    return path


def text(path: Path) -> Path:
    path.write_text("no archive")
    return path


ZIPS: dict[str, Callable[[Path], Path]] = {
    "climbing.zip": lambda path: packed(path, [("../../climbed.png", PNG), ("a/1.png", PNG), ("b/1.png", PNG)]),
    "bomb.zip": bomb,
    "empty.zip": lambda path: packed(path, []),
    "text.zip": text,
}


@pytest.mark.parametrize("name", ZIPS)
def test_hostile_zips_are_refused_in_a_sentence(stranger: Visit, other: Server, name: str, tmp_path: Path) -> None:
    panel = stranger.tab("Train, small")
    panel.get_by_label("My own pictures").check()
    stranger.upload(panel, ZIPS[name](tmp_path / name))
    expect(panel.get_by_role("button", name="Clear", exact=True)).to_be_visible()
    stranger.press(panel, "Train")
    expect(panel.locator(".gs-failed p:not([data-old])")).to_be_visible()
    told = status(panel).inner_text()
    assert is_a_sentence(told, other.place), told
    panel.get_by_role("button", name="Clear", exact=True).click()
    works(stranger, stranger.tab("Explain"))


@pytest.mark.parametrize("path", ["home/secret.png", "/etc/passwd", "../../../etc/passwd"])
def test_files_of_the_server_cannot_be_had(other: Server, browser: Browser, path: str) -> None:
    """A browser that lies about where its upload is gets nothing of it, and no trace or path either."""
    secret = other.place / "home" / "secret.png"
    secret.write_bytes(PNG)
    wanted = str(secret) if path.endswith(secret.name) else path
    visitor = Visit(browser, other.address())
    said(visitor.tab("Explain"), START)
    visitor.page.route("**/upload?*", lambda route: route.fulfill(json=[wanted]))
    visitor.upload(visitor.tab("Explain"), {"name": "mine.png", "mimeType": "image/png", "buffer": PNG})
    expect(visitor.page.locator(".toast-body, .gs-failed").first).to_be_visible()
    shown = visitor.page.locator("body").inner_text()
    assert not any(each in shown for each in ("root:", "Traceback", str(other.place), "site-packages"))
    answer = visitor.page.request.get(f"{other.address()}/gradio_api/file={wanted}")
    assert answer.status in (403, 404)
    visitor.context.close()
    secret.unlink()


def test_a_name_that_climbs_is_kept_below_by_the_server(stranger: Visit, other: Server) -> None:
    for name in ("../../climbed.png", "/climbed.png", "a/../../../climbed.png"):
        form: Any = {"files": {"name": name, "mimeType": "image/png", "buffer": PNG}}
        stranger.page.request.post(f"{other.address()}/gradio_api/upload", multipart=form)
    assert all(other.temporary in path.parents for path in other.place.rglob("climbed*"))


def test_ctrl_c_ends_it_and_nothing_is_left(stranger: Visit, other: Server, before: set[str]) -> None:
    assert any(other.temporary.iterdir())
    assert other.interrupt() == 130
    assert other.said.splitlines()[-1] == "gradsculpt: interrupted. The page is closed."
    assert "Traceback" not in other.said
    assert list(other.temporary.iterdir()) == []
    assert other.files() == before
    stranger.faults[:] = [fault for fault in stranger.faults if "ERR_" not in fault]  # it is gone
    assert io.StringIO(other.said).readline().startswith("The page is at ")
