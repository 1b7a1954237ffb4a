"""Every command that looks at a network, on a run that is being trained or was stopped; the readers of its files."""

import json
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradsculpt.cli.main import main
from gradsculpt.errors import RunError
from gradsculpt.evaluation import Scorecard, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, load
from gradsculpt.models.checkpoint import describe, opened, write
from gradsculpt.runs import Reached, is_finished
from gradsculpt.training.module import ClassifierModule

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "32", "--train-count", "64"]
FLAGS += ["--threads", "1", "--device", "cpu"]
NOTE = "is unfinished: this is epoch 2 of 4, the best so far (validation accuracy 0.750)"


def aside(work: Callable[[], Any]) -> Any:
    """Return what another thread returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: ClassifierModule) -> None:
        self.log("val_accuracy", (0.25, 0.75, 0.5, 0.875)[self.current_epoch], batch_size=1)

    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", score)


def in_epoch_four(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> None:
    start = ClassifierModule.on_train_epoch_start

    def started(self: ClassifierModule) -> None:
        start(self)
        if self.current_epoch == 3:
            work()

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", started)


def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unfinished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        scripted(patch)
        in_epoch_four(patch, stop)
        assert main(["train", *FLAGS, "--epochs", "4", "--out", str(out)]) == 130
    return out


COMMANDS = {
    "explain": ["explain", "{run}", "{image}", "--out", "{out}"],
    "attack": ["attack", "{run}", "{image}", "--steps", "1", "--out", "{out}"],
    "features": ["features", "{run}", "--classes", "3", "--steps", "1", "--out", "{out}"],
    "export": ["export", "{run}", "--torchscript", "{out}.pt"],
    "evaluate": ["evaluate", "{run}", "--limit", "2", "--groups", "accuracy"],
    "compare": ["compare", "{run}", "--limit", "2", "--groups", "accuracy", "--out", "{out}.html"],
    "train": ["train", *FLAGS, "--epochs", "1", "--weights", "{run}", "--out", "{out}"],
}


def words(name: str, run: Path, folder: Path) -> list[str]:
    image = folder / "image.png"
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(image)
    return [word.format(run=run, image=image, out=folder / name) for word in COMMANDS[name]]


def said_of(name: str) -> str:
    return NOTE if name != "train" else f"note: the weights are of an unfinished training: {NOTE.partition('is ')[2]}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_that_was_stopped_is_as_good_as_any_and_says_of_which_epoch_it_is(
    name: str, stopped: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(stopped, tmp_path / "run")
    assert main(words(name, run, tmp_path)) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "epoch 2 of 4" in line]
    assert len(lines) == 1
    assert lines[0].startswith("note: ")
    assert lines[0].endswith("epoch 2 of 4, the best so far (validation accuracy 0.750)")


def test_a_run_that_is_being_trained_can_be_looked_at_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "run", dict[str, int]()
    scripted(monkeypatch)
    with monkeypatch.context() as patch:

        def look() -> None:
            patch.undo()  # or the training of the looks would look as well
            for name in COMMANDS:
                results[name] = aside(partial(main, words(name, out, tmp_path)))

        in_epoch_four(patch, look)
        assert main(["train", *FLAGS, "--epochs", "4", "--out", str(out)]) == 0
    assert results == dict.fromkeys(COMMANDS, 0)
    assert capfd.readouterr().err.count(NOTE) == len(COMMANDS) - 1
    assert Scorecard.load(out).settings["trained"]["epoch"] == 2
    assert load(out).reached == Reached(4, 4, "best", 0.875, finished=True)


def test_scores_of_an_unfinished_run_are_never_taken_for_those_of_the_finished_one(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(stopped, tmp_path / "run")
    score = ["evaluate", str(run), "--limit", "2", "--groups", "accuracy"]
    assert main(score) == 0
    first = Scorecard.load(run)
    assert first.settings["trained"] == {
        "epoch": 2, "epochs": 4, "keep": "best", "val_accuracy": 0.75, "finished": False,
    }  # fmt: skip
    assert first.settings["notes"][0].startswith("run is unfinished: epoch 2 of 4")
    scripted(monkeypatch)
    assert main(["train", "--resume", "--out", str(run)]) == 0
    capfd.readouterr()
    assert main(score) == 0
    assert "used again" not in capfd.readouterr().err
    second = Scorecard.load(run)
    assert second.settings["fingerprints"]["network"] != first.settings["fingerprints"]["network"]
    assert (second.settings["trained"]["epoch"], second.settings["trained"]["finished"]) == (4, True)
    assert not any("unfinished" in note for note in second.settings["notes"])


def test_scores_that_are_used_again_are_of_a_finished_run_when_it_has_finished(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(stopped, tmp_path / "run")
    score = ["evaluate", str(run), "--limit", "2", "--groups", "accuracy"]
    assert main(score) == 0
    description = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**description, "finished": True}))
    assert is_finished(run)
    assert main(score) == 0
    assert "used again" in capfd.readouterr().err
    card = Scorecard.load(run)
    assert card.settings["trained"]["finished"] is True
    assert not any("unfinished" in note for note in card.settings["notes"])


def test_a_library_evaluation_notes_the_epoch(stopped: Path) -> None:
    classifier = load(stopped)
    batch = (torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
    assert evaluate(classifier, batch).settings["trained"]["epoch"] == 2
    assert "trained" not in evaluate(classifier.network, batch, space=classifier.space).settings


def classifier() -> Classifier:
    network = build("lenet", num_classes=2, image_size=8)
    return Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("no", "yes"), 8)


BUILD = {"model": "lenet", "softplus": None, "num_classes": 2, "image_size": 8}


def put(folder: Path, network: nn.Module, description: dict[str, Any], epoch: int) -> None:
    """Write a network whose every weight is its epoch."""
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(epoch)
    write(folder, network, description, Reached(epoch, 200, "best", epoch / 200), lasting=False)


def test_whoever_reads_while_a_training_writes_gets_one_epoch_whole(tmp_path: Path) -> None:
    given, ended, seen = classifier(), threading.Event(), list[int]()
    description = describe(given, build=BUILD)
    put(tmp_path, given.network, description, 1)

    def read() -> None:
        while not ended.is_set() or not seen:
            _, weights, reached = opened(tmp_path)
            assert reached is not None
            assert reached.val_accuracy == reached.epoch / 200
            assert all(bool((value == reached.epoch).all()) for value in weights.values())
            seen.append(reached.epoch)

    failures: list[BaseException] = []

    def watched() -> None:
        try:
            read()
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=watched) for _ in range(2)]
    for reader in readers:
        reader.start()
    for epoch in range(2, 201):
        put(tmp_path, given.network, description, epoch)
    ended.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(set(seen)) > 2
    assert opened(tmp_path)[2] == Reached(200, 200, "best", 1.0)


@pytest.mark.parametrize("newer", ["model.safetensors", "model.json"])
def test_what_was_killed_between_its_two_files_is_of_the_epoch_of_the_weights(newer: str, tmp_path: Path) -> None:
    given = classifier()
    description = describe(given, build=BUILD)
    put(tmp_path / "run", given.network, description, 3)
    put(tmp_path / "next", given.network, description, 4)
    shutil.copy(tmp_path / "next" / newer, tmp_path / "run" / newer)
    network = load(tmp_path / "run")
    epoch = 4 if newer == "model.safetensors" else 3
    assert network.reached == Reached(epoch, 200, "best", epoch / 200)
    assert all(bool((value == epoch).all()) for value in network.network.state_dict().values())


def test_a_run_of_an_older_version_is_a_finished_one(tmp_path: Path) -> None:
    given = classifier()
    write(tmp_path, given.network, describe(given, build=BUILD))
    assert load(tmp_path).reached is None
    assert is_finished(tmp_path)
    assert "epoch" not in json.loads((tmp_path / "model.json").read_text())


def test_what_a_description_says_of_epochs_is_believed_only_if_it_makes_sense(tmp_path: Path) -> None:
    given = classifier()
    description = describe(given, build=BUILD)
    for nonsense in ({"epoch": "x"}, {"epochs": None}, {"keep": "worst"}, {"val_accuracy": "high"}):
        put(tmp_path, given.network, description, 3)
        said = json.loads((tmp_path / "model.json").read_text())
        (tmp_path / "model.json").write_text(json.dumps({**said, **nonsense, "finished": True}))
        assert load(tmp_path).reached == Reached(3, 200, "best", 3 / 200)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(RunError, match="is damaged"):
        load(tmp_path)


def test_the_same_network_makes_the_same_file(tmp_path: Path) -> None:
    given = classifier()
    description = describe(given, build=BUILD)
    for name in "abcd":
        put(tmp_path / name, given.network, description, 3)
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in "abcd"}) == 1
