"""Images that are decoded at the same time share one limit of memory."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data import decode as decoding
from gradsculpt.data.decode import decode_grey, decode_whole, decode_with_size
from gradsculpt.data.decoders import Decoders
from gradsculpt.data.room import ROOM, SMALL, LargeError, Room, size_of
from gradsculpt.errors import DataError

MEBIBYTE = 1 << 20


def test_what_is_taken_at_once_stays_within_the_limit() -> None:
    room, lock, now, most = Room(100 * MEBIBYTE), threading.Lock(), 0, 0
    sizes = [40, 60, 90, 33, 70, 100, 50, 45, 500, 64, 36, 80] * 3

    def decode(size: int) -> None:
        nonlocal now, most
        with room.taken(size * MEBIBYTE):
            with lock:
                now += min(size, 100)
                most = max(most, now)
            threading.Event().wait(0.002)
            with lock:
                now -= min(size, 100)

    threads = [threading.Thread(target=decode, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert (now, most) == (0, 100)


def test_small_images_wait_for_nobody() -> None:
    room = Room(ROOM)
    with room.taken(10 * ROOM), room.taken(SMALL), room.taken(1):
        pass


def test_room_is_given_back_when_decoding_fails() -> None:
    room = Room(100 * MEBIBYTE)
    for _ in range(3):
        with pytest.raises(OSError, match="broken"), room.taken(90 * MEBIBYTE):
            raise OSError("broken")


def test_a_photograph_is_small(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4000)).save(tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as image:
        image.draft(None, (448, 448))
        assert size_of(image, (6000, 4000)) <= SMALL
    for progressive, most in ((True, 6000 * 4000 * 7), (False, SMALL)):
        Image.new("RGB", (6000, 4000)).save(tmp_path / "photo.jpg", progressive=progressive)
        with Image.open(tmp_path / "photo.jpg") as image:
            image.draft(None, (448, 448))
            assert size_of(image, (6000, 4000)) <= most


@pytest.mark.parametrize("function", [decode_with_size, decode_whole, decode_grey])
def test_every_way_of_decoding_takes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: object) -> None:
    Image.new("L", (3000, 3000)).save(tmp_path / "large.png")
    monkeypatch.setattr(decoding, "ROOMS", Room(0))
    with pytest.raises(LargeError):
        function(tmp_path / "large.png", *([] if function is decode_grey else [8]))  # type: ignore[operator]


def test_large_images_are_the_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.full((3000, 3000), 7, np.uint8)).save(tmp_path / "large.png")
    Image.fromarray(np.full((30, 30), 9, np.uint8)).save(tmp_path / "small.png")
    asked, room = list[int](), Room()

    def taken(size: int) -> AbstractContextManager[None]:
        asked.append(size)
        return room.taken(size)

    monkeypatch.setattr(decoding.ROOMS, "taken", taken)
    with Decoders(10_000, 2) as decoders:
        answers = decoders([tmp_path / "large.png", tmp_path / "small.png"], 4)
    assert [answer[0].max() for answer in answers if not isinstance(answer, DataError)] == [7, 9]
    assert asked == [3000 * 3000 * 8]  # the small one was decoded elsewhere


def test_a_program_that_draws_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.eps")
    (tmp_path / "drawing.eps").rename(tmp_path / "photo.jpg")
    with pytest.raises(
        DataError, match=r"photo\.jpg is a program that draws \(EPS\), which is not run; save it as PNG"
    ):
        decode_with_size(tmp_path / "photo.jpg", 8)
