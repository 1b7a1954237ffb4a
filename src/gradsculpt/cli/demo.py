"""`gradsculpt demo`."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.comparison import compare, comparison_options
from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.pages import check_page
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import prepare, result_console
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import RunError
from gradsculpt.locks import locked
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    from gradsculpt.training import TrainSettings

# Chosen by experiment for two to three minutes on two cores. The L1 weight lies between the two published ones, 0.01
# and 0.05: a training of a few hundred steps on small images needs a stronger hand than one of 200 epochs to change its
# maps, and 0.05 costs it too much accuracy.
_COMMON = "--data cells --train-count 5600 --model convnet --epochs 7 --batch-size 64 --lr 0.005"
_PAGE = "report.html"
_RUNS = {"standard": "--recipe standard", "elastic-net": "--recipe elastic-net --objective.penalty.l1 0.03"}
_SHOWN = ("accuracy", "gini", "binary_precision", "topk_intersection")
_NOTE = (
    "Two networks trained alike on synthetic cells, where the pixels that decide the class are known: once with plain "
    "cross entropy, once with the elastic-net penalty on the input gradient."
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Train a standard and an elastic-net network on the cells, and compare their maps on one page."""
    parser = command_parser(
        "demo", "Train two small networks on synthetic cells and compare their maps on one page.", ["gradsculpt demo"]
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="Folder of the two runs and report.html.")
    parser.add_argument("--seed", type=int, default=0, limit=at_least(0), help="Seed of everything.")
    options = parser.read(words)
    check_out(options["out"], [_PAGE], [*_RUNS, "cache"])
    check_page(options["out"] / _PAGE)
    prepare()
    with locked(options["out"], "demo", reporter.say):
        _demonstrate(options["out"], options["seed"], reporter)


def _demonstrate(out: Path, seed: int, reporter: Reporter) -> None:
    from gradsculpt.report import table
    from gradsculpt.training import fit

    console, started = reporter.console, time.monotonic()
    places = ["--cache-dir", str(out / "cache"), "--seed", str(seed)]
    settings = [
        read_settings([*flags.split(), *_COMMON.split(), *places, "--out", str(out / name)])
        for name, flags in _RUNS.items()
    ]
    for each in settings:
        _make_room(each)
    for name, each in zip(_RUNS, settings, strict=True):
        console.rule(f"training {name}")
        fit(each, reporter)
    console.rule("scoring")
    page, folders = out / _PAGE, [str(each.out) for each in settings]
    scoring = comparison_options([*folders, "--out", str(page), "--count", "10", "--seed", str(seed)])
    cards = compare(scoring, reporter, _NOTE)
    result_console().print(table(cards, _SHOWN))
    reporter.say(f"{time.monotonic() - started:.0f} s. The maps are in {page}: open it in a browser.")


def _make_room(settings: "TrainSettings") -> None:
    """Remove the run of an earlier demo; raise `RunError` if the folder holds another run."""
    from dataclasses import replace

    from gradsculpt.runs import CONFIG
    from gradsculpt.training.resuming import run_config

    config = settings.out / CONFIG
    if not config.is_file():
        return
    run_config(config)
    there = read_settings(["--config", str(config), "--out", str(settings.out)])
    if replace(there, seed=settings.seed, cache_dir=None).config() != replace(settings, cache_dir=None).config():
        raise RunError(f"{settings.out} holds a run that is no demo's, and would be lost; pass another --out.")
    with locked(settings.out, "demo"):
        pass  # or a training in it would lose its files
    shutil.rmtree(settings.out)
