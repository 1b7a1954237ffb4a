"""The settings of a training from a recipe, a file and flags."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from gradsculpt.cli.parser import command_parser, recipe_path, without_effect
from gradsculpt.errors import ArgumentError
from gradsculpt.training import Optimization, TrainSettings
from gradsculpt.training.resuming import CONFIG, run_config

_SGD, _STEP = ("optimizer", "sgd"), ("schedule", "step")
_ONLY_WITH = {"momentum": _SGD, "milestones": _STEP, "gamma": _STEP}
"""Flags that say nothing unless another setting has a certain value; a recipe may hold them for whoever chooses it."""


def read_settings(words: Sequence[str]) -> TrainSettings:
    """Return the settings of a command line; what is not understood in it or in a file is an `ArgumentError`.

    A recipe, or several joined by +, comes first, then a configuration file, then the flags, in whatever order they are
    typed; --resume starts from the run's own file.
    """
    parser = command_parser("train", "Train a classifier and leave a run directory.")
    parser.add_argument("--config", action="config", help="YAML file of settings; flags override it.")
    parser.add_class_arguments(TrainSettings, skip={"optimization"})
    parser.add_class_arguments(Optimization)
    files, flags = _files_first(words)
    values = parser.read([*files, *flags])
    values.pop("config", None)
    for name, (setting, needed) in _ONLY_WITH.items():
        if values[setting] != needed:
            without_effect(words, [name], f"without --{setting} {needed}")
    if values["optimizer"] == "sgd":
        without_effect(words, ["betas"], "with --optimizer sgd")
    optimization = Optimization(**{name: values.pop(name) for name in Optimization.__dataclass_fields__})
    return TrainSettings(**values, optimization=optimization)


def _files_first(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return --config options for the run to resume, the recipe and the user's file, and the other words."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    try:
        scan.add_argument("--config", type=Path, action="append", default=[])
        first, others = scan.parse_known_args(words)
        scan.add_argument("--recipe")
        scan.add_argument("--out", type=Path)
        scan.add_argument("--resume", nargs="?", const="true", default="false")
        named, _ = scan.parse_known_args(others)
    except argparse.ArgumentError:
        return [], list(words)  # a flag without its value: the full parser says so
    configs: list[Path] = first.config
    recipe = named.recipe or next(filter(None, map(_recipe_in, reversed(configs))), None)
    resumed = None if named.out is None or named.resume == "false" else named.out / CONFIG
    files = [*([] if recipe is None else [recipe_path(name) for name in recipe.split("+")]), *configs]
    if resumed is not None and resumed.is_file():
        run_config(resumed)
        files = [resumed, *files]
    return [word for file in files for word in ("--config", str(file))], others


def _recipe_in(config: Path) -> str | None:
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            f"--config {config} cannot be read ({error.strerror}); pass a YAML file of settings."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--config {config} is not valid YAML: {error}") from error
    return content.get("recipe") if isinstance(content, dict) else None
