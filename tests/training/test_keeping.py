"""What a run keeps: nothing of it is lost with a file, and no file of another training is taken for its own."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gradsculpt.cli.main import main
from gradsculpt.errors import RunError
from gradsculpt.models import load
from gradsculpt.report import read_curve

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "32", "--train-count", "64", "--threads", "1"]
FLAGS += ["--lr", "0.003", "--device", "cpu"]


def train(out: Path, *flags: str) -> int:
    return main(["train", "--out", str(out), *flags])


def table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if "checksum" not in name} for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("keeping") / "run"
    assert train(out, *FLAGS, "--epochs", "3") == 0
    return out


@pytest.mark.parametrize("how", ["missing", "of fewer epochs"])
def test_epochs_that_the_table_lacks_come_from_the_checkpoint(
    how: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path, rows = copy / "metrics.csv", table(run)
    lines = path.read_text().splitlines()
    path.unlink()
    if how == "of fewer epochs":
        path.write_text("\n".join([lines[0].partition(",checksum")[0], *(line[:-1] for line in lines[1:2])]) + "\n")
    assert train(copy, "--resume", "--epochs", "4") == 0
    assert (
        "metrics.csv lacked epochs, or had others, and is written again from the checkpoint" in capfd.readouterr().err
    )
    assert table(copy)[:3] == rows
    assert [row["epoch"] for row in table(copy)] == ["1", "2", "3", "4"]


def test_a_damaged_table_is_refused_and_may_be_removed(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "metrics.csv"
    path.write_text(path.read_text().replace("1", "2", 1))
    assert train(copy, "--resume", "--epochs", "4") == 2
    line = capfd.readouterr().err
    assert "metrics.csv is damaged" in line
    assert "Remove it: it is written again from the last checkpoint." in line
    with pytest.raises(RunError, match=r"metrics.csv is damaged"):
        read_curve(copy)
    path.write_text("")
    assert train(copy, "--resume", "--epochs", "4") == 2
    assert "metrics.csv is no table of epochs (it holds no rows)" in capfd.readouterr().err
    with pytest.raises(RunError, match="no epochs"):
        read_curve(copy)


def test_the_rows_of_an_older_run_are_read_from_its_table(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for path in (copy / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        del content["callbacks"]["MetricsTable"]
        torch.save(content, path)
    assert train(copy, "--resume", "--epochs", "4") == 0
    assert table(copy)[:3] == table(run)
    (copy / "metrics.csv").unlink()
    for path in (copy / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        del content["callbacks"]["MetricsTable"]
        torch.save(content, path)
    capfd.readouterr()
    assert train(copy, "--resume", "--epochs", "5") == 0
    assert "metrics.csv has 0 of the 4 epochs before; the others are lost" in capfd.readouterr().err


def test_the_last_checkpoint_is_not_taken_for_the_best(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training.test_stopping import scripted

    with monkeypatch.context() as patch:
        scripted(patch, 0.75, 0.5)
        assert train(tmp_path / "run", *FLAGS, "--epochs", "2") == 0
        assert train(tmp_path / "other", *FLAGS, "--epochs", "1", "--seed", "1") == 0
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    for wrong in (best.with_name("last.ckpt"), tmp_path / "other" / "checkpoints" / "best.ckpt"):
        shutil.copyfile(wrong, best)
        assert train(tmp_path / "run", "--resume", "--epochs", "3") == 2
        assert "best.ckpt is not the best checkpoint of the training that last.ckpt is of" in capfd.readouterr().err


def test_weights_and_a_description_of_two_runs_do_not_belong_together(run: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "other", *FLAGS, "--epochs", "1", "--seed", "1") == 0
    for name in ("model.safetensors", "model.json"):
        copy = shutil.copytree(run, tmp_path / name)
        shutil.copyfile(tmp_path / "other" / name, copy / name)
        with pytest.raises(RunError, match=r"model.safetensors and model.json beside it are of two runs"):
            load(copy)


def test_settings_that_were_changed_on_purpose_are_taken_without_their_checksum(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "config.yaml"
    changed = path.read_text().replace("epochs: 3", "epochs: 4")
    path.write_text(changed)
    for words in (["--resume"], ["--config", str(path)]):
        assert train(copy if "--resume" in words else tmp_path / "new", *words) == 2
        assert "config.yaml is damaged" in (line := capfd.readouterr().err)
        assert "delete the line with the checksum, its first" in line
    path.write_text(changed.partition("\n")[2])
    assert train(copy, "--resume") == 0
    assert len(table(copy)) == 4


def test_an_older_checkpoint_is_checked_by_the_sums_of_its_archive(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    last = copy / "checkpoints" / "last.ckpt"
    torch.save(torch.load(last, weights_only=True), last)
    assert train(copy, "--resume", "--epochs", "4") == 0
    torch.save(torch.load(last, weights_only=True), last)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert train(copy, "--resume", "--epochs", "5") == 2
    assert "last.ckpt is damaged" in capfd.readouterr().err


def test_files_hold_nothing_that_another_training_would_not(run: Path, tmp_path: Path) -> None:
    """The same training leaves the same bytes, checksums and all."""
    assert train(tmp_path / "again", *FLAGS, "--epochs", "3") == 0
    for name in ("config.yaml", "model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    assert json.loads((run / "model.json").read_text())["run"]
    assert load_file(run / "model.safetensors").keys() == load(run).network.state_dict().keys()
