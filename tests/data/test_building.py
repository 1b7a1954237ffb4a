"""A set that is being written is gone on with from its last whole block, whatever happened to what came after."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from gradsculpt.data import building
from gradsculpt.data.base import Skipped
from gradsculpt.data.building import Row
from gradsculpt.data.cache import Cached, cached
from gradsculpt.errors import DataError

COUNT, EVERY = 40, 7  # images, of which every seventh cannot be read


class Source:
    """Yields images of random pixels from some item on; it may be interrupted at one."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.asked = stop_at, list[int]()

    def __call__(self, done: Sequence[bool] = ()) -> Iterator[Row | Skipped]:
        assert list(done) == [index % EVERY != 3 for index in range(len(done))]
        for index in range(len(done), COUNT):
            if index == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append(index)
            draws = np.random.default_rng(index)
            if index % EVERY == 3:
                yield Skipped(f"{index}", "broken")
            else:
                pixels, looked = (draws.integers(0, 256, shape, np.uint8) for shape in ((6, 6, 3), (6, 6)))
                yield Row(pixels, index % 2, f"image {index}", looked)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_BLOCK", 5 * 6 * 6 * 4)


def read(folder: Path, source: Source, said: list[str] | None = None) -> Cached:
    tell = (lambda line: None) if said is None else said.append
    return cached(folder, "set", {"identity": 1}, ("a", "b"), source, tell=tell, going_on=source)


def same(one: Cached, other: Cached) -> bool:
    pairs = [(getattr(each.images, name) for each in (one, other)) for name in ("images", "labels", "attention")]
    alike = all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    return alike and one.images.names == other.images.names and one.skipped == other.skipped


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cached, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    return read(folder, Source()), files(folder)


@pytest.mark.parametrize("stops", [(17,), (39,), (9, 25), (12, 12, 30)])
def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not(
    stops: tuple[int, ...], whole: tuple[Cached, dict[str, bytes]], tmp_path: Path
) -> None:
    said, asked = list[str](), list[int]()
    for stop in stops:
        source = Source(stop)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path, source)
        asked += source.asked
    source = Source()
    assert same(read(tmp_path, source, said), whole[0])
    assert files(tmp_path) == whole[1]
    assert source.asked[0] > 0
    assert len(asked) + len(source.asked) < COUNT + 6 * len(stops)
    assert len(said) == 1
    assert said[0].endswith("images had been decoded before the work was interrupted")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [cut, turned, longer, Path.unlink])
@pytest.mark.parametrize("name", ["images.npy", "attention.npy", "blocks.txt"])
def test_of_what_was_damaged_meanwhile_nothing_is_used(
    name: str, damage: object, whole: tuple[Cached, dict[str, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, Source(30))
    (place,) = tmp_path.glob(f".building-*/{name}")
    damage(place)  # type: ignore[operator]
    assert same(read(tmp_path, Source()), whole[0])
    assert files(tmp_path) == whole[1]


def test_what_fails_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    class Full(Source):
        def __call__(self, done: Sequence[bool] = ()) -> Iterator[Row | Skipped]:
            yield from list(super().__call__(done))[:30]
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left"):
        read(tmp_path, Full())
    assert list(tmp_path.iterdir()) == []


def test_another_builder_of_the_same_set_does_not_touch_the_first_ones(tmp_path: Path) -> None:
    class Slow(Source):
        def __call__(self, done: Sequence[bool] = ()) -> Iterator[Row | Skipped]:
            rows = super().__call__(done)
            yield from (next(rows) for _ in range(20))
            script = f"import sys; sys.path[:0] = {sys.path!r}\nfrom pathlib import Path\n"
            script += "from tests.data.test_building import Source, read\n"
            script += f"source = Source(); read(Path({str(tmp_path)!r}), source); print(source.asked[0])"
            told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            assert told.stdout == "0\n"
            yield from rows

    assert len(read(tmp_path, Slow()).images) == sum(index % EVERY != 3 for index in range(COUNT))


def test_a_process_that_is_killed_while_it_decodes_a_folder_goes_on(tmp_path: Path) -> None:
    from PIL import Image

    from gradsculpt.data.base import Request
    from gradsculpt.data.folder import load_folder

    for index in range(60):
        place = tmp_path / "photos" / "ab"[index % 2] / f"{index:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (9, 9, 3), np.uint8)).save(place)
    script = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from gradsculpt.data import building
from gradsculpt.data.base import Request
from gradsculpt.data.folder import load_folder
building._BLOCK = 5 * 8 * 8 * 3
def tell(done, total):
    if done == 30:
        os.kill(os.getpid(), signal.SIGKILL)
load_folder(Path({str(tmp_path / "photos")!r}), Request(8, cache_dir=Path({str(tmp_path / "cache")!r}), progress=tell))
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == -signal.SIGKILL
    told, said = list[int](), list[str]()
    request = Request(8, cache_dir=tmp_path / "cache", progress=lambda done, total: told.append(done), tell=said.append)
    splits = load_folder(tmp_path / "photos", request)
    assert 20 < told[0] <= 31
    assert said == [f"{told[0] - 1} images had been decoded before the work was interrupted"]
    other = load_folder(tmp_path / "photos", Request(8, cache_dir=tmp_path / "other"))
    assert np.array_equal(splits.train.images[:], other.train.images[:])
    assert not list((tmp_path / "cache").glob(".*"))
