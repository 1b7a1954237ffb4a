import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gradsculpt.errors import ArgumentError, ModelError, RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, load, save

SPACE = InputSpace(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make(name: str = "lenet", softplus: float | None = 3.0) -> tuple[Classifier, dict[str, Any]]:
    options = {"num_classes": 2, "image_size": 32, "softplus": softplus}
    network = build(name, num_classes=2, image_size=32, softplus=softplus)
    return Classifier(network, SPACE, ("caf\u00e9", "dog"), 32), {"model": name, **options}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    classifier, options = make()
    save(tmp_path / "run", classifier, build=options, extra={"recipe": "elastic-net", "data": Path("photos")})
    return tmp_path / "run"


def edit(run: Path, **changes: Any) -> None:
    description = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**description, **changes}))


@pytest.mark.parametrize(("name", "softplus"), [("lenet", 3.0), ("torchvision:shufflenet_v2_x0_5", None)])
def test_round_trip(tmp_path: Path, name: str, softplus: float | None) -> None:
    classifier, options = make(name, softplus)
    classifier.train()(IMAGES)  # Moves the running statistics away from where they start.
    save(tmp_path, classifier, build=options)
    assert classifier.training
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loaded = load(str(tmp_path))
    assert torch.equal(torch.rand(2), expected)
    assert not any(module.training for module in loaded.modules())
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), classifier.eval()(IMAGES))
    assert (loaded.classes, loaded.space, loaded.image_size) == (classifier.classes, SPACE, 32)


def test_description(run: Path) -> None:
    description = json.loads((run / "model.json").read_text(encoding="utf-8"))
    assert description["build"] == {"model": "lenet", "softplus": 3.0, "num_classes": 2, "image_size": 32}
    assert description["classes"] == ["caf\u00e9", "dog"]
    assert (description["mean"], description["std"]) == ([0.5, 0.4, 0.3], [0.25, 0.2, 0.1])
    assert description["extra"] == {"recipe": "elastic-net", "data": "photos"}
    assert {"python", "gradsculpt", "torch", "torchvision"} <= set(description["versions"])
    assert sorted(path.name for path in run.iterdir()) == ["model.json", "model.safetensors"]


def test_git_revision_is_that_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    classifier, options = make()
    save(tmp_path / "before", classifier, build=options)
    assert json.loads((tmp_path / "before" / "model.json").read_text())["git_revision"] is None
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    save(tmp_path / "after", classifier, build=options)
    assert json.loads((tmp_path / "after" / "model.json").read_text())["git_revision"] == head


def test_a_failed_write_leaves_the_old_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    classifier, options = make()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"model.safetensors cannot be written \(No space left on device\)"):
        save(run, classifier, build=options)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_shared_and_permuted_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones_tied.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)\n"
        "    second.weight = first.weight\n"
        "    return nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "someones_tied", raising=False)
    classifier, options = make("python:someones_tied:make", None)
    linear = classifier.network.get_submodule("4")
    linear.weight = nn.Parameter(torch.randn(3, 2).T)
    save(tmp_path / "run", classifier, build=options)
    with pytest.raises(ModelError, match=r"run cannot be loaded: .*pass --trust-code someones_tied"):
        load(tmp_path / "run")
    loaded = load(tmp_path / "run", trust_code=["someones_tied"])
    for key, value in classifier.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    tied = loaded.network.get_submodule("0"), loaded.network.get_submodule("1")
    assert tied[0].weight is tied[1].weight

    (tmp_path / "someones_tied.py").unlink()
    sys.modules.pop("someones_tied")
    with pytest.raises(ModelError, match="run cannot be loaded: python:someones_tied:make cannot be imported"):
        load(tmp_path / "run", trust_code=["someones_tied"])


def test_nothing_is_imported_from_the_run_directory(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "planted.py").write_text("raise SystemExit('ran code of the checkpoint')")
    edit(run, build={"model": "python:planted:make", "softplus": None, "num_classes": 2, "image_size": 32})
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(run)
    with pytest.raises(ModelError, match="code of the module 'planted'"):
        load(run)


