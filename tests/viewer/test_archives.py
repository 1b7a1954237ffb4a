"""Archives that strangers upload: class folders come out, anything else is one sentence and leaves nothing behind."""

import io
import re
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gradsculpt.data.listing import find_parts, list_images
from gradsculpt.errors import DataError
from gradsculpt.viewer.archives import Limits, archive
from tests.viewer.hostile import Entry, classes, encoded, named, packed, photo, png_header
from tests.viewer.test_uploads import SENTENCE

LINK = stat.S_IFLNK | 0o777


def _everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("around", ["", "photos/", "a/b/photos/"])
def test_class_folders_come_out_whatever_is_around_them(tmp_path: Path, around: str) -> None:
    entries = [(f"{around}{name}", content) for name, content in classes(3)]
    entries += [(f"{around}.DS_Store", b"x"), ("__MACOSX/._x.png", b"x"), (f"{around}class 0/Thumbs.db", b"x")]
    found = archive(packed(tmp_path / "x.zip", entries), tmp_path / "out")
    listing = list_images(found)
    assert listing.classes == ("class 0", "class 1", "class 2")
    assert len(listing.files) == 6
    assert listing.files[0].read_bytes() == classes()[0][1]
    assert all(path.is_dir() or path.suffix == ".png" for path in found.rglob("*"))


def test_parts_come_out_as_parts(tmp_path: Path) -> None:
    entries = [(f"set/{part}/{name}", content) for part in ("train", "val") for name, content in classes()]
    train, val, test = find_parts(archive(packed(tmp_path / "x.zip", entries), tmp_path / "out"))
    assert (train.name, val and val.name, test) == ("train", "val", None)
    alone = [(f"train/{name}", content) for name, content in classes()]
    assert list_images(archive(packed(tmp_path / "y.zip", alone), tmp_path / "other")).classes == ("class 0", "class 1")


def test_folders_of_windows_and_names_of_all_the_world(tmp_path: Path) -> None:
    entries: list[Entry] = [(named("Kühe\\1.png"), photo()), ("犬/1.png", photo()), ("<b>/1.png", photo())]
    found = archive(packed(tmp_path / "x.zip", entries), tmp_path / "out")
    assert set(list_images(found).classes) == {"Kühe", "犬", "<b>"}


def test_what_only_claims_to_be_a_picture_is_left_out(tmp_path: Path) -> None:
    false = [("class 0/letter.png", b"Dear all"), ("class 1/print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n")]
    found = archive(packed(tmp_path / "x.zip", [*classes(), *false]), tmp_path / "out")
    assert len(list_images(found).files) == 4


def _zipped(entries: list[Entry]) -> Callable[[Path], Path]:
    return lambda path: packed(path, entries)


