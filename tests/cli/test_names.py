"""Every name of a file, a class or a run survives every command, or is refused before work starts."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gradsculpt.cli.folder import file_name, numbered
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.metrics import Score
from gradsculpt.models import load
from gradsculpt.progress import Reporter
from gradsculpt.report import table
from gradsculpt.wording import printable

LONG = "n" * 240
NAMES = [
    "plain",
    os.fsdecode(b"caf\xe9"),
    "[bold]",
    "[red]x",
    "two\nlines",
    "tab\there",
    "bell\x07\x1b[31m",
    LONG,
    LONG[:-1] + "m",
    "-rf",
    "dot.",
    "space ",
    "Case",
    "case",
    "a b",
    "a_b",
    "😀",
    "😁",
    "שלום\u202ex",
    "con",
    "$x_1$",
    "$\\frac{$",
    "back\\",
    "_under",
    "{curly}",
    "100%",
    "null",
]
SAME_STEM = ["a.png", "a.jpg", "a-2.png"]


def picture(path: Path, level: int) -> None:
    noise = np.random.default_rng(level).integers(-20, 20, (16, 16, 3))
    Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(
        path, "JPEG" if path.suffix == ".jpg" else "PNG"
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def strict(file: Path) -> Any:
    """Read JSON as the standard has it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{file} holds {constant}")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images in a class of each name, one of them of that name as well."""
    folder = tmp_path_factory.mktemp("names") / "photos [" / "i]"
    for i, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        (folder / name / "[").mkdir()
        for j, file in enumerate([*SAME_STEM, f"{name[:240]}.png", "[/b].png"]):
            picture(folder / name / file, 8 * i + j)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "[" / Path(os.fsdecode(b"b] $run\n\xe9"))
    flags = ["--image-size", "16", "--epochs", "1", "--threads", "1", "--val-fraction", "0.25"]
    assert main(["train", "--data", f"folder:{photos}", *flags, "--out", str(out)]) == 0
    return out


