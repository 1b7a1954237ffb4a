"""Accidents of the machine end with one line and status 2, before the work where possible; nothing is left broken."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradsculpt import accidents as told_of
from gradsculpt.accidents import told
from gradsculpt.cli.main import COMMANDS, main
from gradsculpt.data import decode as decoding
from gradsculpt.data.decoders import Decoders
from tests.faults import accidents
from tests.faults.accidents import CELLS, DIGITS, SMALL, WRITERS, Ended, attempt, call

IN_TURN = [name for name in WRITERS if name != "study"]
SIZES = (0, 1, 300, 3000, 30_000, 300_000)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return accidents.places(tmp_path_factory.mktemp("accidents"))


def prepared(name: str, there: dict[str, Path], out: Path) -> Path:
    out.mkdir(exist_ok=True)
    if "{out}/run" in " ".join(WRITERS[name]):
        shutil.copytree(there["run"], out / "run")
    return out


@pytest.mark.parametrize("name", IN_TURN)
def test_where_no_file_may_grow_a_command_says_so_and_leaves_no_half(
    name: str, there: dict[str, Path], tmp_path: Path
) -> None:
    refused = 0
    for size in SIZES if name in ("explain", "evaluate page") else SIZES[3:4] if name == "sweep" else SIZES[::3]:
        out = prepared(name, there, tmp_path / str(size))
        with accidents.small_files(size):
            ended, wrong = attempt(name, there, out)
        assert wrong == []
        refused += ended.status == 2
    assert refused > 0


@pytest.mark.parametrize("name", ["train", "explain", "evaluate page"])
def test_a_full_disk_is_told_in_one_line(name: str, there: dict[str, Path], tmp_path: Path) -> None:
    try:
        with accidents.disk(tmp_path / "disk", 8192):
            ended, wrong = attempt(name, there, tmp_path / "disk")
    except OSError:
        pytest.skip("no file system can be made here")
    assert wrong == []
    assert ended.status == 2
    assert "No space left on device" in ended.said or "room" in ended.said


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_may_only_be_read_is_told_before_the_work(
    name: str, there: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepared(name, there, tmp_path / "out")
    monkeypatch.setattr(
        os, "access", lambda place, mode, **_: not Path(place).is_relative_to(out) or not mode & os.W_OK
    )

    def refused(*given: Any, **options: Any) -> Any:
        raise AssertionError("the work has begun")

    for place in ("gradsculpt.models.load", "gradsculpt.data.load_data", "gradsculpt.training.fit"):
        monkeypatch.setattr(place, refused)
    ended, wrong = attempt(name, there, out)
    assert wrong == []
    assert ended.status == 2
    assert "may not be written to" in ended.said


IN_THE_WAY = [
    ("train", "new/config.yaml", True),
    ("train", "new/metrics.csv", True),
    ("train", "new/model.safetensors", True),
    ("train", "new/checkpoints", False),
    ("train", "new/cache", False),
    ("train", "new", False),
    ("explain", "maps", False),
    ("explain", "maps/index.csv", True),
    ("explain", "maps/sheet.png", True),
    ("attack", "attacked/sheet.png", True),
    ("features", "pictures/index.csv", True),
    ("evaluate", "scores/scorecard.json", True),
    ("evaluate", "scores/scorecard.csv", True),
    ("evaluate", "scores", False),
    ("evaluate run", "run/scorecard.json", True),
    ("evaluate page", "page.html", True),
    ("evaluate page", "page.png", True),
    ("evaluate page", "page-scores", False),
    ("compare", "page.html", True),
    ("compare", "page.png", True),
    ("compare", "page-scores", False),
    ("push", "shared", False),
    ("push", "shared/README.md", True),
    ("export", "net.pt", True),
    ("export", "net.pt", False),
    ("study", "studies/tasks", False),
    ("study", "studies", False),
]


@pytest.mark.parametrize(("name", "place", "is_folder"), IN_THE_WAY)
def test_what_is_in_the_way_is_told_before_the_work_and_stays(
    name: str, place: str, is_folder: bool, there: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepared(name, there, tmp_path / "out")
    path = out / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.unlink(missing_ok=True)
        path.mkdir()
    else:
        path.write_text("mine")

    def refused(*given: Any, **options: Any) -> Any:
        raise AssertionError("the work has begun")

    for each in ("gradsculpt.models.load", "gradsculpt.data.load_data", "gradsculpt.training.fit"):
        monkeypatch.setattr(each, refused)
    ended = call([word.format(**there, out=out) for word in WRITERS[name]])
    assert ended.status == 2
    assert ended.orderly, ended.said
    assert path.name in ended.said
    assert path.is_dir() if is_folder else path.read_text() == "mine"


RAISED = {
    "no room": (OSError(errno.ENOSPC, "No space left on device", "a.npy"), "a.npy cannot be written, as there is no"),
    "read only": (OSError(errno.EROFS, "Read-only file system", "a.npy"), "may not be read, or not be written to"),
    "handles": (OSError(errno.EMFILE, "Too many open files", "a.png"), "ulimit -n"),
    "disk": (OSError(errno.EIO, "Input/output error", "a.png"), "Check the disk"),
    "gone": (FileNotFoundError(errno.ENOENT, "No such file", "a"), "a is not there"),
    "memory": (MemoryError(), "there is not enough memory"),
    "numpy": (np._core._exceptions._ArrayMemoryError((10**9,), np.dtype(float)), "--batch-size"),  # type: ignore[attr-defined]
    "torch": (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "--image-size"),
    "cuda": (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), "there is not enough memory"),
    "threads": (RuntimeError("can't start new thread"), "no more threads"),
    "library": (ImportError("libtorch.so: failed to map segment from shared object"), "there is not enough memory"),
    "library handles": (ImportError("libtorch.so: cannot open shared object file: Too many open files"), "ulimit -n"),
    "no strerror": (OSError("something"), "something"),
}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "completion"])
@pytest.mark.parametrize("accident", RAISED)
def test_whatever_command_meets_it_an_accident_is_one_line(
    accident: str, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error, said = RAISED[accident]

    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(f"{COMMANDS[command].module}.run", fail)
    assert main([command]) == 2
    line = capfd.readouterr().err
    assert line.startswith("gradsculpt: ")
    assert line.count("\n") == 1
    assert said in line


def test_what_a_library_makes_of_a_full_disk_counts_as_that() -> None:
    def caused(outer: BaseException) -> BaseException:
        try:
            try:
                raise OSError(errno.ENOSPC, "No space left on device", "last.ckpt")
            except OSError:
                raise outer  # noqa: B904
        except type(outer) as error:
            return error

    assert "last.ckpt cannot be written" in (told(caused(RuntimeError("unexpected pos 64 vs 0"))) or "")
    assert told(caused(KeyError("x"))) is None
    assert told(RuntimeError("shapes do not match")) is None
    assert told(ValueError("x")) is None
    assert told(ImportError("No module named 'x'")) is None


@pytest.mark.parametrize("accident", ["memory", "handles"])
def test_an_accident_in_training_says_what_is_kept_and_how_it_goes_on(
    accident: str, there: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradsculpt.training.module import ClassifierModule

    begin = ClassifierModule.on_train_epoch_start

    def fail(self: ClassifierModule) -> None:
        begin(self)
        if self.trainer.current_epoch == 1:
            raise RAISED[accident][0]

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", fail)
    ended = call(["train", *DIGITS, "--epochs", "3", "--out", str(tmp_path / "run")])
    assert ended.orderly
    assert ended.status == 2
    assert RAISED[accident][1] in ended.said
    assert "stopped in epoch 2 of 3; epoch 1 (the best so far) can be used as it is" in ended.said
    assert "--resume` goes on" in ended.said


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for index in range(24):
        name = tmp_path / "photos" / "ab"[index % 2] / f"{index:02}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (9, 9, 3), np.uint8)).save(name)
    return tmp_path / "photos"


def vanish(photos: Path) -> None:
    shutil.rmtree(photos)


def lose_few(photos: Path) -> None:
    for index in (20, 21):
        (photos / "ab"[index % 2] / f"{index:02}.png").unlink()


def rewrite(photos: Path) -> None:
    shutil.copy(photos / "a" / "00.png", photos / "b" / "23.png")


def rename(photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))


@pytest.mark.parametrize("change", [vanish, lose_few, rewrite, rename])
@pytest.mark.parametrize("few", [[], ["--train-count", "8"]], ids=["all", "few"])
def test_a_folder_that_changes_while_it_is_read_is_not_learnt_from(
    few: list[str], change: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, done = Decoders.__call__, list[int]()

    def meanwhile(self: Any, files: Any, size: int) -> Any:
        if not done:
            done.append(1)
            change(photos)
        return decode(self, files, size)

    monkeypatch.setattr(Decoders, "__call__", meanwhile)
    flags = ["--data", f"folder:{photos}", *SMALL, *few, "--epochs", "1", "--out", str(tmp_path / "run")]
    ended = call(["train", *flags])
    if few and change in (lose_few, rewrite) and ended.status == 0:
        return  # what changed is not among the few
    assert ended.status == 2
    assert ended.orderly
    assert "while the images were being read" in ended.said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOMEM])
def test_an_image_that_the_machine_cannot_read_is_not_left_out(
    number: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = decoding._image

    def fail(path: Path, file: Any) -> Any:
        if path.name == "07.png":
            raise OSError(number, os.strerror(number))
        return opened(path, file)

    monkeypatch.setattr(decoding, "_image", fail)
    flags = ["--data", f"folder:{photos}", *SMALL, "--epochs", "1", "--out", str(tmp_path / "run")]
    ended = call(["train", *flags])
    assert ended.status == 2
    assert ended.orderly
    assert os.strerror(number) in ended.said
    ended = call(["explain", "pretrained:none", str(photos), "--out", str(tmp_path / "maps")])
    assert ended.status == 2


def test_a_training_whose_files_have_no_room_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_of, "free_disk", lambda folder: 100_000)
    ended = call(["train", *CELLS, "--epochs", "1", "--out", str(tmp_path / "run")])
    assert ended.status == 2
    assert "the network and its two checkpoints would take" in ended.said
    assert list(tmp_path.iterdir()) == []


STREAMS = [
    ("list | head -1; exit ${PIPESTATUS[0]}", 0),
    ("list --help | head -1; exit ${PIPESTATUS[0]}", 0),
    ("list > /dev/full", 2),
    ("--help > /dev/full", 2),
    ("list >&-", 0),
    ("list 2>&- > /dev/null", 0),
    ("nonsense 2>&-", 2),
    ("nonsense 2> /dev/full", 2),
    ("list <&- >&- 2>&-", 0),
]


@pytest.mark.skipif(not Path("/dev/full").exists() or shutil.which("bash") is None, reason="streams as Linux has them")
def test_streams_that_are_closed_full_or_gone() -> None:
    started = [
        subprocess.Popen(
            ["bash", "-c", f"exec 2>&1; {sys.executable} -m gradsculpt {words}"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        for words, _ in STREAMS
    ]
    for (words, status), process in zip(STREAMS, started, strict=True):
        said = process.communicate(timeout=120)[0]
        assert process.returncode == status, words
        assert "Traceback" not in said, words
        assert "Exception" not in said, words
        assert said.count("gradsculpt: ") == (words.endswith("> /dev/full") and "2>" not in words), words


SLOW = """
import sys, time
sys.path[:0] = {path!r}
from gradsculpt.training import keeping
from gradsculpt.training.module import ClassifierModule
begin = ClassifierModule.on_train_epoch_start
def waits(self):
    begin(self)
    if self.trainer.current_epoch == 1:
        print("epoch 2", flush=True)
        time.sleep(60)
ClassifierModule.on_train_epoch_start = waits
from lightning.pytorch import Trainer
def slow(self):
    print("stopping", flush=True)
    time.sleep(60)
Trainer._teardown = slow
from gradsculpt.cli.main import main
sys.exit(main({words!r}))
"""


def test_a_second_interruption_ends_a_training_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", *DIGITS, "--epochs", "3", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(path=sys.path, words=words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for expected in ("epoch 2", "stopping"):
        assert process.stdout.readline().strip() == expected
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "gradsculpt: ended at once, as it was interrupted twice; what was finished is kept."
    assert accidents.broken(out) == []
    ended = call(["train", "--resume", "--out", str(out)])
    assert ended.status == 0, ended.said


def test_no_home_no_caches_and_no_temporary_folder(there: dict[str, Path], tmp_path: Path) -> None:
    missing = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCH_HOME"), "/proc/nowhere")
    ended = subprocess.run(
        [sys.executable, "-m", "gradsculpt", *(word.format(**there, out=tmp_path) for word in WRITERS["compare"])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **missing},
        capture_output=True,
        text=True,
        check=False,
    )
    assert Ended(ended.returncode, ended.stderr).orderly, ended.stderr
    assert ended.returncode == 0, ended.stderr
