"""Words in an order that nobody wrote down, modules in the current folder, and what is installed."""

import re
import time
from pathlib import Path

import pytest

from gradsculpt.cli import doctor
from gradsculpt.cli.known import is_network, other_than_a_run
from gradsculpt.cli.main import main
from gradsculpt.cli.networks import add_network_options, networks_and_images, read_words
from gradsculpt.cli.parser import command_parser
from gradsculpt.errors import ArgumentError
from gradsculpt.extensions import imported, typed


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runs/a", "runs/b", "photos/cat"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/a/config.yaml", "runs/b/model.json", "cat.jpg", "dog.png", "photos/cat/1.jpg", "net.pth"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "networks", "images"),
    [
        ("runs/a cat.jpg", ["runs/a"], ["cat.jpg"]),
        ("cat.jpg runs/a", ["runs/a"], ["cat.jpg"]),
        ("cat.jpg runs/a dog.png runs/b photos", ["runs/a", "runs/b"], ["cat.jpg", "dog.png", "photos"]),
        ("photos pretrained:x", ["pretrained:x"], ["photos"]),
        ("--weights net.pth cat.jpg torchvision:resnet18", ["torchvision:resnet18"], ["cat.jpg"]),
        ("--model lenet cat.jpg", ["lenet"], ["cat.jpg"]),
    ],
)
def test_networks_and_images_are_told_apart_in_any_order(
    place: Path, words: str, networks: list[str], images: list[str]
) -> None:
    parser = command_parser("explain", "")
    add_network_options(parser)
    parser.add_argument("images", type=str, nargs="*", help="Images.")
    found = networks_and_images(read_words(parser, words.split()))
    assert found == (networks, [Path(image) for image in images])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("explain net.pth cat.jpg --out o", "net.pth holds weights.*torchvision:NAME --weights net.pth"),
        ("explain cat.jpg dog.png --out o", "no network is named, and cat.jpg is an image"),
        ("explain photos --out o", "photos is a folder of images and no run directory.*--data folder:photos"),
        ("attack cat.jpg --out o", "no network is named, and cat.jpg is an image"),
        ("features photos --out o", "photos is a folder of images"),
        ("evaluate photos", "photos is a folder of images and no run directory.*--data folder:photos"),
        ("evaluate photos runs/a", "Did you mean --data folder:photos"),
        ("evaluate cat.jpg runs/a", "no use for 'cat.jpg'"),
        ("train photos --out o", "Did you mean --data folder:photos"),
        ("train runs/a", "Did you mean --resume --out runs/a"),
        ("train elastic-net --out o", "Did you mean --recipe elastic-net"),
    ],
)
def test_a_word_in_the_wrong_place_is_one_line_with_the_right_one(
    place: Path, capfd: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    before = sorted(place.rglob("*"))
    assert main(words.split()) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
    assert sorted(place.rglob("*")) == before


def test_what_is_no_network_is_known(place: Path) -> None:
    assert [is_network(word) for word in ("runs/a", "runs/b", "timm:x", "photos", "cat.jpg", "timm:")] == [
        *([True] * 3),
        *([False] * 3),
    ]
    assert other_than_a_run("runs/a") is None
    assert other_than_a_run("nowhere") is None


MODULES = iter(range(100))


@pytest.mark.parametrize(
    "word",
    [
        "python:{}:make",
        "--model=python:{}:make",
        "{}.Own",
        "adversarialtraining:penalty={}.Own(weight=0.1)",
        "[l1(0.1), {}.Own]",
        "functionpenalty(fn={}.make)",
        '{{"class_path": "{}.Own"}}',
        "python:{}.inner:make",
    ],
)
def test_a_module_that_is_typed_may_lie_in_the_current_folder(place: Path, word: str) -> None:
    name, helper = f"typed_{next(MODULES)}", f"helping_{next(MODULES)}"
    (place / f"{name}.py").write_text(f"from {helper} import make\n")
    (place / f"{helper}.py").write_text("def make(): ...\n")
    for words in ([], [name], [f"runs/{name}.py"], [f"{name}.py"], [f"x{word.format('other')}"]):
        with typed(words), pytest.raises(ArgumentError, match=f"--trust-code {name}"):
            imported(name, "make", "this", ArgumentError)
    with typed(["train", word.format(name)]):
        assert callable(imported(name, "make", "this", ArgumentError))


def test_the_current_folder_does_not_stay_where_python_looks(place: Path) -> None:
    (place / "typed_once.py").write_text("def make(): ...\n")
    (place / "never_typed.py").write_text("raise SystemExit\n")
    with typed(["python:typed_once:make"]):
        imported("typed_once", "make", "this", ArgumentError)
        with pytest.raises(ArgumentError, match="never_typed"):
            imported("never_typed", "make", "this", ArgumentError)


def test_an_installed_module_is_not_hidden_by_one_in_the_current_folder(place: Path) -> None:
    (place / "colorsys.py").write_text("raise SystemExit\n")
    with typed(["colorsys.rgb_to_hsv"]):
        assert callable(imported("colorsys", "rgb_to_hsv", "this", ArgumentError))


def test_the_doctor_tells_what_there_is_and_what_is_missing_for_what(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor._EXTRAS, "no_such_module", ("no-such", "flying", "gradsculpt[flying]"))
    (place / "cache").mkdir()
    (place / "cache" / "images.npy").write_bytes(b"0" * 3_000_000)
    started = time.process_time()
    assert main(["doctor"]) == 0
    assert time.process_time() - started < 5
    said = capfd.readouterr().out
    for words in ("python", "torch ", "torchvision", "lightning", "gradsculpt", "threads", "memory", "disk", "cuda"):
        assert re.search(rf"^  {words}", said, re.MULTILINE), words
    assert "missing, for flying: pip install 'gradsculpt[flying]'" in said
    assert "OMP_NUM_THREADS 1" in said
    assert "3.0 MB" in said


def test_the_doctor_says_what_nothing_works_without(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_NEEDED", ("torch", "no-such-package"))
    assert main(["doctor"]) == 2
    assert "no-such-package is missing" in capfd.readouterr().err
