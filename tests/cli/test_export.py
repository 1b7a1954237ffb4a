"""`gradsculpt export`: whatever names a network, a file, and one line for what cannot be."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import gradsculpt as gs
from gradsculpt.cli.main import main
from gradsculpt.locks import locked
from tests.faults.accidents import disk

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load.* is deprecated:FutureWarning")

WORDS = ["--data", "digits", "--image-size", "16", "--train-count", "60", "--epochs", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "smooth"
    recipe = ["--recipe", "elastic-net", "--softplus", "3", "--model", "convnet"]
    assert main(["train", *WORDS, *recipe, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def tuned(run: Path) -> Path:
    out = run.with_name("tuned")
    words = ["--model", "convnet", "--softplus", "3", "--weights", str(run), "--freeze", "backbone"]
    assert main(["train", *WORDS, *words, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("which", ["run", "tuned"])
def test_a_run_is_written_and_told_of(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue(which)
    capfd.readouterr()
    assert main(["export", str(folder), "--onnx", str(tmp_path / "deep" / "net.onnx")]) == 0
    assert main(["export", "--torchscript", str(tmp_path / "net.pt"), str(folder)]) == 0
    out, said = capfd.readouterr()
    assert out == ""
    assert said.count("differ from the network's by") == 2
    assert said.count("takes images [N, 3, 16, 16] in [0, 1]") == 2
    assert "Warning" not in said
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", "net.onnx", "net.pt"}
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        ours = gs.load(folder)(images)
    session = onnxruntime.InferenceSession(tmp_path / "deep" / "net.onnx")
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], ours, rtol=1e-4, atol=1e-5)
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["classes"]) == list(gs.load(folder).classes)
    assert "epoch 1 of 1" in texts["trained"]
    assert texts["source"].startswith(f"{folder.name}: ")
    assert str(folder.parent) not in "".join(texts.values())
    torch.testing.assert_close(torch.jit.load(tmp_path / "net.pt")(images), ours, rtol=1e-4, atol=1e-5)


def test_networks_by_name_go_too(tmp_path: Path) -> None:
    network = gs.models.build("torchvision:squeezenet1_1", num_classes=4, image_size=32)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    name = f"torchvision:squeezenet1_1={tmp_path / 'weights.pth'}"
    assert main(["export", name, "--image-size", "40", "--torchscript", str(tmp_path / "net.pt")]) == 0
    assert torch.jit.load(tmp_path / "net.pt")(torch.rand(2, 3, 40, 40)).shape == (2, 4)


def test_a_run_is_written_for_another_size_where_it_takes_one(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--image-size", "24", "--torchscript", str(tmp_path / "net.pt")]) == 0
    assert torch.jit.load(tmp_path / "net.pt")(torch.rand(2, 3, 24, 24)).shape == (2, 10)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image-size", "4", "--torchscript", "{out}/net.pt"], "cannot take 4 x 4 images.*built for, 16"),
        (["--image-size", "100000", "--torchscript", "{out}/net.pt"], "image_size=100000 is out of range"),
        (["--weights", "default", "--torchscript", "{out}/net.pt"], "has its own weights"),
    ],
)
def test_what_the_network_does_not_take_is_one_line(
    words: list[str], said: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert main(["export", str(run), *(word.format(out=tmp_path) for word in words)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt: ")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> None:
        assert [each.name for each in tmp_path.glob(".net.*.pt")] == [path.name]  # what was written and has no name yet
        raise KeyboardInterrupt

    monkeypatch.setattr("gradsculpt.models.torchscript_file.opened", interrupted)
    assert main(["export", str(run), "--torchscript", str(tmp_path / "net.pt")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "gradsculpt: interrupted." in capfd.readouterr().err


def test_what_a_call_that_was_killed_left_is_gone(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".net.4194000.pt").write_text("half of")
    assert main(["export", str(run), "--torchscript", str(tmp_path / "net.pt")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_a_second_writer_is_told(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path, "export", name=".net.pt.lock"):
        statuses = list[int]()
        words = ["export", str(run), "--torchscript", str(tmp_path / "net.pt")]
        thread = threading.Thread(target=lambda: statuses.append(main(words)))
        thread.start()
        thread.join()
    assert statuses == [2]
    said = capfd.readouterr().err
    assert "name another file" in said
    assert "--out" not in said


def test_a_disk_that_is_full_leaves_nothing(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        with disk(tmp_path / "small", 100_000):
            assert main(["export", str(run), "--torchscript", str(tmp_path / "small" / "net.pt")]) == 2
            assert list((tmp_path / "small").iterdir()) == []
    except OSError:
        pytest.skip("no file system can be made here")
    assert "net.pt cannot be written (No space left on device)" in capfd.readouterr().err


def test_without_the_extra_it_is_told_at_once_and_torchscript_goes(run: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name.startswith('onnx') else find(name, *more)\n"
        "from gradsculpt.cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        "sys.exit(99 if 'torch' in sys.modules else status)\n"
    )
    words = [sys.executable, "-c", code, "export", str(run), "--onnx", str(tmp_path / "net.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "onnx, onnxscript, onnxruntime, which are not installed" in done.stderr
    assert "pip install 'gradsculpt[onnx]'" in done.stderr
    assert done.stderr.count("\n") == 1
