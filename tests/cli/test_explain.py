"""`gradsculpt explain` over several methods and networks, and methods with settings."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt.attributions import Attribution, Gradient, Smoothed, SmoothGrad, Sparsified
from gradsculpt.cli.grammar import canonical
from gradsculpt.cli.main import main
from gradsculpt.cli.networks import open_classifier
from gradsculpt.cli.parts import attribution, part
from gradsculpt.data.decode import decode
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.penalties import L1, GroupL21, Penalty

NETWORK = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    pixels = np.random.default_rng(0)
    for name in ("one", "two"):
        Image.fromarray(pixels.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    torch.manual_seed(0)
    torch.save(shufflenet_v2_x0_5(num_classes=3).state_dict(), folder / "w.pth")
    kind = {"model": "lenet", "num_classes": 2, "image_size": 32, "softplus": None}
    network = build("lenet", num_classes=2, image_size=32)
    classifier = Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), ("cat", "dog"), 32)
    save(folder / "run", classifier, build=kind)
    (folder / "run" / "config.yaml").write_text("data: digits\n")
    return folder


def explain(place: Path, *words: str, out: Path) -> int:
    given = [str(place / word) if (place / word).exists() else word for word in words]
    return main(["explain", *given, "--out", str(out)])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open() as file:
        return list(csv.DictReader(file))


def test_several_methods_over_several_networks(place: Path, tmp_path: Path) -> None:
    words = ["run", NETWORK, "one.png", "two.png", "--weights", "w.pth", "--image-size", "48"]
    methods = ["--method", "gradient", "SmoothGrad(samples=2, sigma=0.3)"]
    assert explain(place, *words, *methods, out=tmp_path) == 0
    found = rows(tmp_path)
    assert {(row["image"], row["network"], row["method"]) for row in found} == {
        (image, network, method)
        for image in ("one", "two")
        for network in ("run", "shufflenet_v2_x0_5")
        for method in ("gradient", "smoothgrad:samples=2,sigma=0.3")
    }
    assert len({row["array"] for row in found}) == 8
    for row in found:
        raw = np.load(tmp_path / row["array"])
        assert raw.shape == ((3, 32, 32) if row["network"] == "run" else (3, 48, 48))
        for suffix in (".png", ".overlay.png"):
            assert Image.open(tmp_path / row["array"].replace(".npy", suffix)).width >= 224
        assert row["target"] == row["predicted"] in (("cat", "dog") if row["network"] == "run" else ("0", "1", "2"))
    assert Image.open(tmp_path / "sheet.png").width > 500


def test_a_map_is_what_the_library_computes(place: Path, tmp_path: Path) -> None:
    words = [NETWORK, "one.png", "--weights", "w.pth", "--image-size", "48", "--target", "2"]
    assert explain(place, *words, "--method", "smoothgrad:samples=3,seed=5", out=tmp_path) == 0
    opened = open_classifier(NETWORK, weights=str(place / "w.pth"), image_size=48)
    pixels = torch.from_numpy(decode(place / "one.png", 48)).permute(2, 0, 1)[None] / 255
    x = opened.classifier.space.normalize(pixels)
    expected = SmoothGrad(samples=3, seed=5)(opened.classifier.network, x, torch.tensor([2]))
    np.testing.assert_allclose(np.load(tmp_path / "one.smoothgrad-samples=3-seed=5.npy"), expected[0], atol=1e-6)


@pytest.mark.parametrize(("words", "bar"), [((), "absolute"), (("--signed",), "signed")])
def test_a_sheet_names_file_class_and_probability_and_explains_its_colours(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], bar: str
) -> None:
    drawn: dict[str, Any] = {}

    def sheet(rows: object, columns: list[str], labels: list[str], **options: Any) -> bytes:
        drawn.update(options, columns=columns, labels=labels)
        return b""

    monkeypatch.setattr("gradsculpt.visualize.contact_sheet", sheet)
    assert explain(place, "run", "one.png", "two.png", *words, out=tmp_path) == 0
    assert (drawn["labels"], drawn["bar"]) == (["one", "two"], bar)
    assert drawn["columns"] == ["image", "gradient", "gradient on image"]
    for row, captions in zip(rows(tmp_path), drawn["captions"], strict=True):
        assert captions == ("", f"{row['target']} ({float(row['probability']):.0%})", "")


def test_wordnet_numbers_are_shown_in_words_and_kept_where_they_are_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = ("n01530575", "n02012849", "n02102040", "n03126707")
    network = build("lenet", num_classes=4, image_size=32)
    classifier = Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), numbers, 32)
    kind = {"model": "lenet", "num_classes": 4, "image_size": 32, "softplus": None}
    save(tmp_path / "run", classifier, build=kind)
    for folder in (tmp_path / "set" / cut / number for number in numbers for cut in ("train", "val", "test")):
        folder.mkdir(parents=True)
        Image.open(place / "one.png").save(folder / "1.png")
    (tmp_path / "run" / "config.yaml").write_text(f"data: folder:{tmp_path / 'set'}\n")
    drawn = list[Any]()

    def sheet(*given: object, **options: Any) -> bytes:
        drawn.append(options)
        return b""

    monkeypatch.setattr("gradsculpt.visualize.contact_sheet", sheet)
    words = [str(tmp_path / "run"), "--target", "English Springer Spaniel", "--out"]
    assert main(["explain", *words, str(tmp_path / "maps"), "--data", f"folder:{tmp_path / 'set'}"]) == 0
    assert {(row["true"], row["target"]) for row in rows(tmp_path / "maps")} == {(each, numbers[2]) for each in numbers}
    called = {"English springer", "brambling", "crane (n02012849)", "crane (n03126707)"}
    assert {captions[0] for captions in drawn[0]["captions"]} == called
    assert all(captions[1].startswith("English springer (") for captions in drawn[0]["captions"])
    assert main(["attack", *words, str(tmp_path / "a"), "--data", f"folder:{tmp_path / 'set'}", "--steps", "1"]) == 0
    assert all({captions[0], captions[1]} <= called for captions in drawn[1]["captions"])
    assert main(["features", words[0], "--steps", "1", "--out", str(tmp_path / "f")]) == 0
    assert set(drawn[2]["captions"][0]) == called
    assert {row["class"] for row in rows(tmp_path / "f")} == set(numbers)
    capfd.readouterr()
    for wrong, said in (
        ("crane", "crane could be n02012849 or n03126707"),
        ("english sprnger", "is no class.*n02102040 .English springer..*Did you mean n02102040"),
    ):
        assert main(["explain", words[0], str(place / "one.png"), "--target", wrong, "--out", str(tmp_path / "x")]) == 2
        assert re.search(said, capfd.readouterr().err)


def test_a_grid_that_a_network_leaves_in_maps_is_said(place: Path, tmp_path: Path, capfd: Any) -> None:
    words = [NETWORK, "one.png", "--weights", "w.pth", "--image-size"]
    assert explain(place, *words, "64", out=tmp_path / "small") == 0
    assert "note: the first layer of shufflenet_v2_x0_5 takes steps of 2 pixels" in capfd.readouterr().err
    assert explain(place, *words, "72", out=tmp_path / "large") == 0
    assert "takes steps" not in capfd.readouterr().err


def test_the_share_that_is_shown_and_the_sign(place: Path, tmp_path: Path) -> None:
    words = ["run", "one.png"]
    assert explain(place, *words, "--top-k", "0.1", out=tmp_path / "top") == 0
    picture = np.asarray(Image.open(tmp_path / "top" / "one.gradient.png"))[::7, ::7]
    assert (picture.sum(axis=2) > picture.sum(axis=2).min()).sum() == round(0.1 * 32 * 32)
    assert explain(place, *words, "--signed", out=tmp_path / "signed") == 0
    picture = np.asarray(Image.open(tmp_path / "signed" / "one.gradient.png")).astype(int)[::7, ::7]
    sums = np.load(tmp_path / "signed" / "one.gradient.npy").sum(axis=0)
    strong = np.abs(sums) > np.quantile(np.abs(sums), 0.8)
    assert ((picture[..., 0] > picture[..., 2]) == (sums > 0))[strong].all()


def test_the_network_can_be_named_by_an_option(place: Path, tmp_path: Path) -> None:
    words = ["one.png", "--model", NETWORK, "--weights", "w.pth", "--image-size", "48"]
    assert explain(place, *words, out=tmp_path) == 0
    assert [row["network"] for row in rows(tmp_path)] == ["shufflenet_v2_x0_5"]


def test_options_may_stand_before_images(place: Path, tmp_path: Path) -> None:
    words = ["--clip", "95", "run", "--signed", "one.png", "--strict", "--target", "cat", "two.png"]
    assert explain(place, *words, out=tmp_path) == 0
    assert [row["target"] for row in rows(tmp_path)] == ["cat", "cat"]


def test_networks_of_one_name_are_told_apart(place: Path, tmp_path: Path) -> None:
    assert explain(place, "run", "run", "one.png", out=tmp_path) == 0
    assert [row["network"] for row in rows(tmp_path)] == ["run", "run-2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "one.png", "--method", "smothgrad"], "smothgrad is not known.*Did you mean smoothgrad"),
        (
            ["run", "one.png", "--method", "smoothgrad:sample=3"],
            "no setting 'sample'.*samples=50.*Did you mean samples",
        ),
        (["run", "one.png", "--method", "smoothgrad:samples=few"], "samples=few cannot be used.*whole number"),
        (["run", "one.png", "--method", "smoothgrad:samples=0"], "samples=0 is out of range"),
        (["run", "one.png", "--method", "smoothgrad(samples=3"], "bracket"),
        (["run", "one.png", "--method", "smoothed:kind=median"], "one of mean, square, variance"),
        (["run", "one.png", "--method", "smoothed:base=gradien"], "gradien is not known.*Did you mean gradient"),
        (["run", "one.png", "--signed", "--absolute"], "exclude each other"),
        (["run", "one.png", "--top-k", "2"], "--top-k=2 is out of range"),
        (["run", "one.png", "--clip", "101"], "clip=101"),
        (["run", "one.png", "--target", "cats"], "cats is no class.*cat, dog.*Did you mean cat"),
        (["run", "one.png", "--weights", "w.pth"], "1 --weights for 0 networks"),
        (["run", "one.png", "--image-size", "48"], "--image-size is only for"),
        (["run", "three.png"], "no file or folder three.png"),
        (["run", "--strict"], "nothing to explain"),
        ([NETWORK, "one.png"], "has no weights.*--weights FILE"),
        ([NETWORK, "one.png", "--weights", "none.pth"], "no file of weights none.pth"),
        ([NETWORK, "one.png", "--weights", "w.pth", "--weights", "w.pth"], "2 --weights for 1 network without"),
        ([NETWORK, "one.png", "--weights", "w.pth", "--mean", "0.5"], "--mean has 1 number and --std 0"),
        (["torchvision:squeezenet1_1", "one.png", "--weights", "w.pth"], "do not fit the network"),
        (["pretrained:resnet", "one.png"], "no pretrained network 'resnet'"),
        (["resnet18", "one.png"], "no run directory resnet18.*Did you mean torchvision:resnet18"),
        (["--strict"], "no network is named"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_writes_no_map(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert explain(place, *words, out=tmp_path / "maps") == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
    assert not list(tmp_path.glob("maps/*.npy"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gradient", Gradient()),
        ("Gradient:output=probability", Gradient("probability")),
        ("smoothed(base=sparsified:keep=0.2, samples=3)", Smoothed(Sparsified(keep=0.2), samples=3)),
        ("sparsified:saturated=none,keep=.5", Sparsified(keep=0.5)),
        ("smoothed:kind='square'", Smoothed(kind="square")),
        ("smoothed:smoothed(samples=2),4", Smoothed(Smoothed(samples=2), 4)),
    ],
)
def test_settings_in_words(text: str, expected: Attribution) -> None:
    assert attribution(text) == expected


def test_penalties_in_words() -> None:
    assert part("l1(0.1)", Penalty, "--penalty") == L1(0.1)
    made = part("groupl21:weight=0.1,patch=4,per_channel=false", Penalty, "--penalty")
    assert repr(made) == repr(GroupL21(0.1, patch=4, per_channel=False))
    with pytest.raises(ArgumentError, match="--penalty l1 needs weight"):
        part("l1", Penalty, "--penalty")


def test_a_method_has_one_spelling() -> None:
    assert canonical("SmoothGrad( samples=4,sigma = 0.1 )") == canonical("smoothgrad:samples=4,sigma=0.1")
    assert canonical("Gradient()") == "gradient"


def test_a_named_output_reaches_the_innermost_map() -> None:
    assert "log_probability" in repr(attribution("smoothed:base=sparsified", "log_probability"))


def test_a_progress_line_counts_maps(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert explain(place, "run", "one.png", "two.png", "--method", "gradient", "inputxgradient", out=tmp_path) == 0
    assert "4 of 4 maps" in capfd.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert explain(place, "run", "one.png", out=tmp_path / "file" / "maps") == 2
    said = capfd.readouterr().err
    assert "cannot be a folder" in said
    assert "Traceback" not in said
