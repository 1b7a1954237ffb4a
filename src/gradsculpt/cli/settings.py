"""The settings of a training from a recipe, a file and flags."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.parser import Parser, command_parser, recipe_path, without_effect
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError

if TYPE_CHECKING:
    from gradsculpt.training import TrainSettings

SETTINGS = ("gradsculpt.training.settings.TrainSettings", "gradsculpt.training.settings.Optimization")

_SGD, _STEP = ("optimizer", "sgd"), ("schedule", "step")
_ONLY_WITH = {"momentum": _SGD, "milestones": _STEP, "gamma": _STEP}
"""Flags that say nothing unless another setting has a certain value; a recipe may hold them for whoever chooses it."""


def read_settings(words: Sequence[str]) -> "TrainSettings":
    """Return the settings of a command line; what is not understood in it or in a file is an `ArgumentError`.

    A recipe, or several joined by +, comes first, then a configuration file, then the flags, in whatever order they are
    typed; --resume starts from the run's own file.
    """
    parser = train_parser()
    typed = parser.read(words)
    files = _files(typed)
    flags = _without_config(words)
    from gradsculpt.cli.building import build

    settings = build(files, flags)
    chosen = settings.optimization
    for name, (setting, needed) in _ONLY_WITH.items():
        if getattr(chosen, setting) != needed:
            without_effect(words, [name], f"without --{setting} {needed}")
    if chosen.optimizer == "sgd":
        without_effect(words, ["betas"], "with --optimizer sgd")
    return settings


def train_parser() -> Parser:
    """Return the options of a training."""
    parser = command_parser("train", "Train a classifier and leave a run directory.")
    parser.add_argument("--config", type=Path, action="append", help="YAML file of settings; flags override it.")
    parser.dotted = ("objective", "augment")
    parser.add_settings(SETTINGS[0], skip=["optimization"])
    parser.add_settings(SETTINGS[1])
    return parser


def _files(typed: Mapping[str, Any]) -> list[Path]:
    """Return the files that a training starts from: that of the run to resume, the recipe's and the user's."""
    import yaml

    configs: list[Path] = typed["config"] or []
    recipe = typed["recipe"]
    for config in reversed(configs):
        try:
            content = yaml.safe_load(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise ArgumentError(
                f"--config {config} cannot be read ({error.strerror}); pass a YAML file of settings."
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ArgumentError(f"--config {config} is not valid YAML: {error}") from error
        recipe = recipe or (content.get("recipe") if isinstance(content, dict) else None)
    files = [*([] if recipe is None else [recipe_path(name) for name in recipe.split("+")]), *configs]
    resumed = typed["out"] / value("gradsculpt.training.resuming.CONFIG") if typed["resume"] else None
    if resumed is not None and resumed.is_file():
        from gradsculpt.training.resuming import run_config

        run_config(resumed)
        files = [resumed, *files]
    return files


def _without_config(words: Sequence[str]) -> list[str]:
    kept, skipped = list[str](), False
    for word in words:
        if not skipped and word.partition("=")[0] != "--config":
            kept.append(word)
        skipped = word == "--config"
    return kept
