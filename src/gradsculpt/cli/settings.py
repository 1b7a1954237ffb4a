"""The settings of a training from a recipe, a file and flags."""

from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli import documents, known, schema
from gradsculpt.cli.documents import Place
from gradsculpt.cli.parser import Parser, command_parser, recipe_path, typed, without_effect
from gradsculpt.cli.parts import settings_of
from gradsculpt.cli.screen import option_name
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.extensions import check_trusted, modules_of, trusted
from gradsculpt.machine import is_first_process
from gradsculpt.runs import CHECKPOINTS, CONFIG, RUN_FILES, check_free, is_run

if TYPE_CHECKING:
    from gradsculpt.training import TrainSettings

Document = tuple[dict[str, Any], Place]

SETTINGS, OPTIMIZATION = "gradsculpt.training.settings.TrainSettings", "gradsculpt.training.settings.Optimization"

_SGD, _STEP = ("optimizer", "sgd"), ("schedule", "step")
_ONLY_WITH = {"momentum": _SGD, "milestones": _STEP, "gamma": _STEP}
"""Flags that say nothing unless another setting has a certain value; a recipe may hold them for whoever chooses it."""

_GROUPS = {
    "what is trained": (
        "data recipe objective model weights freeze softplus image_size",
        "val_fraction train_count keep swap shuffle_labels augment statistics strict",
    ),
    "how": (
        "epochs batch_size optimizer lr seed",
        "schedule weight_decay momentum betas milestones gamma warmup accumulate clip on_nan",
    ),
    "where, and on what": (
        "out device threads",
        "data_dir cache_dir devices nodes precision channels_last graphs tensorboard",
    ),
    "going on": ("resume max_time", ""),
}
"""The headings of the help: the settings under each that are common, and those that are rare."""

_EXAMPLES = (
    "gradsculpt train --data folder:photos --recipe elastic-net --model resnet34 --out runs/en",
    "gradsculpt train --data cells --objective 'gradientpenalty(l1(0.01))' --epochs 5 --out runs/l1",
    "gradsculpt train --recipe elastic-net --objective.penalty.l1 0.03 --out runs/stronger",
    "gradsculpt train --resume --epochs 40 --max-time 08:00:00 --out runs/en",
)

_PLACES = ("out", "data_dir", "cache_dir", "resume")
"""Settings by which a file would say where something is written, and what is overwritten."""

_NAMED = {"data": known.check_data, "model": known.check_model}
"""Settings that name something outside; the check of each."""

_THERE = {"data": known.check_data_there, "model": known.check_model_there, "weights": known.check_weights_there}


def read_settings(words: Sequence[str], *, new: bool = False) -> "TrainSettings":
    """Return the settings of a command line; what is not understood in it or in a file is an `ArgumentError`.

    A recipe, or several joined by +, comes first, then a configuration file, then the flags, in whatever order they are
    typed; --resume starts from the run's own file. For a new training, what it names has to be there.
    """
    with trusted(()):
        return _settings(words, new)


def _settings(words: Sequence[str], new: bool) -> "TrainSettings":
    given = train_parser().read(words)
    typed_files = [_read(path) for path in given["config"] or ()]
    files = [*_recipes(given["recipe"], typed_files), *typed_files]
    resumed = given["out"] / CONFIG if given["resume"] else None
    if resumed is not None and resumed.is_file():
        from gradsculpt.training.resuming import run_config

        run_config(resumed)
        files = [_read(resumed), *files]
    state = _check(files, given, words)
    if new:
        known.check_out(given["out"], RUN_FILES, (CHECKPOINTS, "cache"))
        if not given["resume"] and is_first_process():  # others are started when it has begun
            check_free(given["out"])
        for name, check in _THERE.items() if resumed is None else ():
            check(state.get(name, _takes()[name][1].default))
    from gradsculpt.cli.building import build

    settings = build([content for content, _ in files], _without_config(words))
    chosen = settings.optimization
    for name, (setting, needed) in _ONLY_WITH.items():
        if getattr(chosen, setting) != needed:
            without_effect(words, [name], f"without --{setting} {needed}")
    if chosen.optimizer == "sgd":
        without_effect(words, ["betas"], "with --optimizer sgd")
    return settings


def resolved_settings(words: Sequence[str]) -> dict[str, Any]:
    """Return what a command line says in plain data, by setting, without `out`: parts as `{class_path, init_args}`.

    Two command lines of one training give the same, whatever recipes and files they name, as far as they say the same;
    defaults that are not told are left out. Nothing is imported; mistakes are an `ArgumentError`.
    """
    given = train_parser().read(words)
    typed_files = [_read(path) for path in given["config"] or ()]
    files = [*_recipes(given["recipe"], typed_files), *typed_files]
    state = _check(files, given, words)
    return {name: each for name, each in state.items() if name not in ("recipe", "out")}


