"""`gradsculpt train`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from gradsculpt.cli.console import progress_console
from gradsculpt.cli.parser import Parser, command_parser, recipe_path
from gradsculpt.cli.process import prepare
from gradsculpt.errors import ArgumentError
from gradsculpt.progress import Reporter
from gradsculpt.training import Optimization, TrainSettings, fit
from gradsculpt.training.run import CONFIG


def run(words: Sequence[str]) -> None:
    """Train a classifier and leave a run directory."""
    prepare()
    settings, reporter = read_settings(words), Reporter(progress_console())
    fit(settings, reporter)
    reporter.say(f"The run is in {settings.out}. Next: gradsculpt evaluate {settings.out}")


def read_settings(words: Sequence[str]) -> TrainSettings:
    """Return the settings of a command line.

    A recipe comes first, then a configuration file, then the flags, in whatever order they are typed; --resume
    starts from the run's own file.

    Raises:
        ArgumentError: If a word, a file or a value in it is not understood.
    """
    parser = train_parser()
    files, flags = _files_first(words)
    values = parser.build(parser.read([*files, *flags]))
    values.pop("config", None)
    optimization = Optimization(**{name: values.pop(name) for name in Optimization.__dataclass_fields__})
    return TrainSettings(**values, optimization=optimization)


def train_parser() -> Parser:
    """Return the parser of `gradsculpt train`."""
    parser = command_parser("train", "Train a classifier and leave a run directory.")
    parser.add_argument("--config", action="config", help="YAML file of settings; flags override it.")
    parser.add_class_arguments(TrainSettings, skip={"optimization"})
    parser.add_class_arguments(Optimization)
    return parser


def _files_first(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return --config options for the run to resume, the recipe and the user's file, and the other words."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--config", "--recipe", "--out"):
        known.add_argument(name)
    known.add_argument("--resume", nargs="?", const="true", default="false")
    try:
        named, _ = known.parse_known_args(words)
    except argparse.ArgumentError:
        return [], list(words)  # a flag without its value: the full parser says so
    files = []
    if named.resume != "false" and named.out is not None and (Path(named.out) / CONFIG).is_file():
        files.append(Path(named.out) / CONFIG)
    recipe, rest = named.recipe, list(words)
    if named.config is not None:
        rest = [word for word in words if word not in ("--config", named.config, f"--config={named.config}")]
        recipe = recipe or _recipe_in(Path(named.config))
    if recipe is not None:
        files.append(recipe_path(recipe))
    if named.config is not None:
        files.append(Path(named.config))
    return [word for file in files for word in ("--config", str(file))], rest


def _recipe_in(config: Path) -> str | None:
    try:
        content = yaml.safe_load(config.read_text())
    except OSError as error:
        raise ArgumentError(
            f"--config {config} cannot be read ({error.strerror}); pass a YAML file of settings."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--config {config} is not valid YAML: {error}") from error
    return content.get("recipe") if isinstance(content, dict) else None
