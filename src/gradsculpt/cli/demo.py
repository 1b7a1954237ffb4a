"""`gradsculpt demo`."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import result_console
from gradsculpt.cli.scoring import compare, comparison_options
from gradsculpt.cli.settings import read_settings
from gradsculpt.progress import Reporter
from gradsculpt.report import table
from gradsculpt.training import fit
from gradsculpt.training.run import CONFIG

# Chosen by experiment for two minutes on two cores. The L1 weight lies between the two published ones, 0.01 and 0.05: a
# training of a few hundred steps on small images needs a stronger hand than one of 200 epochs to change its maps, and
# 0.05 costs it too much accuracy.
_COMMON = "--data cells --train-count 5600 --model convnet --epochs 7 --batch-size 64 --lr 0.005"
_RUNS = {"standard": "--recipe standard", "elastic-net": "--recipe elastic-net --objective.penalty.l1 0.03"}
_SHOWN = ("accuracy", "gini", "binary_precision", "topk_intersection")
_NOTE = (
    "Two networks trained alike on synthetic cells, where the pixels that decide the class are known: once with plain "
    "cross entropy, once with the elastic-net penalty on the input gradient."
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Train a standard and an elastic-net network on the cells, and compare their maps on one page."""
    parser = command_parser("demo", "Train two small networks on synthetic cells and compare their maps on one page.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="Folder of the two runs and report.html.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything.")
    options = parser.read(words)
    console, started, out = reporter.console, time.monotonic(), options["out"]
    for name, flags in _RUNS.items():
        folder = out / name
        if (folder / CONFIG).is_file():
            shutil.rmtree(folder)
        console.rule(f"training {name}")
        places = ["--out", str(folder), "--cache-dir", str(out / "cache"), "--seed", str(options["seed"])]
        fit(read_settings([*flags.split(), *_COMMON.split(), *places]), reporter)
    console.rule("scoring")
    page, folders = out / "report.html", [str(out / name) for name in _RUNS]
    scoring = comparison_options([*folders, "--out", str(page), "--count", "10", "--seed", str(options["seed"])])
    cards = compare(scoring, reporter, _NOTE)
    result_console().print(table(cards, _SHOWN))
    spent = f"{time.monotonic() - started:.0f} s"
    console.print(f"{spent}. The maps are in {page}: open it in a browser.", highlight=False)
