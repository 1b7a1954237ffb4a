"""Pages of networks by name and of runs, over folders of photos; and scores that are kept and used again."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt import evaluation
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Scorecard, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, load, save

NETWORK = "torchvision:shufflenet_v2_x0_5"
SMALL = ["--image-size", "32", "--count", "2", "--groups", "accuracy", "sparsity"]
CLASSES = ["--classes", "cat=tabby,tiger cat", "dog=151-268"]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)


def make_run(path: Path, photos: Path, classes: tuple[str, ...], seed: int = 0) -> Path:
    kind = {"model": "convnet", "num_classes": len(classes), "image_size": 16, "softplus": 3.0}
    torch.manual_seed(seed)
    network = build("convnet", num_classes=len(classes), image_size=16)
    save(path, Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), classes, 16), build=kind)
    (path / "config.yaml").write_text(f"data: folder:{photos}\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    for i in range(10):
        picture(folder / "photos" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
        picture(folder / "flat" / f"{i}.png", i)
    torch.manual_seed(0)
    torch.save(shufflenet_v2_x0_5().state_dict(), folder / "w.pth")
    torch.save(shufflenet_v2_x0_5(num_classes=2).state_dict(), folder / "two.pth")
    make_run(folder / "run", folder / "photos", ("cat", "dog"))
    make_run(folder / "more", folder / "photos", ("dog", "bird", "cat"))
    return folder


def errors(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt:")]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scorecard.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_network_by_name_has_a_page_of_all_photos(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", f"{NETWORK}={place / 'w.pth'}", "--data", f"folder:{place / 'photos'}", *SMALL, *CLASSES]
    assert main([*words, "--html", str(tmp_path / "page.html")]) == 0
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "weights w.pth" in shown
    assert (tmp_path / "page.png").is_file()
    scores = tmp_path / "page-scores" / "shufflenet_v2_x0_5"
    card = Scorecard.load(scores / "scorecard.json")
    assert (card.settings["images"], len(rows(scores))) == (10, 10)
    assert card.settings["classes"]["cat"] == ["tabby", "tiger cat"]
    assert len(card.settings["classes"]["dog"]) == 118
    assert any("cat = tabby or tiger cat" in note for note in card.settings["notes"])
    assert "cat = tabby or tiger cat" in capfd.readouterr().err


def test_any_of_several_classes_is_right_and_the_likeliest_is_explained(place: Path, tmp_path: Path) -> None:
    photos = sorted((place / "photos").rglob("*.png"))
    network = shufflenet_v2_x0_5()
    network.load_state_dict(torch.load(place / "w.pth", weights_only=True))
    images = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.open(path).resize((32, 32)), dtype=np.float32) / 255).permute(2, 0, 1)
            for path in photos
        ]
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        predicted = network.eval()((images - mean) / std).argmax(dim=1).tolist()
    of_cats = sorted({predicted[i] for i, path in enumerate(photos) if path.parent.name == "cat"})
    words = ["evaluate", f"{NETWORK}={place / 'w.pth'}", "--data", f"folder:{place / 'photos'}", *SMALL]
    classes = ["--classes", f"cat=0,{','.join(map(str, of_cats))}", "dog=999" if 999 not in predicted else "dog=998"]
    assert main([*words, *classes, "--out", str(tmp_path)]) == 0
    assert {row["image"][:3]: float(row["accuracy"]) for row in rows(tmp_path)} == {"cat": 1.0, "dog": 0.0}


def test_networks_by_name_and_runs_share_a_page(place: Path, tmp_path: Path) -> None:
    names = [str(place / "run"), str(place / "more"), f"{NETWORK}={place / 'w.pth'}"]
    words = ["compare", *names, "--data", f"folder:{place / 'photos'}", "--split", "all", *SMALL]
    classes = ["--classes", "cat=tabby", "cat=cat", "dog=beagle", "dog=dog"]
    assert main([*words, *classes, "--out", str(tmp_path / "page.html")]) == 0
    cards = {path.parent.name: Scorecard.load(path) for path in tmp_path.rglob("scorecard.json")}
    assert set(cards) == {"run", "more", "shufflenet_v2_x0_5"}
    assert {card.settings["images"] for card in cards.values()} == {10}
    images = [[row["image"] for row in rows(tmp_path / "page-scores" / name)] for name in cards]
    assert images[0] == images[1] == images[2]
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(name in shown for name in cards)
    assert "For shufflenet_v2_x0_5, classes of the data stand for its own: cat = tabby; dog = beagle." in shown


def test_a_page_shows_wordnet_numbers_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("n02102040", "n01440764"):
        picture(tmp_path / "photos" / number / "1.png", 1)
    make_run(tmp_path / "run", tmp_path / "photos", ("n01440764", "n02102040"))
    sheets = list[Any]()

    def sheet(*given: Any, **rest: Any) -> bytes:
        sheets.append((given, rest))
        return b""

    monkeypatch.setattr("gradsculpt.report.page.contact_sheet", sheet)
    words = ["evaluate", str(tmp_path / "run"), "--data", f"folder:{tmp_path / 'photos'}", "--split", "all", *SMALL[2:]]
    assert main([*words, "--html", str(tmp_path / "page.html")]) == 0
    assert sorted(sheets[0][0][2]) == ["English springer", "tench"]
    assert all(re.match("English springer|tench", captions[1]) for captions in sheets[0][1]["captions"])
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "English springer" in shown
    assert not re.search("n0[0-9]{7}(?!/1)", shown.partition("<body")[2])


def test_photos_without_classes_are_scored_for_all_but_what_needs_them(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"{NETWORK}={place / 'w.pth'}", "--data", f"folder:{place / 'flat'}", *SMALL[:4]]
    assert main(["evaluate", *words, "--html", str(tmp_path / "page.html")]) == 0
    card = Scorecard.load(tmp_path / "page-scores" / "shufflenet_v2_x0_5" / "scorecard.json")
    assert {"gini", "ssim"} <= set(card.entries)
    assert not {"accuracy", "brier"} & set(card.entries)
    assert card.settings["target"] == "predicted"
    assert any("no classes, so nothing is said of accuracy" in note for note in card.settings["notes"])
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search("[✓✗] *[a-z]", shown.replace("✓ right, ✗ wrong", ""))
    capfd.readouterr()
    for more, said in (
        (["--groups", "accuracy"], "have no classes, which accuracy needs"),
        (["--groups", "brier"], "have no classes, which brier needs"),
        (["--target", "true"], "no true ones are known"),
        (["--classes", "cat=tabby"], "no class folders"),
        (["--split", "val"], "no classes and no parts"),
    ):
        assert main(["evaluate", *words, *more, "--html", str(tmp_path / "page.html")]) == 2
        assert re.search(said, errors(capfd)[0])


def test_folders_may_be_no_classes(place: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        f"{NETWORK}={place / 'w.pth'}",
        "--data",
        f"folder:{place / 'photos'}",
        "--unlabelled",
        *SMALL[:2],
    ]
    assert main([*words, "--groups", "sparsity", "--out", str(tmp_path)]) == 0
    assert len(rows(tmp_path)) == 10


def test_scores_of_other_settings_are_kept(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(place / "run"), "--split", "all", "--groups", "accuracy", "--out", str(tmp_path)]
    assert main(words) == 0
    full = {name: (tmp_path / name).read_bytes() for name in ("scorecard.json", "scorecard.csv")}
    assert main([*words, "--quick", "--limit", "4"]) == 0
    assert json.loads((tmp_path / "scorecard.json").read_text())["settings"]["images"] == 4
    (kept,) = tmp_path.glob("scorecard-*.json")
    assert f"kept as {kept}" in capfd.readouterr().err
    assert (kept.read_bytes(), kept.with_suffix(".csv").read_bytes()) == tuple(full.values())
    # The first settings again: their scores are there.
    assert main(words) == 0
    assert f"used again, from {kept}" in capfd.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in full} == full
    assert len(list(tmp_path.glob("scorecard-*.json"))) == 2


def test_scores_are_used_again_from_the_run_and_beside_the_page_and_only_if_nothing_changed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, photos = tmp_path / "run", tmp_path / "photos"
    for i in range(8):
        picture(photos / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    make_run(run, photos, ("cat", "dog"))
    scored = list[str]()

    def counted(*given: object, **named: object) -> Scorecard:
        scored.append(str(named["name"]))
        card: Scorecard = evaluate(*given, **named)  # type: ignore[arg-type]
        return card

    monkeypatch.setattr(evaluation, "evaluate", counted)
    words = ["--data", f"folder:{photos}", "--split", "all", "--groups", "accuracy", "sparsity"]
    page = ["--count", "1", "--out", str(tmp_path / "page.html")]
    assert main(["evaluate", str(run), *words]) == 0
    assert main(["compare", str(run), *words, *page]) == 0
    assert main(["compare", str(run), *words, *page]) == 0
    assert scored == ["run"]
    assert rows(run) == rows(tmp_path / "page-scores" / "run")
    # Other settings, other pixels, other labels, other weights.
    changed: list[Callable[[], object]] = [
        lambda: words.extend(["--seed", "1"]),
        lambda: picture(photos / "cat" / "1.png", 99),
        lambda: (photos / "cat" / "1.png").rename(photos / "dog" / "1.png"),
        lambda: make_run(run, photos, ("cat", "dog"), seed=1),
    ]
    for count, change in enumerate(changed, start=2):
        change()
        assert main(["compare", str(run), *words, *page]) == 0
        assert len(scored) == count
        assert main(["compare", str(run), *words, *page]) == 0
        assert len(scored) == count


def test_scores_by_code_of_ones_own_are_made_anew(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(place / "run"), "--groups", "tests.cli.test_evaluate.roughness", "--out", str(tmp_path)]
    assert main(words) == main(words) == 0
    assert "used again" not in capfd.readouterr().err
    assert not list(tmp_path.glob("scorecard-*.json"))


def test_the_same_network_twice_is_scored_once_and_said(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(place / "run"), str(place / "run"), "--groups", "accuracy", "--count", "1"]
    assert main([*words, "--out", str(tmp_path / "page.html")]) == 0
    said = capfd.readouterr().err
    assert "note: run-2 is the same network as run, with the same weights" in said
    assert said.count("scoring run") == 1
    assert load(place / "run").classes == ("cat", "dog")


def test_photos_that_a_network_does_not_know_are_left_out_if_asked(place: Path, tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "church" / "1.png", 1)
    picture(tmp_path / "photos" / "cat" / "2.png", 2)
    words = ["evaluate", f"{NETWORK}={place / 'w.pth'}", "--data", f"folder:{tmp_path / 'photos'}", *SMALL[:2]]
    for more in (["--skip-unknown"], ["--classes", "cat="]):
        assert main([*words, *more, "--groups", "accuracy", "--out", str(tmp_path / "o")]) == 0
        settings = Scorecard.load(tmp_path / "o" / "scorecard.json").settings
        assert (settings["images"], settings["left_out"]) == (1, {"cat": 1})
        assert any("1 of cat" in note for note in settings["notes"])


def test_runs_are_compared_on_what_all_of_them_held_out(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "other", place / "photos", ("cat", "dog"))
    (other / "config.yaml").write_text(f"data: folder:{place / 'photos'}\nval_fraction: 0.4\n")
    words = ["compare", str(other), str(place / "run"), "--groups", "accuracy", "--count", "1"]
    assert main([*words, "--out", str(tmp_path / "page.html")]) == 0
    assert "scored is what neither other nor run has seen, 2 images" in capfd.readouterr().err
    names = [[row["image"] for row in rows(tmp_path / "page-scores" / name)] for name in ("other", "run")]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "{net}", "--data", "{photos}", "--html", "{tmp}"], "is a folder, so no page can be written"),
        (["evaluate", "{net}", "--data", "{photos}", "--html", "{w}/x.html"], "as .*w.pth is no folder"),
        (["evaluate", "{net}", "--data", "{photos}", "--html", "{tmp}/x.pdf"], "name of a .pdf file"),
        (["evaluate", "{net}", "--data", "{photos}", "--html", "{tmp}/x.html", "--count", "0"], "--count=0"),
        (["evaluate", "{net}", "--data", "{photos}", "--html", "{tmp}/x.html"], "cat is none of the 1000 classes"),
        (["evaluate", "{net}", "--data", "{tmp}/none", "--html", "{tmp}/x.html"], "data .* is not known"),
        (["evaluate", "{net}", "--data", "folder:{tmp}/none", "--html", "{tmp}/x.html"], "none does not exist"),
        (["evaluate", "{net}", "--data", "folder:{tmp}", "--html", "{tmp}/x.html"], "has no photos"),
        (["evaluate", "{net}", "--html", "{tmp}/x.html"], "no run with data of its own; pass --data"),
        (["evaluate", "{net}", "--data", "{photos}", "--classes", "cat=tabby", "dog=doog", "--html", "{tmp}/x.html"],
         "doog, which dog is to stand for, is no class"),
        (["evaluate", "{net}", "--data", "{photos}", "--class-map", "{tmp}/none.csv", "--html", "{tmp}/x.html"],
         "none.csv cannot be read"),
        (["evaluate", "{net}", "--data", "{bare}", "--html", "{tmp}/x.html"], "Did you mean folder:"),
        (["evaluate", "{name}={two}", "--weights", "{w}", "--data", "{photos}", "--out", "{tmp}"], "given the weights"),
        (["compare", "{name}", "--data", "{photos}", "--out", "{tmp}/x.html"], "has no weights"),
        (["compare", "{name}={tmp}/none.pth", "--data", "{photos}", "--out", "{tmp}/x.html"], "no file of weights"),
        (["compare", "torchvision:resnet18={w}", "--data", "{photos}", "--out", "{tmp}/x.html"], "do not fit"),
        (["compare", "{net}", "--out", "{tmp}/x.html"], "pass --data"),
        (["compare", "pretrained:nothing", "--data", "{photos}", "--out", "{tmp}/x.html"], "no pretrained network"),
        (["compare", "{run}", "nowhere", "--out", "{tmp}/x.html"], "no run directory nowhere"),
        (["compare", "{run}", "--split", "all", "--data", "digits", "--out", "{tmp}/x.html"], "--split all is for"),
    ],
    ids=lambda value: " ".join(value)[-48:] if isinstance(value, list) else None,
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    places = {"run": place / "run", "w": place / "w.pth", "two": place / "two.pth", "tmp": tmp_path, "name": NETWORK}
    places |= {"photos": f"folder:{place / 'photos'}", "net": f"{NETWORK}={place / 'w.pth'}", "bare": place / "photos"}
    assert main([word.format(**places) for word in words]) == 2
    (line,) = errors(capfd)
    assert re.search(said, line), line
    assert not list(tmp_path.iterdir())
