"""`gradsculpt attack`: what it writes, and one line for each mistake."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.attacks import Attack, TopKAttack
from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.cli.main import main
from gradsculpt.cli.parts import names
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import ssim
from gradsculpt.models import Classifier, build, load, save


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attack")
    pixels = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        Image.fromarray(pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    for name, softplus in (("smooth", 3.0), ("relu", None)):
        torch.manual_seed(0)
        kind = {"model": "convnet", "num_classes": 3, "image_size": 16, "softplus": softplus}
        space = InputSpace((0.5,) * 3, (0.2, 0.25, 0.3))
        network = build("convnet", num_classes=3, image_size=16)
        save(folder / name, Classifier(network, space, ("cat", "dog", "owl"), 16), build=kind)
        (folder / name / "config.yaml").write_text("data: digits\n")
    return folder


def attack(place: Path, *words: str, out: Path) -> int:
    given = [str(place / word) if (place / word).exists() else word for word in words]
    return main(["attack", *given, "--out", str(out)])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everything_is_written_and_the_figures_are_those_of_the_files(place: Path, tmp_path: Path) -> None:
    words = ["smooth", "one.png", "two.png", "--steps", "3", "--eps", "8", "--attack", "topk:k=0.2"]
    assert attack(place, *words, out=tmp_path) == 0
    classifier = load(place / "smooth")
    for row in rows(tmp_path):
        name = row["image"]
        clean = np.asarray(Image.open(place / f"{name}.png")).astype(np.float64)
        moved = np.load(tmp_path / f"{name}.attacked.npy")
        assert moved.shape == (3, 16, 16)
        assert moved.min() >= 0
        assert moved.max() <= 1
        change = moved.astype(np.float64).transpose(1, 2, 0) * 255 - clean
        assert float(row["linf"]) == pytest.approx(np.abs(change).max(), abs=1e-3)
        assert float(row["rms"]) == pytest.approx(np.sqrt((change**2).mean()), abs=1e-3)
        assert 1 < float(row["rms"]) <= 8 + 1e-3
        rounded = np.asarray(Image.open(tmp_path / f"{name}.attacked.png")).astype(np.float64)
        np.testing.assert_array_equal(rounded, np.round(moved.transpose(1, 2, 0) * 255))
        assert float(row["rounded_linf"]) == np.abs(rounded - clean).max()
        target = torch.tensor([classifier.classes.index(row["target"])])
        maps = []
        for when, x in (("before", clean / 255), ("after", moved.transpose(1, 2, 0))):
            x01 = torch.from_numpy(x.transpose(2, 0, 1)[None].astype(np.float32))
            logits = classifier(x01)
            assert row[f"predicted_{when}"] == classifier.classes[int(logits.argmax())]
            assert float(row[f"probability_{when}"]) == pytest.approx(logits.softmax(1)[0, target].item(), abs=1e-4)
            maps.append(Gradient()(classifier.network, classifier.space.normalize(x01), target))
            np.testing.assert_allclose(np.load(tmp_path / f"{name}.{when}.npy"), maps[-1][0], atol=1e-5)
            assert Image.open(tmp_path / f"{name}.{when}.png").width >= 224
        hot = [heatmap(each, clip=100.0) for each in maps]
        assert float(row["ssim"]) == pytest.approx(float(ssim(*hot)), abs=2e-3)
        assert row["predicted_before"] == row["predicted_after"] == row["target"]
        assert float(row["goal_before"]) == 1.0
        assert float(row["goal"]) < 1.0
    assert len(rows(tmp_path)) == 2
    assert Image.open(tmp_path / "sheet.png").width > 400


def test_the_attack_is_that_of_the_library(place: Path, tmp_path: Path) -> None:
    assert attack(place, "smooth", "one.png", "--attack", "topk:k=0.3,steps=2", "--eps", "2", out=tmp_path) == 0
    classifier = load(place / "smooth")
    pixels = torch.from_numpy(np.array(Image.open(place / "one.png"))).permute(2, 0, 1)[None] / 255
    x = classifier.space.normalize(pixels)
    expected = TopKAttack(classifier.space.pixels(2 / 255) * 768**0.5, k=0.3, steps=2, bounds=classifier.space.bounds)
    moved = expected(classifier.network, Gradient(), x, classifier(pixels).argmax(dim=1))
    np.testing.assert_allclose(
        np.load(tmp_path / "one.attacked.npy"), classifier.space.denormalize(moved)[0], atol=2e-6
    )


@pytest.mark.parametrize("name", names(Attack))
def test_every_attack_stays_within_its_size_and_keeps_the_class(place: Path, tmp_path: Path, name: str) -> None:
    steps = [] if name == "random" else ["--steps", "2"]
    assert attack(place, "smooth", "one.png", "two.png", "--attack", name, *steps, "--eps", "3", out=tmp_path) == 0
    for row in rows(tmp_path):
        assert float(row["rms" if name == "topk" else "linf"]) <= 3 + 1e-3
        assert row["predicted_before"] == row["predicted_after"]
        if name == "random":
            assert row["goal"] == row["goal_before"] == ""
        else:
            assert float(row["goal"]) <= float(row["goal_before"]) + 1e-4


def test_gaussian_noise_has_the_root_mean_square_that_was_asked_for(place: Path, tmp_path: Path) -> None:
    assert attack(place, "smooth", "one.png", "--attack", "random:kind=gaussian", "--eps", "2", out=tmp_path) == 0
    assert float(rows(tmp_path)[0]["rms"]) == pytest.approx(2, rel=0.05)


def test_maps_without_a_slope_are_attacked_through_softplus_which_is_said_once(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["relu", "one.png", "two.png", "three.png", "--attack", "targeted", "--steps", "3"]
    assert attack(place, *words, out=tmp_path / "a") == 0
    said = capfd.readouterr().err
    assert said.count("Softplus of beta 20") == 1
    assert "3 images attacked" in said
    assert attack(place, "smooth", "one.png", "--steps", "1", out=tmp_path / "b") == 0
    assert "Softplus" not in capfd.readouterr().err


def test_methods_classes_and_data(place: Path, tmp_path: Path) -> None:
    flags = ["--target", "owl", "--method", "smoothgrad:samples=2", "--steps", "1"]
    assert attack(place, *flags, "smooth", "one.png", out=tmp_path) == 0
    assert [row["target"] for row in rows(tmp_path)] == ["owl"]
    assert np.abs(np.load(tmp_path / "one.before.npy")).max() > 0


def test_the_network_can_be_named_by_an_option(place: Path, tmp_path: Path) -> None:
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    torch.save(shufflenet_v2_x0_5(num_classes=2).state_dict(), tmp_path / "w.pth")
    words = ["--model", "torchvision:shufflenet_v2_x0_5", "--weights", str(tmp_path / "w.pth"), "--image-size", "32"]
    assert attack(place, *words, "one.png", "--attack", "random", out=tmp_path / "out") == 0
    assert rows(tmp_path / "out")[0]["network"] == "shufflenet_v2_x0_5"


def test_a_folder_that_cannot_be_made_is_one_line(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert attack(place, "smooth", "one.png", "--steps", "1", out=place / "one.png" / "out") == 2
    assert "cannot be a folder" in capfd.readouterr().err.splitlines()[-1]


def test_no_size_changes_nothing(place: Path, tmp_path: Path) -> None:
    assert attack(place, "smooth", "one.png", "--eps", "0", "--steps", "2", out=tmp_path) == 0
    clean = np.asarray(Image.open(place / "one.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.attacked.png")), clean)
    row = rows(tmp_path)[0]
    assert (float(row["linf"]), float(row["ssim"]), float(row["rounded_cosine"])) == (0, 1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smooth", "one.png", "--attack", "topkk"], "topkk is not known; choose from targeted, .*Did you mean topk"),
        (["smooth", "one.png", "--attack", "topk:kk=3"], "no setting 'kk'"),
        (["smooth", "one.png", "--attack", "topk:k=3"], "k=3"),
        (["smooth", "one.png", "--attack", "topk:eps=3"], "pass --eps"),
        (["smooth", "one.png", "--attack", "topk:bounds=3"], "bounds=3 cannot be used"),
        (["smooth", "one.png", "--attack", "random", "--steps", "3"], "takes no steps"),
        (["smooth", "one.png", "--steps", "-3"], "steps=-3"),
        (["smooth", "one.png", "--eps", "-1"], "--eps=-1"),
        (["smooth", "one.png", "--eps", "nan"], "eps.*nan"),
        (["smooth", "one.png", "--k", "0"], "--k=0 is out of range"),
        (["smooth", "one.png", "--target", "cot"], "cot is no class.*Did you mean cat"),
        (["smooth", "one.png", "--method", "magic"], "magic is not known"),
        (["smooth", "four.png"], "no file or folder four.png"),
        (["smooth"], "nothing to"),
        ([], "no network is named"),
        (["smooth", "one.png", "--weights", "w.pth"], "its own weights"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_writes_nothing(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert attack(place, *words, out=tmp_path / "out") == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
    assert not list((tmp_path / "out").glob("*.np*"))
