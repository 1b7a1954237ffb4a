import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradsculpt.data import cache, stored
from gradsculpt.data.base import Skipped
from gradsculpt.data.building import Row
from gradsculpt.data.cache import Cached, cached
from gradsculpt.data.stored import StoredRows
from gradsculpt.errors import DataError
from gradsculpt.seals import sealed_json

CLASSES = ("cat", "dog")


class Source:
    """Yields `count` images of random pixels and counts how often it was asked."""

    def __init__(self, count: int = 5, attention: bool = False, fail_at: int | None = None) -> None:
        generator = np.random.default_rng(count)
        self.images = generator.integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
        self.attention = generator.integers(0, 256, (count, 4, 6), dtype=np.uint8) if attention else None
        self.fail_at, self.calls = fail_at, 0

    def __call__(self) -> Iterator[Row | Skipped]:
        self.calls += 1
        for index, image in enumerate(self.images):
            if index == self.fail_at:
                raise KeyboardInterrupt
            yield Row(image, index % 2, f"image {index}", None if self.attention is None else self.attention[index])
        yield Skipped("broken", "it is broken")


def read(folder: Path, source: Source, identity: object = 1, name: str = "set") -> Cached:
    return cached(folder, name, {"identity": identity}, CLASSES, source, tell=lambda line: None)


@pytest.mark.parametrize("attention", [False, True])
def test_what_was_written_is_read_back(tmp_path: Path, attention: bool) -> None:
    source = Source(attention=attention)
    for _ in range(2):
        found = read(tmp_path / "deep" / "cache", source)
        np.testing.assert_array_equal(found.images.images, source.images)
        np.testing.assert_array_equal(found.images.labels, [0, 1, 0, 1, 0])
        assert found.images.labels.dtype == np.int64
        assert found.images.names[3] == "image 3"
        assert found.images.classes == CLASSES
        assert found.skipped == (Skipped("broken", "it is broken"),)
        assert (found.images.attention is not None) == attention
        if source.attention is not None:
            np.testing.assert_array_equal(found.images.attention, source.attention)
    assert source.calls == 1


def test_few_images_are_in_memory_and_many_are_read_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: Any = read(tmp_path, Source()).images.images
    assert isinstance(images, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
    monkeypatch.setattr(stored, "_SMALL", 0)
    many: Any = read(tmp_path, Source()).images.images
    assert isinstance(many, StoredRows)
    np.testing.assert_array_equal(many, images)


@pytest.mark.parametrize("count", [1, 9, 10, 300])
def test_the_header_fits_any_number_of_images(tmp_path: Path, count: int) -> None:
    source = Source(count)
    np.testing.assert_array_equal(read(tmp_path, source).images.images, source.images)


def test_another_identity_replaces_the_old_set(tmp_path: Path) -> None:
    read(tmp_path, Source(5), identity=1)
    read(tmp_path, Source(5), name="set-of-another-name")
    found = read(tmp_path, Source(7), identity=2)
    assert len(found.images) == 7
    assert sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir()) == ["set", "set-of-another-name"]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, Source(fail_at=3))
    assert list(tmp_path.iterdir()) == []
    assert len(read(tmp_path, Source()).images) == 5


@pytest.mark.parametrize("damage", ["images.npy", "attention.npy", "meta.json"])
@pytest.mark.parametrize("how", ["remove", "empty", "halve"])
def test_a_damaged_set_is_built_again(tmp_path: Path, damage: str, how: str) -> None:
    source = Source(attention=True)
    read(tmp_path, source)
    file = next(tmp_path.iterdir()) / damage
    if how == "remove":
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] if how == "halve" else b"")
    np.testing.assert_array_equal(read(tmp_path, source).images.images, source.images)
    assert source.calls == 2


def test_a_set_with_another_key_inside_is_not_trusted(tmp_path: Path) -> None:
    source = Source()
    read(tmp_path, source)
    file = next(tmp_path.iterdir()) / "meta.json"
    file.write_bytes(sealed_json({**json.loads(file.read_text()), "key": "another"}))
    read(tmp_path, source)
    assert source.calls == 2


def test_two_builders_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(2)

    class Together(Source):
        def __call__(self) -> Iterator[Row | Skipped]:
            barrier.wait(timeout=10)
            yield from super().__call__()
            barrier.wait(timeout=10)

    source, results = Together(), []
    threads = [threading.Thread(target=lambda: results.append(read(tmp_path, source))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 2
    assert len(results) == 2
    for found in results:
        np.testing.assert_array_equal(found.images.images, source.images)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_builder_that_took_a_set_for_damaged_does_not_take_it_from_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, opened, at_work = Source(), cache._open, list[str]()

    def late(*args: Any) -> Any:
        """Say what there was, and let another builder finish meanwhile."""
        found = opened(*args)
        if found is None and not at_work:
            at_work.append("other")
            other = read(tmp_path, source)
            np.testing.assert_array_equal(other.images.images, source.images)
        return found

    read(tmp_path, source)
    next(tmp_path.rglob("meta.json")).write_text("damaged")
    monkeypatch.setattr(cache, "_open", late)
    np.testing.assert_array_equal(read(tmp_path, source).images.images, source.images)
    assert at_work == ["other"]
    assert len(list(tmp_path.iterdir())) == 1


def test_builders_in_many_threads_leave_one_set(tmp_path: Path) -> None:
    source = Source()
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: read(tmp_path, source), range(8)))
        assert all(np.array_equal(found.images.images, source.images) for found in results)
        assert len(list(tmp_path.iterdir())) == 1
        next(tmp_path.rglob("meta.json")).write_text("damaged")


def test_only_abandoned_builds_are_swept(tmp_path: Path) -> None:
    for name, days in (("old", 30), ("new", 0)):
        (tmp_path / f".building-{name}").mkdir()
        os.utime(tmp_path / f".building-{name}", times=(time.time() - days * 86_400,) * 2)
    read(tmp_path, Source())
    assert [path.name for path in tmp_path.glob(".building-*")] == [".building-new"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be kept in .*file.*choose another folder"):
        read(tmp_path / "file", Source())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a: opened(Path("/dev/full") if path.suffix == ".npy" else path, *a))
    with pytest.raises(DataError, match="No space left"):
        read(tmp_path, Source(300))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ahead", [1, 2, 7, 1000])
def test_results_come_in_order_and_no_more_are_begun_than_may_wait(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    begun = list[int]()

    def slow(item: int) -> int:
        begun.append(item)
        time.sleep(0.001 * (item % 3))
        return item * item

    for index, result in enumerate(cache.ordered(slow, range(30), ahead)):
        assert result == index * index
        assert len(begun) <= index + ahead
    assert sorted(begun) == list(range(30))


def test_a_reader_that_is_left_finishes_what_is_begun_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun, before, hold = list[int](), threading.active_count(), threading.Event()

    def slow(item: int) -> int:
        begun.append(item)
        hold.wait(0 if item == 0 else 0.05)
        return item

    results = cache.ordered(slow, range(200), 100)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
    assert len(begun) < 100
