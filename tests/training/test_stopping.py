"""A training that ends before its last epoch: by a signal or its time limit, in any of its stages."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradsculpt.cli.main import main
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import Interrupted
from gradsculpt.models import load
from gradsculpt.runs import Reached, is_finished
from gradsculpt.training import fit, keeping
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.stopping import Course, TimeIsUp, WithinTime

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "32", "--train-count", "64"]
FLAGS += ["--threads", "1", "--lr", "0.003", "--device", "cpu"]
NAMES = ("model.safetensors", "model.json", "config.yaml", "metrics.csv")

ENDING = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")
    if (number := getattr(signal, name, None)) is not None
]


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Heed the signals that whoever called the tests ignores, as `nohup` does: children inherit that."""
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def train(out: Path, *flags: str) -> int:
    return main(["train", "--out", str(out), *flags])


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def epochs(run: Path) -> list[str]:
    with (run / "metrics.csv").open() as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def scripted(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    def score(self: ClassifierModule) -> None:
        self.log("val_accuracy", scores[self.current_epoch], batch_size=1)

    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", score)


def during(monkeypatch: pytest.MonkeyPatch, epoch: int, work: Callable[[], Any], *, step: int = 1) -> None:
    """Do something before a step of an epoch, both from 1."""
    trained = ClassifierModule.training_step

    def stepped(self: ClassifierModule, batch: Any, batch_idx: int) -> Tensor | None:
        if (self.current_epoch + 1, batch_idx + 1) == (epoch, step):
            work()
        return trained(self, batch, batch_idx)

    monkeypatch.setattr(ClassifierModule, "training_step", stepped)


@pytest.fixture(scope="module")
def run_of_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of one epoch."""
    out = tmp_path_factory.mktemp("stopping") / "one"
    assert train(out, *FLAGS, "--epochs", "1") == 0
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody stopped, whose second epoch is the best."""
    out = tmp_path_factory.mktemp("stopping") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        scripted(patch, 0.25, 0.75, 0.5, 0.5)
        assert train(out, *FLAGS, "--epochs", "4") == 0
    return out


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_leaves_the_best_epoch_so_far_and_a_run_that_goes_on(
    number: signal.Signals, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out, handler = tmp_path / "run", signal.getsignal(number)
    scripted(monkeypatch, 0.25, 0.75, 0.5, 0.5)
    with monkeypatch.context() as patch:
        during(patch, 4, lambda: os.kill(os.getpid(), number), step=2)
        assert train(out, *FLAGS, "--epochs", "4") == 128 + number
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("gradsculpt: stopped in epoch 4 of 4")
    assert (number.name in said) == (number != signal.SIGINT)
    assert (
        f"epoch 2 (the best so far) can be used as it is, and `gradsculpt train --out {out} --resume` goes on" in said
    )
    assert signal.getsignal(number) == handler
    assert load(out).reached == Reached(2, 4, "best", 0.75)
    assert same(out, whole)
    assert not is_finished(out)
    assert train(out, "--resume") == 0
    assert load(out).reached == Reached(2, 4, "best", 0.75, finished=True)
    assert same(out, whole)
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in NAMES[:3])
    assert epochs(out) == ["1", "2", "3", "4"]


def test_a_signal_that_is_ignored_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        during(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert train(tmp_path / "run", *FLAGS, "--epochs", "1") == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


KILLED = """
import os, sys
from gradsculpt.cli.main import main
from gradsculpt.training.module import ClassifierModule
start = ClassifierModule.on_train_epoch_start
def started(self):
    start(self)
    if self.current_epoch == 2:
        os.kill(os.getpid(), int(sys.argv[1]))
ClassifierModule.on_train_epoch_start = started
sys.exit(main(sys.argv[2:]))
"""


def test_a_training_that_was_killed_can_be_used_and_goes_on(tmp_path: Path) -> None:
    out, words = tmp_path / "run", [*FLAGS, "--epochs", "3"]
    killed = [sys.executable, "-c", KILLED, str(int(signal.SIGKILL)), "train", "--out", str(out), *words]
    assert subprocess.run(killed, check=False, capture_output=True).returncode == -signal.SIGKILL
    network = load(out)
    assert network.reached is not None
    assert (network.reached.epochs, network.reached.finished) == (3, False)
    assert train(tmp_path / "whole", *words) == 0
    assert train(out, "--resume") == 0
    assert same(out, tmp_path / "whole")


def test_the_drafts_of_a_training_that_was_killed_do_not_stay(run_of_one: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run_of_one, tmp_path / "run")
    left = [out / f".{name}" for name in ("config.7.yaml", "metrics.7.csv", "model.7.json", "model.7.safetensors")]
    left += [out / "checkpoints" / f".{name}.7.ckpt" for name in ("best", "last")]
    others = [out / ".scorecard.7.json", out / "checkpoints" / ".mine.ckpt"]
    for path in (*left, *others):
        path.write_bytes(b"half of")
    assert train(out, "--resume") == 0
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("written", ["best", "metrics", "last", "model"])
def test_a_training_that_was_stopped_while_it_wrote_its_first_epoch_goes_on(
    written: str, run_of_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out, move = tmp_path / "run", Path.replace

    def moved(self: Path, target: Path) -> Path:
        place = move(self, target)
        if target.name.startswith(written):
            raise KeyboardInterrupt
        return place

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", moved)
        assert train(out, *FLAGS, "--epochs", "1") == 130
    assert f"`gradsculpt train --out {out} --resume` goes on" in capfd.readouterr().err
    assert train(out, "--resume") == 0
    assert same(out, run_of_one)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "model.safetensors"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_full_disk_is_one_line_and_the_training_goes_on_when_there_is_room(
    name: str, epoch: int, run_of_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out, move = tmp_path / "run", Path.replace
    if epoch == 2:
        shutil.copytree(run_of_one, out)

    def moved(self: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(self, target)

    words = ["--resume", *(FLAGS if epoch == 1 else []), "--epochs", str(epoch)]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", moved)
        assert train(out, *words) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("gradsculpt: ")
    assert f"{name} cannot be written (No space left on device), so the " in said
    assert list(tmp_path.glob("run/**/.*")) == []
    if epoch == 2:
        assert load(out).reached is not None
    assert train(out, *words) == 0
    assert load(out).reached == Reached(epoch, epoch, "best", ANY, finished=True) or epoch == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is one of Linux")
def test_a_disk_that_fills_up_while_pytorch_writes_is_told_as_such() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        keeping._save({"weights": torch.zeros(100_000)}, Path("/dev/full"))
    assert raised.value.errno == errno.ENOSPC


def test_a_best_checkpoint_of_a_later_epoch_alone_is_not_gone_on_from(
    run_of_one: Path, tmp_path: Path, capfd: Any
) -> None:
    out = shutil.copytree(run_of_one, tmp_path / "run")
    best = out / "checkpoints" / "best.ckpt"
    torch.save({**torch.load(best, weights_only=True), "epoch": 3}, best)
    for name in ("checkpoints/last.ckpt", "model.json"):
        (out / name).unlink()
    assert train(out, "--resume") == 2
    assert "last.ckpt is missing" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["signal", "time"])
def test_an_older_run_that_is_stopped_before_it_goes_on_still_has_its_network(
    how: str, run_of_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = shutil.copytree(run_of_one, tmp_path / "run")
    older = json.loads((out / "model.json").read_text())
    for name in ("epoch", "epochs", "keep", "val_accuracy", "finished"):
        del older[name]
    (out / "model.json").write_text(json.dumps(older))
    save_file(weights(out), out / "model.safetensors")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt if how == "signal" else TimeIsUp

    monkeypatch.setattr("gradsculpt.training.run.open_data", stop)
    assert train(out, "--resume", "--epochs", "2", "--max-time", "1h") == (130 if how == "signal" else 0)
    assert "; the network that was there before can be used as it is, and" in capfd.readouterr().err
    assert load(out).reached is None


def test_before_the_first_epoch_has_ended_it_is_said_that_there_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out, calls = tmp_path / "run", list[int]()
    explain = ["explain", str(out), "--data", "digits", "--out", str(tmp_path / "maps")]

    def stop() -> None:
        calls.append(main(explain))
        raise KeyboardInterrupt

    during(monkeypatch, 1, stop, step=2)
    assert train(out, *FLAGS, "--epochs", "2") == 130
    now, said = (line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt: "))
    assert calls == [2]
    assert f"{out} has no model.json yet, as its first epoch has not ended (train by process {os.getpid()}" in now
    assert "Wait until it has" in now
    assert "stopped in epoch 1 of 2; there is no network to look at yet, as none of its epochs is whole" in said
    assert main(explain) == 2
    assert "did not finish an epoch (or it is no run directory). Go on with it by" in capfd.readouterr().err
    monkeypatch.undo()
    assert train(out, "--resume") == 0


@pytest.mark.parametrize("flags", [["--keep", "last"], ["--shuffle-labels"]])
def test_a_run_that_keeps_the_last_epoch_has_the_last_whole_one(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = tmp_path / "run"
    scripted(monkeypatch, 0.75, 0.5, 0.25)
    during(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train(out, *FLAGS, *flags, "--epochs", "3") == 128 + signal.SIGTERM
    assert "; epoch 2 (the last whole one) can be used as it is" in capfd.readouterr().err
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"network.{name}"]) for name, value in weights(out).items())
    reached = load(out).reached
    assert reached is not None
    assert str(reached).startswith("epoch 2 of 3, the last whole one")
    assert (reached.val_accuracy is None) == (flags == ["--shuffle-labels"])


def test_a_library_call_that_is_stopped_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(
        Interrupted, match=r"^stopped in epoch 2 of 2; epoch 1 \(the best so far\) can be used"
    ) as stopped:
        fit(read_settings([*FLAGS, "--epochs", "2", "--out", str(tmp_path / "run")]))
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_a_finished_run_that_is_trained_further_is_unfinished_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "run", list[Any]()
    scripted(monkeypatch, 0.75, 0.5, 0.25)
    assert train(out, *FLAGS, "--epochs", "1") == 0
    before = weights(out)
    older = json.loads((out / "model.json").read_text())  # as an older version left it
    for name in ("epoch", "epochs", "keep", "val_accuracy", "finished"):
        del older[name]
    (out / "model.json").write_text(json.dumps(older))
    during(monkeypatch, 2, lambda: seen.append(load(out).reached))
    assert train(out, "--resume", "--epochs", "3") == 0
    assert seen == [Reached(1, 3, "best", 0.75)]
    assert load(out).reached == Reached(1, 3, "best", 0.75, finished=True)
    assert all(torch.equal(value, before[name]) for name, value in weights(out).items())


def test_an_older_run_that_was_stopped_has_a_network_as_soon_as_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "run", list[Any]()
    scripted(monkeypatch, 0.5, 0.25, 0.25)
    during(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert train(out, *FLAGS, "--epochs", "2") == 130
    for name in ("model.json", "model.safetensors"):
        (out / name).unlink()
    monkeypatch.undo()
    scripted(monkeypatch, 0.5, 0.25, 0.25)
    during(monkeypatch, 2, lambda: seen.append(load(out).reached))
    assert train(out, "--resume") == 0
    assert seen == [Reached(1, 2, "best", 0.5)]


class Clock:
    """Seconds that pass as a test has them pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of trainings on which a step takes 10 seconds, and 2 steps are an epoch."""
    clock, trained, init = Clock(), ClassifierModule.training_step, Course.__init__

    def stepped(self: ClassifierModule, batch: Any, batch_idx: int) -> Tensor | None:
        clock.now += 10
        return trained(self, batch, batch_idx)

    monkeypatch.setattr(ClassifierModule, "training_step", stepped)
    monkeypatch.setattr(Course, "__init__", lambda self, limit=None, started=None: init(self, limit, None, clock))
    return clock


@pytest.mark.parametrize(
    ("limit", "place", "kept"),
    [
        ("1m45s", "after epoch 4 of 9", 4),  # 80 s, and at 100 s there would be no time to end
        ("1m20s", "after epoch 3 of 9", 3),  # 60 s
        ("50s", "after epoch 2 of 9", 2),
        ("35s", "after epoch 1 of 9", 1),
    ],
)
def test_a_training_stops_after_the_last_epoch_that_fits(
    limit: str, place: str, kept: int, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = tmp_path / "run"
    scripted(monkeypatch, *(i / 10 for i in range(9)))
    assert train(out, *FLAGS, "--epochs", "9", "--max-time", limit) == 0
    said = capfd.readouterr().err
    assert f"stopped {place}, as its time of {limit} is nearly over; epoch {kept} (the best so far) can be used" in said
    assert "--resume` goes on" in said
    assert not is_finished(out)
    reached = load(out).reached
    assert reached is not None
    assert (reached.epoch, reached.epochs, reached.finished) == (kept, 9, False)
    assert epochs(out) == [str(i + 1) for i in range(kept)]


def test_an_epoch_that_takes_longer_than_those_before_is_left_in_time(
    clock: Clock, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = tmp_path / "run"
    scripted(monkeypatch, 0.25, 0.75, 0.5, 0.5)
    during(monkeypatch, 3, lambda: setattr(clock, "now", clock.now + 40))
    assert train(out, *FLAGS, "--epochs", "4", "--max-time", "00:01:35") == 0
    assert "stopped in epoch 3 of 4, as its time of 00:01:35 is nearly over; epoch 2" in capfd.readouterr().err
    assert epochs(out) == ["1", "2"]
    assert same(out, whole)
    assert "max_time" not in (out / "config.yaml").read_text()
    assert train(out, "--resume", "--max-time", "1h") == 0
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in NAMES[:3])


def test_the_time_that_is_over_before_an_epoch_is_whole_is_an_error_of_one_line(
    clock: Clock, tmp_path: Path, capfd: Any
) -> None:
    out = tmp_path / "run"
    assert train(out, *FLAGS, "--epochs", "2", "--max-time", "15s") == 2
    (said,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt: "))
    assert "stopped in epoch 1 of 2, as its time of 15s is nearly over; there is no network to look at yet" in said
    assert "longer --max-time" in said
    assert (out / "config.yaml").is_file()
    assert train(out, "--resume") == 0


def test_a_teacher_and_its_student_share_the_time(clock: Clock, tmp_path: Path, capfd: Any) -> None:
    out = tmp_path / "run"
    distilled = "explanationdistillation(weight=1.0,eps=0.1,teacher_epochs=3,samples=2)"
    flags = [*FLAGS, "--objective", distilled, "--epochs", "3"]
    assert train(out, *flags, "--max-time", "45s") == 2
    said = capfd.readouterr().err
    assert "stopped after epoch 2 of 3 of its teacher, as its time of 45s is nearly over; there is no network" in said
    assert not is_finished(out / "teacher")
    assert train(out, "--resume", "--max-time", "70s") == 0
    assert "stopped after epoch 2 of 3, as its time of 70s is nearly over; epoch " in capfd.readouterr().err
    assert is_finished(out / "teacher")
    assert train(out, "--resume") == 0
    assert is_finished(out)


def test_the_time_counts_while_images_are_read_and_explained() -> None:
    clock, told = Clock(), list[int]()
    course = Course("10s", None, clock)

    def listen(done: int, among: int | None) -> None:
        told.append(done)

    tell = course.watched(listen)
    tell(1, None)
    clock.now += 9.5
    with pytest.raises(TimeIsUp):
        tell(2, None)
    assert told == [1, 2]
    Course(None, None, clock).check(1e9)
    with pytest.raises(TimeIsUp):
        Course("10s", clock.now - 20, clock).check()


def test_nothing_but_the_clock_is_asked_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trainer:
        is_global_zero, num_nodes, num_training_batches = True, 1, 9

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    WithinTime(Course("1h")).on_train_batch_end(Trainer(), None, None, None, 0)  # type: ignore[arg-type]


def test_a_training_that_does_not_fit_its_time_is_announced(tmp_path: Path, capfd: Any) -> None:
    assert train(tmp_path / "run", *FLAGS, "--epochs", "100000", "--max-time", "1s") in (0, 2)
    assert "note: that is longer than --max-time 1s, so it will stop before its last epoch" in capfd.readouterr().err


NO_TIMES = ["8", "480", "-5m", "0s", "8:00", "1:60:00", "00:00:60", "1:24:00:00", "soon", "5m3h", "1w", "inf", "٣m"]


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_an_error_of_one_line(text: str, tmp_path: Path, capfd: Any) -> None:
    assert train(tmp_path / "run", *FLAGS, f"--max-time={text}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"max_time={text} is no time" in line
    assert "as 00:08:00" in line
    assert not (tmp_path / "run").exists()


def test_a_file_of_settings_may_name_the_time(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "own.yaml").write_text("max_time: 00:08:00\n")
    words = ["--config", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]
    assert read_settings(words).max_time == "00:08:00"
    assert "max_time" not in read_settings(words).config()
    (tmp_path / "own.yaml").write_text("max_time: 1:08:00\n")  # which YAML takes for a number
    assert train(tmp_path / "run", *words[:2]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "own.yaml, line 1: max_time" in line


def test_an_epoch_that_is_kept_twice_is_taken_from_the_device_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, saved = list[str](), torch.save

    def save(content: Any, place: Any, *given: Any, **named: Any) -> None:
        taken.append(Path(place.name).name)
        saved(content, place, *given, **named)

    monkeypatch.setattr(torch, "save", save)
    scripted(monkeypatch, 0.25, 0.5, 0.5)
    out = tmp_path / "run"
    assert train(out, *FLAGS, "--epochs", "2") == 0
    assert [name.split(".")[1] for name in taken] == ["best", "best"]
    best, last = (out / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    assert best.read_bytes() == last.read_bytes()
    assert not best.samefile(last)
    assert train(out, "--resume", "--epochs", "3") == 0
    assert [name.split(".")[1] for name in taken[2:]] == ["last"]
    assert best.read_bytes() != last.read_bytes()


def test_a_checkpoint_is_replaced_in_one_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, saved = tmp_path / "run", torch.save
    scripted(monkeypatch, 0.25, 0.5)

    def cut_off(content: Any, place: Any, *given: Any, **named: Any) -> None:
        saved(content, place, *given, **named)
        if content["epoch"] == 1:
            place.truncate(100)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut_off)
        assert train(out, *FLAGS, "--epochs", "2") == 130
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(out).reached == Reached(1, 2, "best", 0.25)
    assert train(out, "--resume") == 0
    assert load(out).reached == Reached(2, 2, "best", 0.5, finished=True)
