"""What is shared of a run: the listed files, its weights as they are, and nothing of the machine it was made on."""

import io
import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from gradsculpt.errors import ArgumentError, ModelError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.models import load
from gradsculpt.sharing import bundle
from gradsculpt.sharing.maps import MOST, fitted
from tests.sharing.small import DIGITS, ENDED, make_run, score


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_the_listed_files_and_no_others(run: Path) -> None:
    score(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_bytes(b"state of the optimiser")
    (run / "metrics.csv").write_text("epoch\n1\n")
    (run / "scorecard.csv").write_text("image\nsecret.png\n")
    files = bundle(run, "me/net", images=torch.rand(2, 3, 16, 16), license="mit").files
    expected = ["README.md", "config.json", "model.safetensors", "config.yaml", "scorecard.json", "maps.png"]
    assert list(files) == expected
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert not [name for name, content in files.items() if b"secret" in content or b"optimiser" in content]
    assert list(bundle(run, "me/net").files) == expected[:-1]


def test_the_same_run_gives_the_same_files(run: Path) -> None:
    score(run)
    images = torch.rand(2, 3, 16, 16)
    assert bundle(run, "me/net", images=images).files == bundle(run, "me/net", images=images).files


def test_a_folder_of_them_opens_as_the_run_does(run: Path, tmp_path: Path) -> None:
    score(run)
    shared = tmp_path / "shared"
    bundle(run, "me/net").write(shared)
    first, second = load(run), load(shared)
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(first(x), second(x))
    assert (first.classes, first.space, first.reached) == (second.classes, second.space, second.reached)
    assert Scorecard.load(shared)["gini"] == Scorecard.load(run)["gini"]
    description = json.loads((shared / "config.json").read_text())
    assert description["library_name"] == "gradsculpt"
    assert list(bundle(shared, "me/net").files) == list(bundle(run, "me/net").files)


def test_no_place_of_this_machine_is_in_them(tmp_path: Path) -> None:
    data = tmp_path / "private" / "photos"
    run = make_run(
        tmp_path / "private" / "run",
        data=f"folder:{data}",
        extra={"objective": f"Follow(path='{data}/maps')", "recipe": None},
        weights=str(tmp_path / "private" / "start.pth"),
        objective={"class_path": "x.Y", "init_args": {"file": "~/private/z.npy"}},
        device="cuda",
        threads=7,
    )
    score(run, {"data": f"folder:{data}", "left_out": ["private.png"], "notes": [f"Those of {data} alone."]})
    files = bundle(run, "me/net").files
    for name, content in files.items():
        assert b"private" not in content, name
        assert str(tmp_path).encode() not in content, name
    config = yaml.safe_load(files["config.yaml"])
    assert (config["data"], config["weights"]) == ("folder:photos", "start.pth")
    assert not {"device", "threads"} & set(config)
    assert json.loads(files["scorecard.json"])["settings"]["data"] == "folder:photos"


def test_a_scorecard_of_other_weights_does_not_count(run: Path, tmp_path: Path) -> None:
    score(run)
    torch.manual_seed(5)
    other = make_run(tmp_path / "other", classes=("a", "b"))
    (other / "scorecard.json").write_bytes((run / "scorecard.json").read_bytes())
    shared = bundle(other, "me/net")
    assert "scorecard.json" not in shared.files
    assert b"Not measured**: the scorecard is of other weights than these" in shared.files["README.md"]
    assert any("other weights" in note for note in shared.notes)


def test_what_cannot_be_shared_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no name of a repository"):
        bundle(run, "net")
    with pytest.raises(ArgumentError, match="--license"):
        bundle(run, "me/net", license="MIT License")
    with pytest.raises(ArgumentError, match="images"):
        bundle(run, "me/net", images=torch.rand(3, 16, 16))
    with pytest.raises(RunError, match="there is no run directory"):
        bundle(tmp_path / "nowhere", "me/net")
    (run / "scorecard.json").write_text("{}")
    with pytest.raises(RunError, match="is no scorecard"):
        bundle(run, "me/net")
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises((RunError, ModelError), match="damaged"):
        bundle(run, "me/net")


def test_a_folder_of_other_files_is_left_alone(run: Path, tmp_path: Path) -> None:
    shared, precious = bundle(run, "me/net"), tmp_path / "project"
    precious.mkdir()
    (precious / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"holds other files \(README.md\)"):
        shared.write(precious)
    assert (precious / "README.md").read_text() == "mine"
    with pytest.raises(RunError, match="holds other files"):
        shared.write(run)
    score(run)
    bundle(run, "me/net", images=torch.rand(1, 3, 16, 16)).write(tmp_path / "new")
    shared.write(tmp_path / "new")
    assert not {"maps.png", "scorecard.json"} & {path.name for path in (tmp_path / "new").iterdir()}


def test_pictures_are_small() -> None:
    stream = io.BytesIO()
    noise = torch.randint(0, 256, (500, 500, 3), dtype=torch.uint8).numpy()
    Image.fromarray(noise).save(stream, "PNG")
    assert len(stream.getvalue()) > MOST
    small = fitted(stream.getvalue())
    assert len(small) <= MOST
    assert Image.open(io.BytesIO(small)).size[0] > 100
    assert fitted(small) == small


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    from dataclasses import replace

    run = make_run(tmp_path / "run", reached=replace(ENDED, epoch=1, finished=False))
    assert b"**The training has not ended**: this is epoch 1 of 2" in bundle(run, "me/net").files["README.md"]


def test_what_a_link_leads_to_stays_here(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("data: digits\npassword: hunter2\n")
    assert b"hunter2" not in bundle(run, "me/net").files["config.yaml"]
    (run / "config.yaml").write_text("data: digits\npassword: hunter2\n")
    assert not [name for name, content in bundle(run, "me/net").files.items() if b"hunter2" in content]
    for name in ("config.yaml", "model.json", "model.safetensors"):
        kept = (run / name).read_bytes()
        (run / name).unlink()
        (tmp_path / name).write_bytes(kept)
        (run / name).symlink_to(tmp_path / name)
        with pytest.raises(RunError, match=f"{name} is a link to"):
            bundle(run, "me/net")
        (run / name).unlink()
        (run / name).write_bytes(kept)


@pytest.mark.parametrize("value", [None, [], "x", 3, {"a": [1]}])
def test_notes_of_another_form_are_no_fault(run: Path, value: object) -> None:
    description = json.loads((run / "model.json").read_text())
    del description["checksum"]
    (run / "model.json").write_text(json.dumps({**description, "extra": value, "versions": value}))
    score(run)
    card = json.loads((run / "scorecard.json").read_text())
    del card["checksum"]
    card["settings"] = {"notes": {"a": value}, "split": "test"}
    (run / "scorecard.json").write_text(json.dumps(card))
    assert b"## Limits" in bundle(run, "me/net").files["README.md"]


def test_a_run_is_described_by_its_own_file(run: Path) -> None:
    (run / "config.json").write_text('{"model_type": "vit"}')
    assert load(run).classes == DIGITS
    assert json.loads(bundle(run, "me/net").files["config.json"])["classes"] == list(DIGITS)
