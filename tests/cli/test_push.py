"""A run goes to a stand-in of the Hub, and comes back as the network that it was, in maps and scores."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradsculpt
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Scorecard
from gradsculpt.hub import parse
from gradsculpt.hub.fetching import fetch
from gradsculpt.sharing import bundle
from tests.hub import standin
from tests.hub.standin import TOKEN, Hub
from tests.sharing.small import make_run

SCORED = ["--limit", "6", "--groups", "accuracy", "sparsity", "--device", "cpu"]
ALL = {"README.md", "config.json", "model.safetensors", "config.yaml", "scorecard.json", "maps.png"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("pushed") / "digits")
    assert main(["evaluate", str(run), *SCORED]) == 0
    return run


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "digits"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with standin.hub() as server, standin.told(standin.environment(server.address, tmp_path / "home")):
        yield server


def test_a_run_comes_back_with_the_same_maps_and_scores(
    hub: Hub, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main(["push", str(run), "me/digits", "--license", "mit"]) == 0
    out, error = capfd.readouterr()
    assert f"It is at {hub.address}/me/digits; others open it as hf:me/digits" in out
    assert "6 files" in error
    assert "for everybody to see" in error
    assert all(name in error for name in ALL)
    assert TOKEN not in out + error
    assert set(hub.files("me/digits")) == {*ALL, ".gitattributes"}
    assert not hub.repositories["me/digits"].private
    assert not [name for name, content in hub.files("me/digits").items() if TOKEN.encode() in content]
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    for name, network in (("own", str(run)), ("hub", "hf:me/digits")):
        few = ["--data", "digits", "--count", "3", "--device", "cpu", "--cache-dir", str(tmp_path / "cache")]
        assert main(["explain", network, *few, "--out", str(tmp_path / name)]) == 0
        assert main(["evaluate", network, *SCORED, "--out", str(tmp_path / f"{name}-scores")]) == 0
    maps = sorted((tmp_path / "own").glob("*.npy"))
    assert len(maps) == 3
    for path in maps:
        assert np.array_equal(np.load(path), np.load(tmp_path / "hub" / path.name))
    own, shared = (Scorecard.load(tmp_path / f"{name}-scores") for name in ("own", "hub"))
    assert own.entries == shared.entries
    assert own.settings == shared.settings
    rows = [list(csv.reader((tmp_path / f"{name}-scores" / "scorecard.csv").open())) for name in ("own", "hub")]
    assert rows[0][1:] == rows[1][1:]


def test_a_second_push_is_another_commit_and_takes_away_what_is_gone(hub: Hub, run: Path) -> None:
    assert main(["push", str(run), "me/digits"]) == 0
    (run / "scorecard.json").unlink()
    assert main(["push", str(run), "hf:me/digits", "--count", "0"]) == 0
    assert set(hub.files("me/digits")) == ALL - {"scorecard.json", "maps.png"} | {".gitattributes"}
    assert len(hub.repositories["me/digits"].commits) == 3
    assert main(["push", str(run), "me/digits", "--revision", "v2"]) == 0
    assert set(hub.repositories["me/digits"].branches) == {"main", "v2"}
    assert "maps.png" in hub.files("me/digits", "v2")
    assert "maps.png" not in hub.files("me/digits")
    assert b"hf:me/digits@v2" in hub.files("me/digits", "v2")["README.md"]


def test_what_is_private_stays_so(hub: Hub, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "me/secret", "--private", "--count", "0"]) == 0
    assert hub.repositories["me/secret"].private
    assert "for nobody else to see" in capfd.readouterr().err
    before = hub.put("me/open", {"README.md": b"hello"}).branches["main"]
    assert main(["push", str(run), "me/open", "--private", "--count", "0"]) == 2
    assert "me/open is there already, and everybody can see it" in capfd.readouterr().err
    assert hub.repositories["me/open"].branches["main"] == before


@pytest.mark.parametrize("option", [["--dry-run"], ["--out", "{tmp}/shared"]])
def test_nothing_is_sent_where_that_is_asked_for(option: list[str], hub: Hub, run: Path, tmp_path: Path) -> None:
    assert main(["push", str(run), "me/digits", *(word.format(tmp=tmp_path) for word in option)]) == 0
    assert hub.asked == []
    made = {path.name for path in (tmp_path / "shared").iterdir()} if "--out" in option else ALL
    assert made == ALL


def test_a_folder_of_what_is_shared_is_looked_at_as_a_run_is(run: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    assert main(["push", str(run), "me/digits", "--out", str(shared), "--count", "0"]) == 0
    assert main(["explain", str(shared), "--data", "digits", "--count", "1", "--out", str(tmp_path / "maps")]) == 0
    assert main(["push", str(run), "me/digits", "--out", str(shared), "--count", "1"]) == 0
    assert (shared / "maps.png").is_file()


def test_images_of_ones_own_are_shown_to_nobody_unless_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.faults.pictures import fill

    for part in ("train", "val"):
        for i, name in enumerate(("cat", "dog")):
            fill(tmp_path / "photos" / part / name, 4, seed=10 * i)
    run = make_run(tmp_path / "run", classes=("cat", "dog"), data=f"folder:{tmp_path / 'photos'}", train_count=4)
    assert main(["push", str(run), "me/net", "--out", str(tmp_path / "none")]) == 0
    assert "the card shows no maps" in capfd.readouterr().err
    assert not (tmp_path / "none" / "maps.png").exists()
    assert main(["push", str(run), "me/net", "--count", "2", "--out", str(tmp_path / "two")]) == 0
    assert (tmp_path / "two" / "maps.png").is_file()


def test_a_network_of_images_that_are_not_shared_asks_for_data(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", classes=("cat", "dog"), data=f"folder:{tmp_path / 'photos'}")
    assert main(["push", str(run), "me/net", "--count", "0"]) == 0
    for words in (["evaluate", "hf:me/net"], ["features", "hf:me/net", "--colours", "data"]):
        capfd.readouterr()
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        assert "was trained on images of somebody's own (folder:photos)" in capfd.readouterr().err


def test_images_are_decoded_into_ones_own_folder(hub: Hub, tmp_path: Path) -> None:
    from gradsculpt.data.cells import CLASSES

    run = make_run(tmp_path / "run", classes=CLASSES, data="cells")
    assert main(["push", str(run), "me/net", "--count", "0"]) == 0
    assert main(["evaluate", "hf:me/net", *SCORED, "--out", str(tmp_path / "scores")]) == 0
    assert not [path for path in (tmp_path / "home").rglob("*") if "cache" in path.name.lower() and path.is_dir()]
    assert (tmp_path / "scores" / "cache").is_dir()


REFUSED = {
    "no right": (["push", "{run}", "you/digits", "--count", "0"], "gives no right to that in you/digits"),
    "other library": (["push", "{run}", "me/vit", "--count", "0"], "me/vit holds something else already"),
    "unfinished": (["push", "{tmp}/empty", "me/digits"], "has no model.json"),
    "damaged": (["push", "{tmp}/damaged", "me/digits"], "damaged"),
    "folder in use": (["push", "{run}", "me/digits", "--out", "{tmp}"], "holds other files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pushed_is_one_line(
    name: str, hub: Hub, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/vit", {"config.json": json.dumps({"model_type": "vit"}).encode()})
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text("data: digits\n")
    damaged = make_run(tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:-7])
    words, said = REFUSED[name]
    capfd.readouterr()
    assert main([word.format(run=run, tmp=tmp_path) for word in words]) == 2
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("gradsculpt: ")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines
    assert TOKEN not in error
    assert set(hub.files("me/vit")) == {"config.json"}


def test_who_is_not_logged_in_is_told_before_the_work(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradsculpt.cli.push.prepare", lambda: pytest.fail("the work has begun"))
    nowhere = standin.environment("http://127.0.0.1:9", tmp_path / "home")
    for change, said in (({"HF_TOKEN": ""}, "nobody is logged in"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")):
        with standin.told({**nowhere, **change}):
            assert main(["push", str(run), "me/digits"]) == 2
            assert said in capfd.readouterr().err
    monkeypatch.setattr("gradsculpt.hub.names.find_spec", lambda name: None)
    assert main(["push", str(run), "me/digits"]) == 2
    assert "pip install 'gradsculpt[hub]'" in capfd.readouterr().err


def test_a_hub_that_is_not_there_is_told_soon(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with standin.told(standin.environment("http://127.0.0.1:9", tmp_path / "home")):
        assert main(["push", str(run), "me/digits", "--count", "0"]) == 2
        assert "http://127.0.0.1:9 cannot be reached" in capfd.readouterr().err
        assert main(["explain", "hf:me/digits", "--data", "digits", "--out", str(tmp_path / "maps")]) == 2
        assert "http://127.0.0.1:9 cannot be reached" in capfd.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_python_pushes_and_loads(hub: Hub, run: Path) -> None:
    import torch

    import gradsculpt as gs

    images = torch.rand(2, 3, 16, 16)
    assert gs.push(run, "me/net@v1", private=True, images=images) == f"{hub.address}/me/net/tree/v1"
    assert torch.equal(gs.load("hf:me/net@v1")(images), gs.load(run)(images))
    assert hub.repositories["me/net"].private


def test_a_process_that_has_only_its_environment_fetches(hub: Hub, run: Path, tmp_path: Path) -> None:
    assert main(["push", str(run), "me/digits", "--count", "0"]) == 0
    environment = {**os.environ, **standin.environment(hub.address, tmp_path / "elsewhere")}
    environment["PYTHONPATH"] = str(Path(gradsculpt.__file__).parents[1])
    code = (
        "from gradsculpt.hub.fetching import fetch; from gradsculpt.hub import parse; print(fetch(parse('me/digits')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "elsewhere" / "hub" / "models--me--digits")


def test_settings_that_cannot_be_read_here_keep_nobody_from_the_network(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    assert main(["push", str(run), "me/net", "--count", "0"]) == 0
    files = hub.files("me/net")
    for text in (
        b"data: python:planted:images\n",
        b"objective: planted.Own\n",
        b"a_setting_of_tomorrow: 3\n",
        b"- [\n",
    ):
        hub.put("me/net", {**files, "config.yaml": text})
        capfd.readouterr()
        words = ["--data", "digits", "--count", "1", "--device", "cpu", "--out", str(tmp_path / "maps")]
        assert main(["explain", "hf:me/net", *words]) == 0
        assert "cannot be read here, so it brings no data of its own" in capfd.readouterr().err
        assert main(["evaluate", "hf:me/net", "--out", str(tmp_path / "scores")]) == 2
        assert "net is no run with data of its own; pass --data" in capfd.readouterr().err
    hub.put("me/net", {name: content for name, content in files.items() if name != "config.yaml"})
    assert main(["explain", "hf:me/net", *words]) == 0


COMMANDS = {
    "attack": ["attack", "hf:me/digits", "--data", "digits", "--count", "1", "--steps", "1", "--out", "{tmp}/out"],
    "features": ["features", "hf:me/digits", "--classes", "3", "--steps", "1", "--out", "{tmp}/out"],
    "compare": ["compare", "hf:me/digits", "{run}", *SCORED, "--count", "1", "--out", "{tmp}/page.html"],
    "evaluate": ["evaluate", "hf:me/digits", *SCORED, "--count", "1", "--html", "{tmp}/page.html"],
    "train": [
        *("train", "--data", "digits", "--model", "lenet", "--image-size", "16", "--weights", "hf:me/digits"),
        *("--train-count", "40", "--epochs", "1", "--out", "{tmp}/out"),
    ],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_named_wherever_a_run_is(command: str, hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.put("me/digits", bundle(run, "me/digits").files)
    fetch(parse("hf:me/digits"))
    home = tmp_path / "home"
    before = sorted(path for path in home.rglob("*") if path.suffix != ".lock")
    assert main([word.format(run=run, tmp=tmp_path) for word in COMMANDS[command]]) == 0
    assert sorted(path for path in home.rglob("*") if path.suffix != ".lock") == before


def test_the_page_offers_it(hub: Hub, run: Path, tmp_path: Path) -> None:
    from gradsculpt.viewer.subjects import named_subjects

    assert main(["push", str(run), "me/digits", "--count", "0"]) == 0
    places = {"out": tmp_path, "cache_dir": tmp_path / "cache", "data_dir": None, "data": "digits", "device": "cpu"}
    given: dict[str, Any] = {"weights": None, "mean": [], "std": [], "image_size": None}
    (subject,) = named_subjects(["hf:me/digits"], {**places, **given})
    assert subject.title == "me/digits"
    assert subject.network.classifier.classes == tuple("0123456789")
    assert len(subject.images) > 0
