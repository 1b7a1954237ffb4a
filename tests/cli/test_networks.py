"""Which networks a command line names, how they are opened, and what else several commands share."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt.cli.explain import _parser
from gradsculpt.cli.folder import ResultFolder, numbered
from gradsculpt.cli.images import batches, collect, predictions, target_classes
from gradsculpt.cli.networks import named_network, named_networks, networks_and_images, read_words
from gradsculpt.cli.opened import Run
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.progress import Reporter

NETWORK = "torchvision:shufflenet_v2_x0_5"
NOTHING: dict[str, Any] = {"model": None, "network": None, "weights": None, "mean": [], "std": [], "image_size": None}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(shufflenet_v2_x0_5(num_classes=3).state_dict(), folder / f"{seed}.pth")
    kind = {"model": "lenet", "num_classes": 2, "image_size": 32, "softplus": None}
    network = build("lenet", num_classes=2, image_size=32)
    save(folder / "run", Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), ("cat", "dog"), 32), build=kind)
    (folder / "run" / "config.yaml").write_text("data: digits\n")
    return folder


def test_weights_go_to_the_networks_that_take_any_in_their_order(place: Path) -> None:
    weights = [str(place / f"{seed}.pth") for seed in (2, 1)]
    options = {**NOTHING, "weights": weights, "image_size": 48, "device": "cpu"}
    first, run, second = named_networks([NETWORK, str(place / "run"), NETWORK], options)
    assert [each.name for each in (first, run, second)] == ["shufflenet_v2_x0_5", "run", "shufflenet_v2_x0_5-2"]
    for opened, seed in ((first, 2), (second, 1)):
        stored = torch.load(place / f"{seed}.pth", weights_only=True)
        assert opened.classifier.image_size == 48
        assert torch.equal(opened.classifier.network.state_dict()["fc.weight"], stored["fc.weight"])
    assert isinstance(run, Run)
    assert run.classifier.image_size == 32
    low, high = run.bounds
    assert (low == -1).all()
    assert (high == 1).all()


def test_one_network_is_named_once(place: Path) -> None:
    run = str(place / "run")
    for given in ({"network": run}, {"model": run}):
        assert named_network({**NOTHING, **given, "device": "cpu"}).name == "run"
    with pytest.raises(ArgumentError, match="two networks are named, a and b"):
        named_network({**NOTHING, "network": "a", "model": "b", "device": "cpu"})


@pytest.mark.parametrize(
    ("words", "names", "images"),
    [
        (["{run}", "x.png"], ["{run}"], ["x.png"]),
        (["{run}", "timm:a", "x.png", "{run}"], ["{run}", "timm:a", "{run}"], ["x.png"]),
        (["x.png", "--model", "timm:a"], ["timm:a"], ["x.png"]),
        (["--model", "timm:a", "{run}", "x.png"], ["timm:a", "{run}"], ["x.png"]),
        (["nowhere", "--method", "a", "b", "--strict", "x.png"], ["nowhere"], ["x.png"]),
        (["--method=a", "nowhere", "--clip", "90", "x.png"], ["nowhere"], ["x.png"]),
    ],
)
def test_networks_stand_before_images_and_options_anywhere(
    place: Path, words: list[str], names: list[str], images: list[str]
) -> None:
    def given(texts: list[str]) -> list[str]:
        return [text.replace("{run}", str(place / "run")) for text in texts]

    named, paths = networks_and_images(read_words(_parser(), [*given(words), "--out", "o"]))
    assert (named, paths) == (given(names), [Path(text) for text in given(images)])


def test_names_are_unlike_each_other_even_if_one_looks_numbered() -> None:
    assert numbered(["a", "a", "b", "a-2", "a"]) == ["a", "a-2", "b", "a-2-2", "a-3"]


def test_files_of_one_name_have_maps_of_different_names(place: Path, tmp_path: Path) -> None:
    for name in ("x/one.png", "y/one.png", "z/one-2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    network = named_network({**NOTHING, "network": str(place / "run"), "device": "cpu"})
    options = {"data": None, "strict": True}
    images, unreadable = collect(network, [tmp_path / name for name in "xyz"], options, Reporter())
    assert not unreadable
    assert [image.name for image in images] == ["one", "one-2", "one-2-2"]
    seen = list(batches(images, 2 * images[0].pixels.size, torch.device("cpu")))
    assert [len(batch) for batch, _ in seen] == [2, 1]
    assert seen[0][1].shape == (2, 3, 32, 32)
    assert [len(batch) for batch, _ in batches(images, 1, torch.device("cpu"))] == [1, 1, 1]


def test_the_class_that_is_looked_at() -> None:
    probabilities, classes = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), ("cat", "dog", "owl")
    for wanted, labels, expected in (
        (None, ["owl", "dog"], [2, 1]),
        (None, ["owl", None], [1, 0]),
        (None, ["owl", "cow"], [1, 0]),
        ("true", ["owl", "dog"], [2, 1]),
        ("predicted", ["owl", "dog"], [1, 0]),
        ("cat", ["owl", "dog"], [0, 0]),
    ):
        assert target_classes(wanted, labels, probabilities, classes).tolist() == expected
    with pytest.raises(ArgumentError, match="knows no class cow, the true one"):
        target_classes("true", ["cow", "dog"], probabilities, classes)
    for wanted in ("true", "predicted"):
        with pytest.raises(ArgumentError, match=f"--target {wanted} could be the class of that name"):
            target_classes(wanted, ["true", "predicted"], probabilities, ("true", "predicted", "owl"))
    first, second = predictions(probabilities, torch.tensor([2, 0]), classes)
    assert (first.predicted, first.target, str(first)) == ("dog", "owl", "owl (30%)")
    assert second.predicted == "cat"
    assert second.probability == pytest.approx(0.6)


def test_a_folder_starts_its_index_anew_and_its_sheet_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.csv").write_text("old\n")
    folder = ResultFolder(tmp_path, rows=3, headings=["a"])
    picture = np.zeros((4, 4, 3), np.uint8)
    for start in (0, 2):
        folder.index([{"image": f"i{start + j}", "score": j} for j in range(2)])
        folder.label([f"i{start}", f"i{start + 1}"])
        folder.show("b", [picture, picture], ["under", "under"])
        folder.show("a", [picture, picture])
    with (tmp_path / "index.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["i0", "i1", "i2", "i3"]
    laid: list[Any] = []

    def draw(*given: Any, **words: Any) -> bytes:
        laid.append((*given, words))
        return b"sheet"

    monkeypatch.setattr("gradsculpt.visualize.contact_sheet", draw)
    folder.finish("note")
    ((rows, headings, labels, words),) = laid
    assert (len(rows), headings, labels) == (3, ["a", "b"], ["i0", "i1", "i2"])
    assert words == {"captions": [("", "under")] * 3, "note": "note", "bar": None}
    assert (tmp_path / "sheet.png").read_bytes() == b"sheet"