@pytest.fixture(autouse=True)
def _nothing_is_lost_on_the_way(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_a_run_knows_every_class(run: Path) -> None:
    assert load(run).classes == tuple(map(printable, sorted(NAMES)))
    assert len(strict(run / "model.json")["classes"]) == len(NAMES)


def test_a_training_is_resumed(run: Path) -> None:
    assert main(["train", "--resume", "--out", str(run)]) == 0


def test_a_run_is_scored_and_every_image_has_its_row(run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--out", str(tmp_path), "--split", "train"]) == 0
    names = [row["image"] for row in rows(tmp_path / "scorecard.csv")]
    assert len(names) == len(set(names)) == 3 * len(NAMES)
    strict(tmp_path / "scorecard.json")


def files_of_every_image(out: Path, count: int, *suffixes: str) -> None:
    """Check that each image has a row of its own and files of its own."""
    found = rows(out / "index.csv")
    assert len(found) == count
    for column in ("image", "source"):
        assert len({row[column] for row in found}) == count, column
    for row in found:
        for suffix in suffixes:
            assert (out / f"{row['image']}.{suffix}").is_file(), row["image"]
    files = [path.name for path in out.iterdir()]
    assert len(files) == count * len(suffixes) + 2
    assert len({name.casefold() for name in files}) == len(files)


MAPS = ("gradient.npy", "gradient.png", "gradient.overlay.png")


def test_every_image_of_the_data_is_explained(run: Path, tmp_path: Path) -> None:
    assert main(["explain", str(run), "--data", _data(run), "--count", "27", "--out", str(tmp_path)]) == 0
    files_of_every_image(tmp_path, 27, *MAPS)


def test_every_file_is_explained(run: Path, photos: Path, tmp_path: Path) -> None:
    assert main(["explain", str(run), str(photos), "--out", str(tmp_path)]) == 0
    files_of_every_image(tmp_path, 5 * len(NAMES), *MAPS)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_is_looked_at_by_its_name(run: Path, photos: Path, tmp_path: Path, name: str) -> None:
    file = str(photos / "plain" / "a.png")
    assert main(["explain", str(run), file, f"--target={name}", "--out", str(tmp_path)]) == 0
    assert [row["target"] for row in rows(tmp_path / "index.csv")] == [printable(name)]


def test_every_file_is_attacked(run: Path, photos: Path, tmp_path: Path) -> None:
    images = [str(photos / "plain" / name) for name in SAME_STEM]
    images += [str(photos / name / f"{name}.png") for name in NAMES]
    assert main(["attack", str(run), *images, "--steps", "1", "--out", str(tmp_path)]) == 0
    kinds = ("attacked", "before", "after")
    files_of_every_image(tmp_path, len(images), *(f"{kind}.{end}" for kind in kinds for end in ("npy", "png")))


def test_every_class_is_pictured(run: Path, tmp_path: Path) -> None:
    words = ["features", str(run), "--classes", *(name for name in NAMES if not name.startswith("-"))]
    assert main([*words, "--steps", "1", "--out", str(tmp_path)]) == 0
    found = rows(tmp_path / "index.csv")
    assert {row["class"] for row in found} == {printable(name) for name in NAMES} - {"-rf"}
    assert len({row["file"] for row in found}) == len(found)
    assert all((tmp_path / row["file"]).is_file() for row in found)


def test_runs_are_compared(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "[" / Path(os.fsdecode(b"b] \xe9.html"))
    words = ["--limit", "8", "--count", "26", "--split", "train", "--groups", "accuracy", "sparsity"]
    assert main(["compare", str(run), str(run), *words, "--out", str(page)]) == 0
    assert "b] $run\\n\\xe9" in page.read_text(encoding="utf-8")
    for card in tmp_path.rglob("scorecard.json"):
        strict(card)


def _data(run: Path) -> str:
    import yaml

    return str(yaml.safe_load((run / "config.yaml").read_text())["data"])


@pytest.mark.parametrize("kind", ["class", "image"])
def test_names_that_look_the_same_are_refused_before_work_starts(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = ("x\n", "x\\n")
    classes = ("a", *pair) if kind == "class" else ("a", "b")
    for name in classes:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, file in enumerate(("0", "1", *pair)):
            picture(tmp_path / "photos" / name / f"{file}.png", i)
    flags = ["--image-size", "16", "--epochs", "1", "--threads", "1", "--out", str(tmp_path / "run")]
    assert main(["train", "--data", f"folder:{tmp_path / 'photos'}", *flags]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert "rename one" in lines[-1]
    assert sum(line.startswith("gradsculpt:") for line in lines) == 1
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_part_of_a_file_name_is_short_and_unlike_that_of_another_name() -> None:
    names = [file_name(f"test/{name}.png") for name in NAMES]
    assert max(len(name.encode()) for name in names) <= 64
    assert len({name.casefold() for name in numbered(names)}) == len(NAMES)
    assert len({file_name("é" * 200), file_name("é" * 201), file_name("é" * 200 + "x")}) == 3
    assert all(len(file_name("猫" * count).encode()) <= 64 for count in range(10, 80))
    assert [file_name(name) for name in ("nul", "COM1.txt", "-rf", "", "console")] == [
        *("_nul", "_COM1.txt", "_-rf", "_", "console"),
    ]


@pytest.mark.parametrize(
    "text", ["[/b]", "[red]", "a\\", "x[/bold]\\", "two\nlines", os.fsdecode(b"caf\xe9"), "\x1b[2J"]
)
def test_what_is_told_and_tabled_is_no_markup(text: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=500, force_terminal=True, color_system=None)
    reporter = Reporter(console)
    reporter.say(text)
    with reporter.work(text, 2) as tell:
        tell(1, 2)
    score = Score("accuracy", 0.0, 1.0, "higher")
    entry = Entry(text, score, 0.5, 0.4, 0.6, 8)
    console.print(table([Scorecard(text, {"images": 9, "data": text}, {"accuracy": entry})]))
    shown = stream.getvalue()
    assert shown.count(printable(text)) >= 5  # the line, the bar, and title, column and group of the table
    shown.encode("utf-8")
