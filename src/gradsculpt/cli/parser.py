"""Command lines from type hints: dashes for underscores, help of one screen, and one line for a mistake."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from gradsculpt.cli import documents, limits, sources
from gradsculpt.cli.grammar import alternatives, described
from gradsculpt.cli.known import RECIPES, is_network, likely_option
from gradsculpt.cli.limits import Limit
from gradsculpt.cli.parts import as_value
from gradsculpt.cli.screen import HELP_WORDS, metavar, option_name, page
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.files import impossible

Options = Mapping[str, Any]
"""The values of a command line, by name."""

DESCRIBE = "--describe-options"
"""The word by which a command's parser is had instead of being read."""

_NUMBER = re.compile(r"-\.?\d")
_MANY = ("+", "*")


class Described(Exception):  # noqa: N818 - it ends a command as an error does, and is none
    """Carries the parser of a command to whoever asked for it by `DESCRIBE`."""

    def __init__(self, parser: "Parser") -> None:
        super().__init__(parser.prog)
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """The options and words that a command takes, each with its type; mistakes are `ArgumentError`s of one line.

    Options and words may stand in any order. The attributes of `argparse` are there, its reading is not used.
    """

    examples: Sequence[str] = ()
    """Command lines that end the help."""

    headings: Sequence[str] = ("options", "images", "where, and on what", "networks by name")
    """The headings of the help in their order; others follow."""

    dotted: Sequence[str] = ()
    """The options whose parts are options too, as in --objective.penalty; they are read as texts, in their order."""

    def add_argument(
        self, *args: Any, group: str = "options", rare: bool = False, limit: Limit | None = None, **kwargs: Any
    ) -> argparse.Action:
        """Add an option or a word, as `argparse` does.

        Its `type` is a type hint, and its limit the range of a number; help shows it under the heading of its group,
        and if it is rare only when asked for all.
        """
        hint = kwargs.pop("type", bool if kwargs.get("action") == "store_true" else str)
        action = super().add_argument(*args, **kwargs)
        vars(action).update(hint=hint, group=group, rare=rare, limit=limit, cls=None)
        return action

    def add_settings(
        self, path: str, skip: Sequence[str] = (), groups: Mapping[str, str] | None = None, common: Sequence[str] = ()
    ) -> None:
        """Add an option for each argument of a class of the package, with its type, default and description.

        Args:
            path: The class, which is not imported.
            skip: Arguments that are no options.
            groups: Headings of the help, by option; else the first line of the class's docstring.
            common: The options that are not rare; by default all are common.
        """
        cls = sources.value(path)
        told, heading = sources.told(cls), sources.summary(cls).rstrip(":.")
        for name, setting in signature(cls).parameters.items():
            if name in skip:
                continue
            needed = setting.default is Parameter.empty
            action = self.add_argument(
                f"--{name}",
                type=setting.annotation,
                default=None if needed else setting.default,
                required=needed,
                help=told.get(name, ""),
                group=(groups or {}).get(name, heading),
                rare=bool(common) and name not in common,
            )
            vars(action)["cls"] = cls

    @property
    def options(self) -> dict[str, Any]:
        """The options by their names, with underscores: `--batch_size`."""
        return {option: action for action in self._actions for option in action.option_strings if option != "-h"}

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what a command line says, by the names of options and words; a mistake is an `ArgumentError`.

        Words of help print it and end the program.
        """
        if list(words) == [DESCRIBE]:
            raise Described(self)
        if asked := [word for word in words if word in HELP_WORDS]:
            sys.stdout.write(page(self, everything="--help-all" in asked))
            raise SystemExit(0)
        given, front = self._sorted(words)
        values = {action.dest: action.default for action in self._actions if action.dest != "help"}
        for option, texts in given:
            if "." in option:
                values[option.removeprefix("--")] = texts[0] if texts else "true"
                continue
            action = self.options[option]
            value = self._read(option_name(option), action, texts)
            several = isinstance(action, argparse._AppendAction)
            values[action.dest] = [*(values[action.dest] or []), value] if several else value
        values |= self._words(front)
        typed = {option for option, _ in given}
        for option, action in self.options.items():
            if action.required and option not in typed:
                raise ArgumentError(
                    f"{self.prog} needs {option_name(option)}: {action.help.rstrip('.').partition(';')[0]}. Write "
                    f"{option_name(option)} {metavar(action)}."
                )
        return values

    def _sorted(self, words: Sequence[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
        """Return the options with the texts after them, and the words that belong to none."""
        given, front, last, left, ended = list[tuple[str, list[str]]](), list[str](), list[str](), 0.0, False
        for i, word in enumerate(words):
            if ended or not is_option(word):
                (last if left > 0 else front).append(word)
                left -= 1
                continue
            if word == "--":
                ended, left = True, 0
                continue
            option, equals, text = underscored(word).partition("=")
            action = self._known(option, words[i + 1 : i + 2])
            last = [text] if equals else []
            given.append((option, last))
            follow = words[i + 1].lower() if i + 1 < len(words) else ""
            left = 0 if equals else _texts(action, follow)
        self._check_repeated([option for option, _ in given])
        return given, front

    def _known(self, option: str, after: Sequence[str]) -> Any:
        """Return the option of a name, or of the first part of a dotted one; raise `ArgumentError` if there is none."""
        if option in self.options:
            return self.options[option]
        head = option.partition(".")[0]
        if "." in option and head.removeprefix("--") in self.dotted:
            return self.options[head]
        known = {option_name(each): action.help or "" for each, action in self.options.items()}
        if len(option) == 2 and option.startswith("-"):
            near = [each for each in known if each.startswith(f"-{option}")][:2]
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
        else:
            hint = _likely(option_name(option), known)
        raise ArgumentError(
            f"{self.prog} has no option {option_name(option)}.{hint} Its options are {', '.join(known)}."
        )

    def _rest(self) -> list[Any]:
        return [action for action in self._actions if action.dest != "help"]

    def _read(self, said: str, action: Any, texts: Sequence[str]) -> Any:
        if isinstance(action, argparse._StoreTrueAction):
            if texts:
                raise ArgumentError(f"{said} is a switch and takes no value; write {said} alone, or leave it away.")
            return True
        if action.hint is bool and not texts:
            return True
        if not texts or "" in texts:
            takes = _takes(action)
            raise ArgumentError(f"{said} needs a value{f', {takes}' if takes else ''}; write {said} {metavar(action)}.")
        values = [self._checked(said, action, text) for text in texts]
        return values if action.nargs in _MANY else values[0]

    def _checked(self, said: str, action: Any, text: str) -> Any:
        if action.choices is None:
            value = typed_value(text, action.hint, f"{said}={text}")
            limits.hold(action.limit, value, f"{said}={text}")
            limits.check(action.dest, value, action.cls, said)
            return value
        if text not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise ArgumentError(f"{said} {text} is not known; choose from {', '.join(choices)}.{_near(text, choices)}")
        return text

    def _words(self, front: list[str]) -> dict[str, Any]:
        """Return the words that belong to no option by the names that they go by."""
        values, left = dict[str, Any](), list(front)
        if any(action.dest == "network" for action in self._rest()):
            left.sort(key=lambda word: not is_network(word))  # photographs may be named before what looks at them
        for action in (each for each in self._rest() if not each.option_strings):
            if action.nargs in _MANY:
                if not left and action.nargs == "+":
                    raise ArgumentError(self._lacks(action))
                taken, left = left, []
                values[action.dest] = [self._checked(action.dest, action, text) for text in taken]
            elif left:
                values[action.dest] = self._checked(action.dest, action, left.pop(0))
            elif action.nargs is None:
                raise ArgumentError(self._lacks(action))
        if left:
            near = likely_option(left[0], [option_name(each) for each in self.options])
            raise ArgumentError(
                f"{self.prog} has no use for {left[0]!r}, which follows no option that takes it; leave it away, or "
                f"write its option before it.{near or f' {self.prog} --help tells the options.'}"
            )
        return values

    def _lacks(self, action: Any) -> str:
        """Return what to say of a word that has to be there, and is not."""
        return f"{self.prog} needs {action.dest}: {action.help.partition(';')[0].rstrip('.')}."

    def _check_repeated(self, options: Sequence[str]) -> None:
        """Raise `ArgumentError` if an option that takes several values is given twice: only the last would count."""
        several = [option for option in options if option in self.options and self.options[option].nargs == "+"]
        if repeated := [option for option in several if several.count(option) > 1]:
            raise ArgumentError(
                f"{option_name(repeated[0])} is given twice, and the first would be ignored; write "
                f"{option_name(repeated[0])} once, with all values after it."
            )


def command_parser(command: str, description: str, examples: Sequence[str] = ()) -> Parser:
    """Return an empty parser for a subcommand; its help ends with the examples."""
    parser = Parser(prog=f"gradsculpt {command}", description=description, allow_abbrev=False)
    parser.examples = examples
    return parser


def is_option(word: str) -> bool:
    """Tell an option from a value, which may be a negative number."""
    return word.startswith("-") and len(word) > 1 and not _NUMBER.match(word)


def typed(words: Sequence[str]) -> list[str]:
    """Return the options of a command line, with underscores for dashes inside, as they come."""
    return [underscored(word).partition("=")[0] for word in words if word.startswith("--")]


def typed_value(text: str, hint: Any, where: str) -> Any:
    """Return the value of a type that a text says; names and paths as they are typed. Else it is an `ArgumentError`."""
    kinds = alternatives(hint)
    if str in kinds:
        return text
    if text.lstrip().startswith("{") and any(isinstance(kind, sources.Standin) for kind in kinds):
        return documents.flow(text, where)
    if Path in kinds:
        if why := impossible(text):
            raise ArgumentError(f"{where} can be no file or folder, as {why}; write the path of one.")
        return None if text == "null" and type(None) in kinds else Path(text)
    return as_value(text, hint, where)


def without_effect(words: Sequence[str], options: Sequence[str], where: str) -> None:
    """Raise `ArgumentError` if one of the options is typed, as it does nothing where it is."""
    for option in options:
        if f"--{option}" in typed(words):
            raise ArgumentError(f"{option_name(f'--{option}')} has no effect {where}; leave it away.")


def recipe_path(name: str, said: str = "--recipe") -> Path:
    """Return the file of a shipped recipe; raise `ArgumentError` if there is none of that name."""
    path = RECIPES / f"{name}.yaml"
    known = sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))
    if name not in known:
        raise ArgumentError(
            f"{said} {name}: there is no recipe {name!r}.{_near(name, known)} The recipes are {', '.join(known)}; "
            "--config takes a file of your own."
        )
    return path


def underscored(word: str) -> str:
    """Return an option with underscores for the dashes inside; its value, and any other word, as it is."""
    option, equals, value = word.partition("=")
    return option.replace("-", "_").replace("__", "--", 1) + equals + value if option.startswith("--") else word


def _takes(action: Any) -> str:
    if action.choices:
        return f"one of {', '.join(map(str, action.choices))}"
    return " or ".join(filter(None, (described(kind) for kind in alternatives(action.hint) if kind is not type(None))))


def _texts(action: Any, follow: str) -> float:
    """Return how many texts an option takes at most; a setting that is on or off may stand alone."""
    if isinstance(action, argparse._StoreTrueAction):
        return 0
    if action.hint is bool:
        return 1 if follow in ("true", "false") else 0
    return float("inf") if action.nargs in _MANY else 1


def _near(text: str, choices: Sequence[str]) -> str:
    return did_you_mean(text.lower(), choices)


def _likely(option: str, known: Mapping[str, str]) -> str:
    """Return the question that ends the message about an unknown option; the values are what is said of the known."""
    name = option.lstrip("-").lower()
    begun = [each for each in known if name and (name.startswith(each[2:]) or each[2:].startswith(name))]
    meaning = [each for each, told in known.items() if name.replace("-", " ") in told.lower()]
    if begun and (close := max(begun, key=len)):
        return f" Did you mean {close}?"
    return did_you_mean(option.lower(), list(known)) or (f" Did you mean {meaning[0]}?" if meaning else "")
