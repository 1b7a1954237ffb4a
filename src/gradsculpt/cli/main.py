"""The `gradsculpt` command: finds the subcommand, and turns every failure into one line."""

import importlib
import os
import signal
import sys
import traceback
from typing import NamedTuple

from gradsculpt.cli.endings import flush, stoppable, streams
from gradsculpt.errors import ArgumentError, GradsculptError, did_you_mean
from gradsculpt.extensions import trusted, typed


class Command(NamedTuple):
    """A subcommand: its module is imported only when it is called."""

    module: str
    summary: str
    interrupted: str = "What was finished is kept."


_RESUMED = "What was finished is kept; train --resume goes on with it."
_GOES_ON = "What was finished is kept; the same command goes on where it stopped."

COMMANDS = {
    "train": Command("gradsculpt.cli.train", "train a classifier and leave a run directory", _RESUMED),
    "explain": Command("gradsculpt.cli.explain", "write heat maps, overlays and raw arrays of images"),
    "features": Command("gradsculpt.cli.features", "write the image that raises each class's logit the most"),
    "attack": Command("gradsculpt.cli.attack", "change images so that their maps change and their classes do not"),
    "evaluate": Command(
        "gradsculpt.cli.evaluate", "score a network: accuracy, sparsity, robustness, fidelity, sanity", _GOES_ON
    ),
    "compare": Command("gradsculpt.cli.compare", "put any number of runs on one self-contained page", _GOES_ON),
    "study": Command("gradsculpt.cli.study", "re-make the tables and figures of the papers, at four scales", _GOES_ON),
    "sweep": Command("gradsculpt.cli.sweep", "train under many settings, and choose the best by a rule", _GOES_ON),
    "export": Command("gradsculpt.cli.export", "write a network as ONNX or TorchScript, for those without gradsculpt"),
    "view": Command("gradsculpt.viewer.command", "look at maps in the browser, on this machine", "The page is closed."),
    "push": Command(
        "gradsculpt.cli.push",
        "share a run on the Hugging Face Hub, with a card of its maps and scores",
        "No commit is made there before all files are.",
    ),
    "demo": Command("gradsculpt.cli.demo", "train, explain and compare two small networks in about three minutes"),
    "list": Command("gradsculpt.cli.listing", "list data, models, recipes, attributions, attacks and metrics"),
    "doctor": Command("gradsculpt.cli.doctor", "tell versions, devices, extras and limits, and what is missing"),
    "completion": Command("gradsculpt.cli.completion", "print the script that completes commands in bash, zsh or fish"),
}

_TRUST = "--trust-code"
_SIGNALLED = 128
INTERRUPTED = _SIGNALLED + signal.SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for bad input, 128 and its number when a signal stopped it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words, trust = _without_trust([word for word in words if word != "--debug"])
    with streams(), stoppable():
        try:
            try:
                _do(words, trust)
            finally:
                flush()
        except KeyboardInterrupt as stopped:
            told = str(stopped) or f"interrupted. {_find(words[0]).interrupted}"
            sys.stderr.write(f"gradsculpt: {told}\n")
            return _SIGNALLED + getattr(stopped, "number", signal.SIGINT)
        except BrokenPipeError:  # nobody wants to read the rest
            return 0
        except Exception as error:
            from gradsculpt.accidents import told as accident

            line = str(error) if isinstance(error, GradsculptError) else accident(error)
            if line is None:
                raise
            if debug:
                traceback.print_exc()
            from gradsculpt.wording import one_line

            if (whose := _told_by(words[0], error)) is not None:
                sys.stderr.write(f"gradsculpt: {whose}{one_line(line)}\n")
            return 2
    return 0


def _do(words: list[str], trust: list[str]) -> None:
    """Do what the words say, with modules to trust; whatever fails is raised."""
    if not all(trust):
        raise GradsculptError(f"{_TRUST} needs the name of a module of your own; write {_TRUST} MODULE.")
    if not words or words[0] in ("-h", "--help", "--help-all") or words == ["help"]:
        sys.stdout.write(_overview())
    elif words[0] in ("--version", "-V"):
        from importlib.metadata import version

        sys.stdout.write(f"gradsculpt {version('gradsculpt')}\n")
    elif words[0] == "help" and words[1] not in COMMANDS:
        sys.stdout.write(_topic(words[1]))
    else:
        name, *options = (words[1], "--help") if words[0] == "help" else words
        module = importlib.import_module(_find(name).module)
        process = importlib.import_module("gradsculpt.cli.process")
        with typed(options), trusted(trust):
            module.run(options, process.reporter())


def _told_by(command: str, error: Exception) -> str | None:
    """Return what a message of one of several processes begins with; None for what the first of them tells for all."""
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"
    if command != "train" or rank == "0":
        return ""
    return None if isinstance(error, ArgumentError) else f"process {rank}: "


def _without_trust(words: list[str]) -> tuple[list[str], list[str]]:
    """Return words without --trust-code, and the modules that it names."""
    kept, modules, coming = list[str](), list[str](), iter(words)
    for word in coming:
        option, equals, text = word.partition("=")
        if option.replace("_", "-") == _TRUST:
            modules += (text if equals else next(coming, "")).split(",")
        else:
            kept.append(word)
    return kept, modules


def _find(name: str) -> Command:
    if name not in COMMANDS:
        hint = did_you_mean(name.lower(), [*COMMANDS, "--help", "--version"])
        fact = f"there is no command {name!r}"
        if name.startswith("-") and not hint:
            fact = f"a command comes first, and {name} after it"
        raise GradsculptError(f"{fact}.{hint} The commands are {', '.join(COMMANDS)}.")
    return COMMANDS[name]


def _topic(name: str) -> str:
    """Return what is to be told of a part, a metric or a recipe."""
    topics = importlib.import_module("gradsculpt.cli.topics")
    if text := topics.explained(name):
        return str(text)
    hint = did_you_mean(name, [*COMMANDS, *topics.topics()])
    raise GradsculptError(
        f"there is no help on {name!r}, which is no command, part, metric or recipe.{hint} gradsculpt list names them."
    )


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        "Train PyTorch image classifiers whose gradients are worth reading, and prove it.\n\n"
        f"usage: gradsculpt COMMAND [options]\n\ncommands:\n{rows}\n\n"
        "gradsculpt help COMMAND, or COMMAND --help, tells a command's options, --help-all all of them;\n"
        "gradsculpt help NAME, what a part, a metric or a recipe is; --debug shows the traceback of an error.\n"
        "--trust-code MODULE,... lets code of one's own run that a run or a file names, and nobody typed.\n"
    )
