"""What is said and refused before a training, which itself is as it would be without."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from gradsculpt.cli.main import main
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Outline, outline_of, outlined
from gradsculpt.progress import Reporter
from gradsculpt.training import fit, open_data, preparation
from gradsculpt.training.demand import Trial, tried

DIGITS = ["--data", "digits", "--image-size", "16", "--batch-size", "32", "--train-count", "64", "--threads", "1"]
GIB = 2**30


def shout() -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(Console(file=text, width=500)), text


def settings(*words: str, out: Path = Path("unused")) -> Any:
    return read_settings([*DIGITS, *words, "--out", str(out)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (20, 20), (20 * i, 9, 9)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("recipe", ["elastic-net", "noise", "free", "aga-l2-cos-cheap"])
def test_a_training_that_was_tried_gives_the_same_weights(tmp_path: Path, recipe: str) -> None:
    words = ["--recipe", recipe, "--epochs", "1", "--model", "convnet", "--device", "cpu"]
    fit(settings(*words, out=tmp_path / "silent"))
    reporter, text = shout()
    fit(settings(*words, out=tmp_path / "told"), reporter)
    assert "to train: convnet, 164" in text.getvalue()
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("silent", "told"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_said_what_is_done_and_how_long_it_takes(tmp_path: Path, photos: Path) -> None:
    reporter, text = shout()
    words = ["--data", f"folder:{photos}", "--epochs", "3", "--batch-size", "4", "--model", "convnet"]
    fit(read_settings([*words, "--image-size", "16", "--out", str(tmp_path / "run")]), reporter)
    plan, time, note, *_ = text.getvalue().splitlines()
    assert plan == (
        "to train: convnet, 163,930 parameters, for 2 classes of images of 16 x 16 pixels; 3 epochs of 4 steps, "
        "16 images and 2 to validate"
    )
    assert re.fullmatch(r"about [\d.e-]+ s on 1 thread, [\d.e-]+ s an epoch; [\d.]+ [MG]B of memory", time)
    assert note.startswith("note: 8 images a class are few to learn from scratch")
    assert "--recipe fine-tune starts from weights" in note


@pytest.mark.parametrize(("model", "grid"), [("torchvision:shufflenet_v2_x0_5", True), ("convnet", False)])
def test_a_grid_in_the_maps_is_said(model: str, grid: bool) -> None:
    reporter, text = shout()
    asked = replace(settings("--model", model), image_size=32)
    preparation.prepare(asked, outlined("digits", image_size=32, train_count=64), reporter)
    assert (f"note: the first layer of {model} takes steps of 2 pixels" in text.getvalue()) == grid


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Let every step take so many seconds, and count them."""
    now, steps = [0.0], list[int]()
    loss = Trial._loss

    def slow(self: Trial, *args: Any) -> Any:
        steps.append(args[-1])
        now[0] += seconds
        return loss(self, *args)

    monkeypatch.setattr(Trial, "_loss", slow)
    monkeypatch.setattr("gradsculpt.training.demand.time.monotonic", lambda: now[0])
    return steps


@pytest.mark.parametrize(("seconds", "total", "most"), [(0.01, 100, 9), (1.4, 100, 3), (30.0, 100, 3), (30.0, 10, 1)])
def test_few_steps_are_timed(monkeypatch: pytest.MonkeyPatch, seconds: float, total: int, most: int) -> None:
    trial = Trial(settings(), Outline(10, 16, False, (64, 10, 10)))
    steps = clock(monkeypatch, seconds)
    step, _ = trial.seconds(total, torch.device("cpu"))
    assert step == pytest.approx(seconds)
    assert 1 <= len(steps) <= most
    assert sum([seconds] * len(steps)) <= max(3.0, 0.02 * total * seconds, seconds)


def peak(run: Callable[[], object]) -> int:
    """Return the bytes of tensors that a call holds at most, by PyTorch's own profiler."""
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    now = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


FACTORS = {"standard": 1.5, "elastic-net": 1.5, "penalty": 1.5, "aga-l2-cos": 1.5, "hessian": 2.2}


