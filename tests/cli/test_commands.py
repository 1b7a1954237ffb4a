"""The commands as a user calls them: what they write, and one line for each mistake."""

import csv
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.attributions import ATTRIBUTIONS, Attribution
from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.main import COMMANDS, main
from gradsculpt.cli.parts import attribution
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError
from gradsculpt.models import load
from gradsculpt.objectives import AdversarialTraining
from gradsculpt.progress import Reporter

TINY = ["--image-size", "16", "--batch-size", "32", "--threads", "1", "--epochs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (path / name).mkdir()
        for i in range(20):
            noise = pixels.integers(-20, 20, (20, 24, 3))
            Image.fromarray((level + noise).astype(np.uint8)).save(path / name / f"{i:02}.png")
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "standard"
    assert main(["train", "--data", f"folder:{folder}", "--val-fraction", "0.2", *TINY, "--out", str(out)]) == 0
    return out


def test_explain_writes_maps_overlays_arrays_index_and_sheet(
    run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "broken.png"
    copy.write_bytes((folder / "dark" / "00.png").read_bytes()[:60])
    out = tmp_path / "maps"
    assert (
        main(
            ["explain", str(run), str(folder / "dark" / "01.png"), str(folder / "light"), str(copy), "--out", str(out)]
        )
        == 0
    )
    raw = np.load(out / "01.gradient.npy")
    assert raw.shape == (3, 16, 16)
    assert np.abs(raw).max() > 0
    for suffix in ("png", "overlay.png"):
        assert Image.open(out / f"01.gradient.{suffix}").size[0] >= 224
    assert Image.open(out / "sheet.png").width > 200
    with (out / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    assert len({row["image"] for row in rows}) == 21
    error = capfd.readouterr().err
    assert "broken.png" in error
    assert "1 file could not be read" in error


def test_explain_takes_samples_and_named_classes(run: Path, tmp_path: Path) -> None:
    flags = ["explain", str(run), "--data", json.loads('"' + _data(run) + '"'), "--count", "3"]
    assert main([*flags, "--target", "light", "--out", str(tmp_path / "a")]) == 0
    with (tmp_path / "a" / "index.csv").open() as file:
        assert {row["target"] for row in csv.DictReader(file)} == {"light"}
    assert main([*flags, "--out", str(tmp_path / "b")]) == 0
    with (tmp_path / "b" / "index.csv").open() as file:
        assert all(row["target"] == row["true"] for row in csv.DictReader(file))


def _data(run: Path) -> str:
    return next(line[6:] for line in (run / "config.yaml").read_text().splitlines() if line.startswith("data: "))


def test_evaluate_prints_and_writes_the_scorecard(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run)]) == 0
    card = json.loads((run / "scorecard.json").read_text())
    assert {"accuracy", "gini", "ssim"} <= set(card["scores"])
    assert card["settings"]["split"] == "test"
    assert "accuracy" in capfd.readouterr().out


def test_compare_writes_one_page(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", str(run), str(run), "--out", str(page), "--count", "2", "--limit", "4"]) == 0
    shown = page.read_text(encoding="utf-8")
    # Each photo stands once, with a map and an overlay of each run; and once with noise, with a map of each.
    assert shown.count("data:image/webp") == 2 * ((1 + 2 * 2) + (1 + 2))
    assert shown.count("data:image/svg") == 3
    assert "attacked" not in shown
    assert page.with_suffix(".png").is_file()


def test_a_quick_comparison_has_every_group_attacked_maps_and_curves(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    small = ["robustness-random", "robustness-attack:steps=2", "fidelity:steps=4", "sanity:images=2"]
    groups = ["--groups", "accuracy", "sparsity", *small]
    assert main(["compare", str(run), "--quick", "--limit", "4", *groups, "--count", "2", "--out", str(page)]) == 0
    shown = page.read_text(encoding="utf-8")
    # As above, for one run; and attacked, with its map.
    assert shown.count("data:image/webp") == 2 * ((1 + 2) + (1 + 1) + (1 + 1))
    assert shown.count("data:image/svg") == 6 + 2
    for word in ("robustness-attack", "fidelity", "sanity", "Insertion", "attacked image"):
        assert word in shown


def test_compare_needs_an_image_to_show(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), "--count", "0", "--out", str(tmp_path / "page.html")]) == 2
    assert "--count" in capfd.readouterr().err


def test_list_names_everything(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capfd.readouterr().out
    for word in (
        "cells",
        "imagenette",
        "lenet",
        "efficientnet_b0",
        "gradsculpt[timm]",
        "elastic-net",
        "gradient",
        "gini",
        "five_band_scores",
        "masscenter",
        "robustness-attack",
    ):
        assert word in shown, word


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_states_its_source_and_can_be_read(name: str, tmp_path: Path) -> None:
    settings = read_settings(["--recipe", name, "--out", str(tmp_path / "run")])
    assert settings.recipe == name
    source = re.search(r"# Source: (.+)", (RECIPES / f"{name}.yaml").read_text())
    assert source is not None
    ours = ("ours; results/fine-tuning has the experiment", "ours; all else is as in fine-tune")
    assert source[1].startswith(ours if "fine-tune" in name else ("Gong et al., CVPR 2024", "Joo et al., AAAI 2023"))


def test_the_recipes_of_local_gradient_alignment_have_the_published_settings() -> None:
    settings = read_settings(["--recipe", "aga-l2-cos", "--data", "cifar10", "--model", "lenet", "--out", "x"])
    assert repr(settings.objective) == (
        "LocalGradientAlignment(every=1, share=1.0, l2=0.01, cosine=1.0, eps=Pixels(levels=4.0), noise='uniform', "
        "detach_source=True, squared=True)"
    )
    optimization = settings.optimization
    assert (settings.epochs, settings.batch_size, settings.softplus) == (300, 128, 3.0)
    assert (optimization.optimizer, optimization.lr, optimization.weight_decay) == ("adam", 1e-3, 4e-5)
    assert (optimization.schedule, optimization.milestones) == ("step", (100, 150))


def test_flags_override_the_file_and_the_file_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("recipe: l1\nepochs: 7\nlr: 0.5\n")
    settings = read_settings(["--lr", "0.25", "--config", str(file), "--out", str(tmp_path / "run")])
    assert (settings.epochs, settings.optimization.lr, settings.recipe) == (7, 0.25, "l1")
    assert isinstance(settings.objective, AdversarialTraining)
    assert repr(settings.objective.penalty) == "L1(0.01)"
    assert settings.config()["lr"] == 0.25
    changed = read_settings(["--recipe", "l1", "--objective.penalty.weight", "0.3", "--out", "x"])
    assert isinstance(changed.objective, AdversarialTraining)
    assert repr(changed.objective.penalty) == "L1(0.3)"


MISTAKES = [
    (["trian"], "Did you mean train"),
    (["train", "--out", "{tmp}/r", "--data", "cell"], "cell"),
    (["train", "--out", "{tmp}/r", "--recipe", "lasso"], "no recipe 'lasso'.*elastic-net"),
    (["train", "--out", "{tmp}/r", "--epochs", "ten"], "epochs"),
    (["train", "--out", "{tmp}/r", "--bogus", "1"], "bogus"),
    (["train", "--data", "digits"], "out"),
    (["train", "--out", "{tmp}/r", "--config", "{tmp}/none.yaml"], "none.yaml cannot be read"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--lr", "-1"], "lr=-1"),
    (["train", "--out", "{tmp}/r", "--data", "folder:{tmp}/nowhere"], "nowhere"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--model", "lennet"], "lenet"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--device", "cuda"], "device cuda.*cannot be had"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--precision", "7"], "precision 7"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--epochs", "0"], "epochs=0"),
    (["train", "--out", "{tmp}/r", "--data", "digits", "--batch-size", "-4"], "--batch-size=-4"),
    (["evaluate", "{tmp}/nowhere"], "nowhere"),
    (["explain", "{tmp}/nowhere", "x.png", "--out", "{tmp}/m"], "nowhere"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_line_and_status_2(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has what the test wants to be missing")
    assert main([word.replace("{tmp}", str(tmp_path)) for word in words]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("gradsculpt: ")
    assert re.search(said, error), error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "mps"], "device mps cannot be had here.*cpu"),
        (["--target", "cat"], "cat is no class.*dark, light"),
        (["--target", "true"], "true class of a file is not known"),
        (["--method", "magic"], "magic.*gradient"),
    ],
)
def test_explain_refuses_what_it_cannot_do(
    run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    words = ["explain", str(run), str(folder / "dark" / "01.png"), "--out", str(tmp_path / "m"), *flags]
    assert main(words) == 2
    assert re.search(said, capfd.readouterr().err)


@pytest.mark.parametrize(("name", "said"), [("train", "train --resume goes on"), ("evaluate", "the same command goes")])
def test_a_command_that_is_interrupted_says_what_to_do(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(words: list[str], reporter: Reporter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{COMMANDS[name].module}.run", interrupted)
    assert main([name]) == 130
    assert said in capfd.readouterr().err


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "evaluate", "/nowhere/at/all"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_help_and_version_come_without_heavy_imports() -> None:
    code = (
        "import sys; from gradsculpt.cli.main import main; main(['--help']); main(['--version']); "
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("False")
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize(("words", "status"), [(["trian"], 2), (["--version"], 0)])
def test_the_module_ends_as_the_command_does(words: list[str], status: int) -> None:
    assert subprocess.run([sys.executable, "-m", "gradsculpt", *words], capture_output=True).returncode == status


@pytest.mark.parametrize("name", ["train", "evaluate", "explain", "attack", "compare", "list"])
def test_the_help_of_a_command_spells_options_with_dashes(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    shown = capfd.readouterr().out
    assert "--batch_size" not in shown
    assert "usage: gradsculpt" in shown


CELLS = ["--data", "cells", "--train-count", "90", "--image-size", "16", "--model", "convnet", "--threads", "1"]


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_trains_and_its_run_is_scored_against_the_truth(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    assert main(["train", "--recipe", name, *CELLS, "--epochs", "1", "--batch-size", "16", "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "--limit", "12"]) == 0
    scores = json.loads((out / "scorecard.json").read_text())["scores"]
    assert all(0 <= scores[row]["mean"] <= 1 for row in ("mass_on_evidence", "binary_precision", "five_band_recall"))


def test_softplus_and_mixed_precision_train(tmp_path: Path) -> None:
    flags = ["--recipe", "elastic-net", "--softplus", "3", "--precision", "bf16-mixed", "--epochs", "1"]
    assert main(["train", *CELLS, *flags, "--out", str(tmp_path / "run")]) == 0
    assert any(isinstance(module, torch.nn.Softplus) for module in load(tmp_path / "run").modules())


def test_harmonization_without_attention_says_what_is_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", "digits", "--image-size", "16", "--recipe", "harmonize", "--epochs", "1", "--threads", "1"]
    assert main(["train", *flags, "--out", str(tmp_path / "run")]) == 2
    assert "needs attention maps" in capfd.readouterr().err


def test_the_demo_leaves_two_runs_and_a_page_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from gradsculpt.cli import demo

    monkeypatch.setattr(demo, "_COMMON", " ".join([*CELLS, "--epochs", "1", "--batch-size", "16"]))
    for _ in range(2):
        assert main(["demo", "--out", str(tmp_path)]) == 0
        shown = capfd.readouterr().out
        for word in ("standard", "elastic-net", "accuracy", "gini", "precision", "topk intersection"):
            assert word in shown, word
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_training_that_could_not_start_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    flags = ["train", *CELLS, "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main([*flags, "--model", "lennet"]) == 2
    assert main(flags) == 0


def test_a_bad_file_is_counted_and_ends_a_run_only_when_strict(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy)
    (copy / "dark" / "zz.jpg").write_bytes(b"not an image")
    flags = ["train", "--data", f"folder:{copy}", "--val-fraction", "0.2", *TINY]
    assert main([*flags, "--strict", "--out", str(tmp_path / "strict")]) == 2
    assert "zz.jpg" in capfd.readouterr().err
    assert main([*flags, "--out", str(tmp_path / "run")]) == 0
    error = capfd.readouterr().err
    assert "skipped 1 unreadable image:" in error
    assert "zz.jpg" in error


@pytest.mark.parametrize("cls", ATTRIBUTIONS)
def test_every_attribution_reads_the_output_that_was_asked_for_or_says_that_it_cannot(
    cls: type[Attribution],
) -> None:
    name = cls.__name__.lower()
    assert type(attribution(name)) is cls
    if {"output", "base"} & set(inspect.signature(cls).parameters):
        assert "log_probability" in repr(attribution(name, "log_probability"))
    else:
        with pytest.raises(ArgumentError, match=f"{name} reads the logit"):
            attribution(name, "log_probability")