def test_refuses_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Stateful(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    classifier = Classifier(Stateful(2, 2), SPACE, ("a", "b"), 32)
    options = {"model": "python:a:b", "softplus": None, "num_classes": 2, "image_size": 32}
    with pytest.raises(ModelError, match="'_extra_state' is no ordinary tensor"):
        save(tmp_path, classifier, build=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"num_classes": 3}, "has 2 classes and image size 32, but build says 3"), ({"image_size": 64}, "says 2 and 64")],
)
def test_save_refuses_a_build_that_contradicts(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    classifier, options = make()
    with pytest.raises(ArgumentError, match=words):
        save(tmp_path, classifier, build={**options, **changes})
    with pytest.raises(ArgumentError, match="build lacks softplus"):
        save(tmp_path, classifier, build={key: value for key, value in options.items() if key != "softplus"})


def test_runs_that_are_no_runs(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="there is no run directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(RunError, match="is a file; pass the run directory"):
        load(run / "model.safetensors")
    (run / "model.json").unlink()
    with pytest.raises(RunError, match=r"training did not finish.*gradsculpt train --out \S+run --resume"):
        load(run)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_damaged_description(run: Path, content: bytes) -> None:
    (run / "model.json").write_bytes(content)
    with pytest.raises(RunError, match=r"model.json cannot be read"):
        load(run)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has format 2, and this gradsculpt reads 1"),
        ({"build": None}, "no usable entry build,"),
        ({"build": {"model": "lenet"}}, "no usable entry build.softplus"),
        ({"classes": [1, 2]}, "no usable entry classes"),
        ({"classes": ["a", "b", "c"]}, "names 3 classes for a network with 2 outputs"),
        ({"mean": []}, "no usable entry mean"),
    ],
)
def test_descriptions_that_cannot_be_used(run: Path, changes: dict[str, Any], words: str) -> None:
    edit(run, **changes)
    with pytest.raises(RunError, match=words):
        load(run)


def test_descriptions_that_are_no_object(run: Path) -> None:
    (run / "model.json").write_text("[]")
    with pytest.raises(RunError, match="is not a JSON object"):
        load(run)


def test_descriptions_of_what_cannot_be_built(run: Path) -> None:
    edit(run, std=[1.0, 0.0, 1.0])
    with pytest.raises(ModelError, match=r"run cannot be loaded: std=0.0 is out of range"):
        load(run)


def test_missing_and_damaged_weights(run: Path) -> None:
    path = run / "model.safetensors"
    whole = path.read_bytes()
    for content in (b"", b"not safetensors at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"model.safetensors is damaged"):
            load(run)
    path.unlink()
    with pytest.raises(RunError, match=r"model.safetensors is missing"):
        load(run)


def test_weights_that_do_not_fit(run: Path) -> None:
    path = run / "model.safetensors"
    state = load_file(path)
    lost = {key: value for key, value in state.items() if not key.startswith("features.0")}
    cases = {
        "lacks features.0.weight and 1 more": lost,
        "has beyond the network stray": {**state, "stray": torch.zeros(1)},
        r"has in another shape head.3.bias \(\[7\], the network needs \[2\]\)": {
            **state,
            "head.3.bias": torch.zeros(7),
        },
    }
    for words, tensors in cases.items():
        save_file(tensors, path)
        with pytest.raises(ModelError, match=f"do not fit the network lenet of .*run: the file {words}[.;]"):
            load(run)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto", "cpu:0"], ids=str)
def test_a_run_is_loaded_onto_a_device(run: Path, device: Any) -> None:
    loaded = load(run, device=device)
    if device != "auto" or not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        assert loaded.device.type == "cpu"
    assert loaded(IMAGES.to(loaded.device)).device == loaded.device


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "meta", "tpu", 4096, None, 1.5], ids=str)
def test_a_device_that_is_not_there_is_told_in_one_line_before_anything_is_read(run: Path, device: Any) -> None:
    for folder in (run, run / "nowhere"):
        with pytest.raises(ArgumentError, match=r"device=.* cannot be had here .*what there is: .*cpu") as error:
            load(folder, device=device)
        assert "\n" not in str(error.value)