def _raw(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _patched(change: Callable[[bytearray], None]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        content = bytearray(packed(path, classes()).read_bytes())
        change(content)
        path.write_bytes(content)
        return path

    return write


def _encrypt(content: bytearray) -> None:
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(sign)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(sign, at + 1)


def _unusual(content: bytearray) -> None:
    at = content.find(b"PK\x01\x02")
    struct.pack_into("<H", content, at + 10, 14)  # LZMA, which may ask for any amount of memory


def _damage(content: bytearray) -> None:
    at = content.find(b"PNG")
    content[at + 2 : at + 12] = bytes(10)


def _inner() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("class 0/x.png", photo())
    return stream.getvalue()


BOMB = bytes(17_000_000)
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no zip": (_raw(b"This is a letter." * 99), "is not a zip archive"),
    "empty": (_raw(b""), "is empty"),
    "a picture": (_raw(photo()), "is not a zip archive"),
    "cut off": (_patched(lambda content: content.__delitem__(slice(len(content) // 2, None))), "is not a zip archive"),
    "damaged": (_patched(_damage), "is not a zip archive, or a damaged one"),
    "nothing in it": (_zipped([]), "holds no images"),
    "no image in it": (_zipped([("a/x.txt", b"x"), ("b/y.txt", b"y")]), "holds no images"),
    "no picture in it": (_zipped([("a/x.png", b"x"), ("b/y.png", b"y")]), "holds no picture"),
    "archives in it": (_zipped([("a/x.zip", _inner())]), "another archive .x.zip., which is not opened"),
    "no folders": (_zipped([("x.png", photo()), ("y.png", photo())]), "has no class folders"),
    "one folder": (_zipped([("cat/x.png", photo()), ("cat/y.png", photo())]), "has one class folder alone .cat."),
    "above": (_zipped([*classes(), (named("../evil.png"), photo())]), "names a place outside"),
    "above, further on": (_zipped([*classes(), (named("a/../../../evil.png"), photo())]), "names a place outside"),
    "above, of Windows": (_zipped([*classes(), (named("..\\..\\evil.png"), photo())]), "names a place outside"),
    "above, no image": (_zipped([*classes(), (named("../.bashrc"), b"x")]), "names a place outside"),
    "absolute": (_zipped([*classes(), (named("/tmp/evil.png"), photo())]), "names a place outside"),
    "absolute, of Windows": (_zipped([*classes(), (named("C:\\evil.png"), photo())]), "names a place outside"),
    "a network's": (_zipped([*classes(), (named("\\\\host\\evil.png"), photo())]), "names a place outside"),
    "a link": (_zipped([*classes(), (named("class 0/l.png", LINK), b"/etc/passwd")]), "which is a link"),
    "a link to a folder": (_zipped([(named("class 0", LINK), b"/tmp"), *classes()]), "which is a link"),
    "a device": (_zipped([*classes(), (named("class 0/d.png", stat.S_IFBLK), b"")]), "which is no plain file"),
    "no name": (_zipped([*classes(), (named("a/\0b.png"), photo())]), "name cannot be shown|names a place"),
    "a control": (_zipped([*classes(), (named("a/\x1b[2Jb.png"), photo())]), "name cannot be shown"),
    "a long name": (_zipped([*classes(), (named(f"{'x' * 300}/b.png"), photo())]), "name is too long"),
    "deep": (_zipped([*classes(), (named(f"{'x/' * 50}b.png"), photo())]), "has folders 51 deep"),
    "twice": (_zipped([*classes(), (named("class 0/0.png"), photo())]), "holds 0.png twice"),
    "by case alone": (_zipped([*classes(), ("class 0/A.png", photo()), ("class 0/a.png", photo())]), "are the same on"),
    "classes by case": (_zipped([*classes(), ("Class 0/9.png", photo())]), "are the same on many disks"),
    "by marks alone": (_zipped([("e\u0301/1.png", photo()), ("\u00e9/2.png", photo())]), "are the same on many disks"),
    "file and folder": (_zipped([*classes(), ("class 0/0.png/x.png", photo())]), "as a file and as a folder"),
    "folder and file": (_zipped([("a.png/x.png", photo()), ("a.png", photo())]), "as a file and as a folder"),
    "encrypted": (_patched(_encrypt), "is encrypted"),
    "unusual": (_patched(_unusual), "packed in an unusual way"),
    "a bomb": (_zipped([*classes(), ("class 0/bomb.png", BOMB)]), "unpacks to more than 16 MB"),
    "many pixels": (_zipped([*classes(), ("class 0/b.png", png_header(9000, 9000))]), "9,000 x 9,000 pixels"),
    "too many pixels": (_zipped([*classes(), ("class 0/b.png", png_header(20_000, 20_000))]), "millions of pixels"),
    "many files": (_zipped([(f"a/{i}.png", b"") for i in range(2500)]), "holds 2,500 images"),
    "many others": (_zipped([(f"{i}.txt", b"") for i in range(6000)]), "lists 6,000 files"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_one_sentence_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    write, said = REFUSED[kind]
    path = write(tmp_path / "x.zip")
    with pytest.raises(DataError, match=said) as raised:
        archive(path, tmp_path / "in" / "out")
    assert re.fullmatch(SENTENCE, str(raised.value)), str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert _everything(tmp_path) == ["in", "x.zip"]


def test_what_an_archive_says_of_sizes_is_not_believed(tmp_path: Path) -> None:
    def shrink(content: bytearray) -> None:
        for sign, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = content.rfind(sign)
            struct.pack_into("<I", content, at + place, 10)

    path = packed(tmp_path / "x.zip", [*classes(), ("class 0/bomb.png", BOMB)])
    content = bytearray(path.read_bytes())
    shrink(content)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        archive(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_disk_and_memory_stay_bounded(tmp_path: Path) -> None:
    """A list of very many files, and a bomb: neither is taken in."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    listed = entry * 300_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, len(listed), 0, 0)
    (tmp_path / "list.zip").write_bytes(listed + end)
    packed(tmp_path / "bomb.zip", [(f"c{i}/b.bmp", BOMB[:9_000_000]) for i in range(5)])
    code = """
import resource, sys
from pathlib import Path
from gradsculpt.errors import DataError
from gradsculpt.viewer.archives import Limits, archive
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, folder = peak(), Path(sys.argv[1])
for name in ("list", "bomb"):
    try:
        archive(folder / f"{name}.zip", folder / "out", limits=Limits(bytes=30_000_000))
    except DataError as error:
        print(error)
assert peak() - before < 25e6, peak() - before
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lists more than 5,000 files" in done.stdout
    assert "unpacks to more than 30 MB" in done.stdout


def test_the_bounds_are_those_that_are_told(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", classes(2, 3))
    sizes = [len(content) for _, content in classes(2, 3)]
    just = Limits(images=6, entries=6, file_bytes=max(sizes), bytes=sum(sizes), depth=2)
    assert len(list_images(archive(path, tmp_path / "out", limits=just)).files) == 6
    for change in (
        {"images": 5},
        {"entries": 5},
        {"file_bytes": max(sizes) - 1},
        {"bytes": sum(sizes) - 1},
        {"depth": 1},
    ):
        with pytest.raises(DataError):
            archive(path, tmp_path / "less", limits=replace(just, **change))  # type: ignore[arg-type]


def test_work_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    class Cancelled(BaseException):
        pass

    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        archive(packed(tmp_path / "x.zip", classes(3)), tmp_path / "out", check=check)
    assert _everything(tmp_path) == ["x.zip"]


def test_photographs_in_an_archive_are_read_as_those_in_a_folder(tmp_path: Path) -> None:
    from PIL import Image

    image = encoded(Image.new("RGB", (5000, 4000)), "JPEG")  # of more pixels than a picture of another kind may have
    found = archive(packed(tmp_path / "x.zip", [*classes(), ("class 0/big.jpg", image)]), tmp_path / "out")
    assert len(list_images(found).files) == 5
