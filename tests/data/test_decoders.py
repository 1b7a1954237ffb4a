"""Processes decode what the calling thread decodes, to the byte; none outlives its parent, or takes work with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

import gradsculpt
from gradsculpt.data import decoders
from gradsculpt.data.base import Request, Splits
from gradsculpt.data.decode import decode_with_size
from gradsculpt.data.decoders import Decoders
from gradsculpt.data.folder import load_folder
from gradsculpt.errors import DataError

MANY = 10**6
SOURCE = Path(gradsculpt.__file__).parent.parent


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of many kinds, names of many kinds, and what is no image."""
    folder = tmp_path_factory.mktemp("images")
    rgb = Image.fromarray(pixels(20, 30, 3))
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(folder / "plain.png")
    rgb.save(folder / "a [b] ünïcode\n.png")
    rgb.resize((16, 16)).save(folder / "its own size.png")
    rgb.save(folder / "turned.jpg", exif=turned)
    rgb.convert("P").save(folder / "palette.gif")
    rgb.convert("CMYK").save(folder / "cmyk.tif")
    Image.fromarray(pixels(20, 30, 4)).save(folder / "transparent.png")
    Image.fromarray(pixels(20, 30)).save(folder / "grey.bmp")
    Image.fromarray(pixels(20, 30).astype(np.uint16) * 257).save(folder / "deep.png")
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no image")
    (folder / "halved.png").write_bytes((folder / "plain.png").read_bytes()[:400])
    (folder / "a folder.png").mkdir()
    return [*sorted(folder.iterdir()), folder / "missing.png"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Note the processes that are started; in the end, none may be left."""
    begin, all_of_them = decoders._started, list["subprocess.Popen[bytes]"]()

    def noted() -> "subprocess.Popen[bytes]":
        all_of_them.append(begin())
        return all_of_them[-1]

    monkeypatch.setattr(decoders, "_started", noted)
    yield all_of_them
    assert all(process.returncode is not None for process in all_of_them)


def alone(file: Path, size: int) -> tuple[bytes, tuple[int, int]] | str:
    try:
        image, shape = decode_with_size(file, size)
    except DataError as error:
        return str(error)
    return image.tobytes(), shape


def plain(found: object) -> object:
    return str(found) if isinstance(found, DataError) else (found[0].tobytes(), found[1])  # type: ignore[index]


def check(decode: Decoders, files: list[Path], size: int) -> None:
    assert list(map(plain, decode(files, size))) == [alone(file, size) for file in files]


def test_processes_decode_as_the_thread_does(files: list[Path], started: list["subprocess.Popen[bytes]"]) -> None:
    with Decoders(MANY, 2) as decode:
        for size in (16, 9, 33):
            check(decode, files, size)
        check(decode, [], 8)
    assert len(started) == 2
    assert all(process.returncode == 0 for process in started)


@pytest.mark.parametrize(("count", "processes"), [(decoders._FEW - 1, 8), (MANY, 1)])
def test_few_files_and_a_single_core_start_none(
    count: int, processes: int, files: list[Path], started: list["subprocess.Popen[bytes]"]
) -> None:
    with Decoders(count, processes) as decode:
        check(decode, files, 16)
    assert started == []


def test_what_was_made_known_to_pillow_here_is_decoded(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    halved = [file for file in files if file.name == "halved.png"]
    with Decoders(MANY, 2) as decode:
        assert isinstance(decode(halved, 16)[0], DataError)
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert isinstance(decode(halved, 16)[0], tuple)


@pytest.mark.parametrize("killed", [1, 2])
def test_the_work_of_a_killed_process_is_done_all_the_same(
    killed: int, files: list[Path], started: list["subprocess.Popen[bytes]"]
) -> None:
    with Decoders(MANY, 2) as decode:
        for process in started[:killed]:
            process.kill()
            process.wait()
        for _ in range(4):
            check(decode, files, 16)


@pytest.mark.parametrize("command", ["/nowhere/python", "/bin/false", "", None])
def test_without_an_interpreter_the_thread_decodes(
    command: str | None, files: list[Path], started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", command)
    with Decoders(MANY, 2) as decode:
        check(decode, files, 16)


def tree(folder: Path) -> Path:
    for index in range(60):
        place = folder / ("train", "test")[index % 3 == 0] / f"class {index % 2}" / f"{index:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(12, 12 + index, 3)).save(place)
        maps = folder / "attention" / place.relative_to(folder)
        maps.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(12, 12 + index)).save(maps)
    (folder / "train" / "class 0" / "broken.png").write_text("broken")
    return folder


def told(splits: Splits) -> object:
    parts = (splits.train, splits.val, splits.test)
    assert all(part.attention is not None for part in parts)
    arrays = [np.asarray(array[:]).tobytes() for p in parts for array in (p.images, p.labels, p.attention)]  # type: ignore[index]
    return arrays, [part.names for part in parts], splits.skipped, splits.notes


def test_a_folder_is_the_same_by_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    folder = tree(tmp_path / "images")

    def read(cache: str) -> tuple[object, list[tuple[int, int | None]]]:
        calls: list[tuple[int, int | None]] = []
        request = Request(9, cache_dir=tmp_path / cache, progress=lambda done, total: calls.append((done, total)))
        return told(load_folder(folder, request)), calls

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    expected = read("threads")
    assert started == []
    monkeypatch.setattr(decoders, "_FEW", 1)
    assert read("processes") == expected
    assert len(started) == 2 * 2  # for each part


def test_a_reader_that_is_stopped_ends_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(decoders, "_FEW", 1)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        load_folder(tree(tmp_path / "images"), Request(9, cache_dir=tmp_path / "cache", progress=stop))
    # While the traceback, with all that was at work, is still at hand.
    assert caught.tb is not None
    assert [process.returncode for process in started] == [0, 0]
    assert not (tmp_path / "cache").exists()


SCRIPT = """
import sys
from pathlib import Path
from gradsculpt.data import decoders
assert "torch" not in sys.modules
processes, begin = [], decoders._started
decoders._started = lambda: processes.append(begin()) or processes[-1]
with decoders.Decoders(10**6, 2) as decode:
    decode([Path(sys.argv[1])], 8)
    print(*(process.pid for process in processes), flush=True)
    while True:
        decode([Path(sys.argv[1])] * 64, 8)
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def interrupt(group: int) -> None:
    os.killpg(group, signal.SIGINT)


def kill(group: int) -> None:
    os.kill(group, signal.SIGKILL)  # the parent alone


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's list of processes")
@pytest.mark.parametrize("end", [interrupt, kill])
def test_no_process_outlives_its_parent(end: Callable[[int], None], files: list[Path]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(files[-4])]  # without a guard, as scripts are
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, env=environment, stderr=-3)
    assert parent.stdout is not None
    children = list(map(int, parent.stdout.readline().split()))
    assert len(children) == 2
    assert all(map(running, children))
    end(parent.pid)
    parent.wait(10)
    parent.stdout.close()
    limit = time.monotonic() + 10
    while any(map(running, children)) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not any(map(running, children))