def unused_places(run: Path, options: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of the folders that a run's own settings name, and that are none of the options.

    A run may come from a stranger, who would choose with them where files are written on this machine.
    """
    from gradsculpt.training.resuming import run_config

    named = {name: each for name, each in run_config(run / CONFIG).items() if name in _PLACES}
    return [
        f"note: {run / CONFIG} names {option_name(f'--{name}')} {each}, which is used only where it is typed"
        for name, each in named.items()
        if each is not None and options.get(name) is None
    ]


def train_parser() -> Parser:
    """Return the options of a training."""
    parser = command_parser("train", "Train a classifier and leave a run directory.", _EXAMPLES)
    parser.headings, parser.dotted = tuple(_GROUPS), ("objective", "augment")
    what = next(iter(_GROUPS))
    told = "YAML file of settings, such as the config.yaml of a run; flags override it, and it a recipe."
    parser.add_argument("--config", type=Path, action="append", group=what, help=told)
    groups = {name: heading for heading, (common, rare) in _GROUPS.items() for name in f"{common} {rare}".split()}
    common = [name for names, _ in _GROUPS.values() for name in names.split()]
    parser.add_settings(SETTINGS, ["optimization"], groups, common)
    parser.add_settings(OPTIMIZATION, (), groups, common)
    return parser


def _read(path: Path) -> Document:
    """Return what a file holds; of a run's own one, without the folders that it names."""
    content, place = documents.read(path)
    return {name: each for name, each in content.items() if name not in _PLACES or not is_run(path.parent)}, place


def _takes() -> dict[str, tuple[Any, Parameter]]:
    """Return what a file of settings may hold: of which class each is, and its type and default."""
    classes = [value(SETTINGS), value(OPTIMIZATION)]
    return {name: (cls, each) for cls in classes for name, each in settings_of(cls).items() if name != "optimization"}


def _recipes(recipe: str | None, contents: Sequence[Document]) -> list[Document]:
    """Return what the recipe holds that is typed, or else that which the last file names."""
    said = "--recipe"
    if recipe is None:
        named = [(content["recipe"], place.at("recipe")) for content, place in contents if content.get("recipe")]
        recipe, said = (named[-1][0], str(named[-1][1])) if named else (None, "")
    if not isinstance(recipe, str):
        return []  # what else a file holds there is refused with its other settings
    if recipe.endswith((".yaml", ".yml")):
        raise ArgumentError(f"{said} {recipe} is a file, and recipes go by their names; pass --config {recipe}.")
    return [documents.read(recipe_path(name, said)) for name in recipe.split("+")]


def _check(files: Sequence[Document], given: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return what files and flags say, by setting; what can be told before classes are imported is an error."""
    takes, state, places = _takes(), dict[str, Any](), dict[str, Place]()
    for content, place in files:
        for name in content:
            if name not in takes:
                raise _unknown(str(name), content, state, place)
            cls, _ = takes[name]
            each = schema.check_setting(name, content[name], cls, place.at(name))
            state[name], places[name] = schema.merged(state.get(name), each), place.at(name)
    for option in dict.fromkeys(typed(words)):
        name, *keys = option.removeprefix("--").split(".")
        if name not in takes:
            continue
        cls, setting = takes[name]
        place = Place(option_name(option), (name,))
        current = state.get(name, None if setting.default is Parameter.empty else setting.default)
        text = given[".".join([name, *keys])]
        if keys:
            state[name] = schema.changed(current, setting.annotation, keys, text, place)
        else:
            each = text if isinstance(text, Path) else schema.check_setting(name, text, cls, place)
            state[name] = schema.merged(current, each)
        places[name] = place
    for name, each in state.items():
        schema.check_complete(each, Place(str(places[name]), (name,)))
        if name in _NAMED:
            _NAMED[name](each, str(places[name]))
            for module in modules_of({name: each}) if places[name].lines is not None else ():
                check_trusted(module, f"{places[name]}={each}", ArgumentError)
    return state


def _unknown(name: str, content: Mapping[str, Any], state: Mapping[str, Any], place: Place) -> ArgumentError:
    takes = _takes()
    place = place.at(name)
    for key, each in {**state, **{key: each for key, each in content.items() if key in takes}}.items():
        for told in schema.belongs(name, schema.plain(each), Place(str(place), (key,))):
            return ArgumentError(f"{place} is no setting of a training: {told}.")
    hint = did_you_mean(name, list(takes))
    if not hint and (of := schema.owners(name)):
        hint = f" It is a setting of {' and '.join(of[:3])}, to be written within the objective."
    return ArgumentError(f"{place} is no setting of a training.{hint} The settings are {', '.join(takes)}.")


def _without_config(words: Sequence[str]) -> list[str]:
    kept, skipped = list[str](), False
    for word in words:
        if not skipped and word.partition("=")[0] != "--config":
            kept.append(word)
        skipped = word == "--config"
    return kept