@pytest.mark.parametrize(("recipe", "factor"), FACTORS.items())
def test_the_memory_of_a_step_is_known_from_few_images(recipe: str, factor: float) -> None:
    chosen = settings("--recipe", recipe, "--batch-size", "32")
    trial = Trial(chosen, Outline(10, 16, True, (64, 10, 10)))
    needs, batch = trial.demand(), trial._input(32)
    held = peak(lambda: trial._loss(*batch, 0).backward())
    weights = sum(parameter.nbytes for parameter in trial._network.parameters())
    assert held / factor <= needs.memory - 3 * weights <= factor * held
    assert needs.parameters * 4 == weights


def test_a_larger_image_takes_its_pixels_times_as_much() -> None:
    small, large = (Trial(settings("--model", "convnet"), Outline(2, size, False, None)) for size in (224, 448))
    small_needs, large_needs = small.demand(), large.demand()
    assert large_needs.image == pytest.approx(4 * small_needs.image, rel=0.1)


def test_what_cannot_fit_is_refused_with_the_numbers(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preparation, "free_memory", lambda: 8 * GIB)
    monkeypatch.setattr("gradsculpt.data.decoders.decode_with_size", None)
    out = ["--out", str(tmp_path / "deep" / "run"), "--model", "convnet"]
    assert main(["train", "--data", f"folder:{photos}", "--image-size", "4096", *out]) == 2
    said = capfd.readouterr().err
    match = re.fullmatch(
        r"gradsculpt: training convnet on 16 images of 4096 x 4096 pixels at a time takes about (\d+) GB of memory, "
        r"and 8.6 GB are free, so the system would end it. Pass (--batch-size \d --accumulate \d+ for as many "
        r"images in each step, or )?--image-size (\d+).\n",
        said,
    )
    assert match, said
    assert int(match[1]) > 9
    assert 32 <= int(match[3]) < 4096
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "harmonize"], "has none"),
        (["--device", "cuda"], "cannot be had here"),
        (["--model", "torchvision:resnet81"], "resnet81"),
        (["--model", "python:there_is_no:module"], "there_is_no"),
        (["--model", "torchvision:vit_b_16"], "vit_b_16"),
        (["--precision", "12-true"], "cannot be had here"),
        (["--train-count", "1000"], "there are only 16"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_a_refused_run_decodes_nothing_and_leaves_nothing(
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
    cached: bool,
) -> None:
    if torch.cuda.is_available() and "cuda" in words:
        pytest.skip("there is one")
    monkeypatch.setattr("gradsculpt.data.decoders.decode_with_size", None)
    places = ["--cache-dir", str(tmp_path / "cache")] if cached else []
    common = ["--data", f"folder:{photos}", "--out", str(tmp_path / "runs" / "one"), "--image-size", "24", *places]
    assert main(["train", *common, *words]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_what_fails_after_the_images_were_read_leaves_nothing(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradsculpt.training.run.prepare", lambda *_: None)
    words = ["train", "--data", f"folder:{photos}", "--image-size", "24", "--recipe", "harmonize"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words", [["digits"], ["digits", "train_count"], ["cells"], ["folder"], ["folder", "train_count"]]
)
def test_an_outline_is_that_of_what_is_read(tmp_path: Path, photos: Path, words: list[str]) -> None:
    name = f"folder:{photos}" if words[0] == "folder" else words[0]
    count: dict[str, Any] = (
        {"train_count": 12} if "train_count" in words else {"train_count": 80} if name == "cells" else {}
    )
    read = open_data(replace(settings(out=tmp_path), data=name, train_count=count.get("train_count"), image_size=16))
    found = outlined(name, image_size=16, **count)
    assert found is not None
    if name != "cells":
        assert found == outline_of(read)
    assert (found.classes, found.size, found.attention) == (
        len(read.train.classes),
        16,
        read.train.attention is not None,
    )


class Single(nn.Sequential):
    """A network that a function of the user's own returns again and again."""


def test_the_network_of_the_training_is_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Single(nn.Flatten(), nn.Linear(768, 10))
    before = [parameter.clone() for parameter in network.parameters()]
    monkeypatch.setattr("gradsculpt.training.fitting.build", lambda *args, **options: network)
    found = tried(settings(), Outline(10, 16, False, (64, 10, 10)))
    assert found is not None
    found[0].seconds(100, torch.device("cpu"))
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
