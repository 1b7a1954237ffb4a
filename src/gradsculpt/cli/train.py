"""`gradsculpt train`."""

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from gradsculpt.cli.console import progress_console
from gradsculpt.cli.parser import Parser, command_parser, recipe_path
from gradsculpt.errors import ArgumentError
from gradsculpt.training import Optimization, TrainSettings, fit
from gradsculpt.training.run import CONFIG


def run(words: Sequence[str]) -> None:
    """Train a classifier and leave a run directory."""
    # Softplus networks breed denormal numbers, which are many times slower; this only works before the first
    # parallel operation of the process.
    torch.set_flush_denormal(True)
    settings, config = read_settings(words)
    console = progress_console()
    fit(settings, config, console)
    console.print(f"The run is in {settings.out}. Next: gradsculpt evaluate {settings.out}", highlight=False)


def read_settings(words: Sequence[str]) -> tuple[TrainSettings, str]:
    """Return the settings of a command line, and the text of the config.yaml that repeats it.

    A recipe comes first, then a configuration file, then the flags; --resume starts from the run's own file.

    Raises:
        ArgumentError: If a word, a file or a value in it is not understood.
    """
    parser = train_parser()
    parsed = parser.read([*_files(words), *words])
    text = str(parser.dump(parsed, skip_link_targets=False))
    values = parser.build(parsed)
    values.pop("config", None)
    names = set(Optimization.__dataclass_fields__)
    optimization = Optimization(**{name: values.pop(name) for name in names})
    return TrainSettings(**values, optimization=optimization), text


def train_parser() -> Parser:
    """Return the parser of `gradsculpt train`."""
    parser = command_parser("train", "Train a classifier and leave a run directory.")
    parser.add_argument("--config", action="config", help="YAML file of settings; flags override it.")
    parser.add_class_arguments(TrainSettings, skip={"optimization"})
    parser.add_class_arguments(Optimization)
    return parser


def _files(words: Sequence[str]) -> list[str]:
    """Return --config options for the recipe and for the run to resume, to go before everything else."""
    recipe, out, config = (_option(words, name) for name in ("--recipe", "--out", "--config"))
    files = []
    if "--resume" in words and out is not None and (Path(out) / CONFIG).is_file():
        files.append(str(Path(out) / CONFIG))
    if config is not None and not Path(config).is_file():
        raise ArgumentError(f"--config {config} is not a file; pass a YAML file of settings.")
    if recipe is None and config is not None:
        recipe = _recipe_in(Path(config))
    if recipe is not None:
        files.append(str(recipe_path(recipe)))
    return [word for file in files for word in ("--config", file)]


def _option(words: Sequence[str], name: str) -> str | None:
    value = None
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def _recipe_in(config: Path) -> str | None:
    try:
        content = yaml.safe_load(config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{config} is not valid YAML: {error}") from error
    return content.get("recipe") if isinstance(content, dict) else None
