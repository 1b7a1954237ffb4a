"""`gradsculpt demo`."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from gradsculpt.cli.compare import compare
from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.evaluate import table
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.runs import open_run
from gradsculpt.cli.train import read_settings
from gradsculpt.evaluation import Protocol
from gradsculpt.training import fit
from gradsculpt.training.run import CONFIG

# Each run's flags. Chosen on validation images for what two cores train in a minute each; the weights are larger than the
# recipe's because a short training on few images needs a stronger hand to change its maps.
_COMMON = ["--data", "cells", "--model", "lenet", "--epochs", "12", "--batch-size", "64"]
_RUNS = {
    "standard": ["--recipe", "standard"],
    "elastic-net": ["--recipe", "elastic-net"],
}
_SHOWN = ("accuracy", "gini", "binary_precision", "topk_intersection")
_NOTE = (
    "Two networks trained alike on synthetic cells, where the pixels that decide the class are known: once with plain "
    "cross entropy, once with the elastic-net penalty on the input gradient."
)


def run(words: Sequence[str]) -> None:
    """Train a standard and an elastic-net network on the cells, and compare their maps on one page."""
    parser = command_parser("demo", "Train two small networks on synthetic cells and compare their maps on one page.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="Folder of the two runs and report.html.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of everything.")
    options = parser.build(parser.read(words))
    torch.set_flush_denormal(True)
    console, started = progress_console(), time.monotonic()
    out = options["out"]
    for name, flags in _RUNS.items():
        folder = out / name
        if (folder / CONFIG).is_file():
            shutil.rmtree(folder)
        console.rule(f"training {name}")
        common = [*_COMMON, "--seed", str(options["seed"]), "--cache-dir", str(out / "cache")]
        fit(*read_settings([*flags, *common, "--out", str(folder)]), console)
    console.rule("scoring")
    protocol = {"split": "test", "batch_size": 64, "limit": None, **vars(Protocol(seed=options["seed"]))}
    settings = {"data": None, "data_dir": None, "cache_dir": None, "count": 10, "out": out / "report.html"}
    cards = compare([open_run(out / name) for name in _RUNS], protocol | settings, console, note=_NOTE)
    result_console().print(table(cards, _SHOWN))
    console.print(
        f"{time.monotonic() - started:.0f} s. The maps are in {out / 'report.html'}: open it in a browser.",
        highlight=False,
    )
