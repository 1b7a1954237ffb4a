"""Command lines from type hints: dashes for underscores, and one line for a mistake."""

import argparse
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gradsculpt.cli.grammar import items
from gradsculpt.cli.parts import spelled_out
from gradsculpt.errors import ArgumentError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from jsonargparse import ArgumentParser
    from jsonargparse._typehints import ActionTypeHint

Options = Mapping[str, Any]
"""The values of a command line, by name."""

RECIPES = Path(__file__).parent.parent / "recipes"

_OPTION = re.compile(r"--[A-Za-z][\w.]*")


# Names and paths: YAML would read `a: b`, `[x]` or `1e3` otherwise, and no bytes that are not UTF-8.
_AS_TYPED: dict[Any, Callable[[str], Any]] = {
    **{str: str, str | None: str, Path: Path},
    Path | None: lambda text: None if text == "null" else Path(text),
}


class _Setting(ActionTypeHint):
    """A setting of a command, of a file or of a class, which takes parts as they are typed (see `parts`)."""

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        if self._typehint == tuple[str, ...] and isinstance(value, str):
            return tuple(item.strip() for item in items(value.strip().removeprefix("[").removesuffix("]")))
        if (make := _AS_TYPED.get(self._typehint)) is not None:
            if isinstance(value, str) and value:
                return make(value)
            if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
                return list(map(make, value))
        return super()._check_type(spelled_out(value, self._typehint, self.dest), append, cfg, mode)  # type: ignore[no-untyped-call]


class Parser(ArgumentParser):
    """jsonargparse with options spelled with dashes, parts in one language, and mistakes that are `ArgumentError`s."""

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Add an option, which takes parts as they are typed."""
        # jsonargparse writes this method into its groups of options too.
        action: argparse.Action = super().add_argument(*args, **kwargs)
        if type(action) is ActionTypeHint:
            action.__class__ = _Setting
        return action

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what a command line says, with objects for class paths; a mistake is one line, an `ArgumentError`."""
        self._check_repeated(words)
        try:
            return dict(self.instantiate(self.parse_args(self._spelled_out(words))).as_dict())
        except ValueError as error:
            raise ArgumentError(str(error)) from error
        except argparse.ArgumentError as error:
            told: BaseException | None = error
            while told is not None and not isinstance(told, ArgumentError):
                told = told.__cause__ or told.__context__
            line = _dashed(" ".join(str(error).split())).rstrip(".")
            raise told or ArgumentError(f"{line}. See {self.prog} --help.") from error

    def _check_repeated(self, words: Sequence[str]) -> None:
        """Raise `ArgumentError` if an option that takes several values is given twice: only the last would count."""
        several = {option for action in self._actions if action.nargs == "+" for option in action.option_strings}
        options = [option for option in typed(words) if option in several]
        if repeated := [option for option in options if options.count(option) > 1]:
            raise ArgumentError(
                f"{_dashed(repeated[0])} is given twice, and the first would be ignored; write {_dashed(repeated[0])} "
                "once, with all values after it."
            )

    def _spelled_out(self, typed: Sequence[str]) -> list[str]:
        """Let options have dashes, and a switch stand alone: --strict is --strict=true."""
        words = [_underscored(word) for word in typed]
        booleans = (action for action in self._actions if getattr(action, "_typehint", None) is bool)
        switches = {option for action in booleans for option in action.option_strings}
        return [
            f"{word}=true" if word in switches and after.lower() not in ("true", "false") else word
            for word, after in zip_longest(words, words[1:], fillvalue="")
        ]

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """Spell the options in the help as they are documented, with dashes."""
        return _dashed(super().format_help(formatter))


def command_parser(command: str, description: str) -> Parser:
    """Return an empty parser for a subcommand."""
    return Parser(prog=f"gradsculpt {command}", description=description, exit_on_error=False, allow_abbrev=False)


def typed(words: Sequence[str]) -> list[str]:
    """Return the options of a command line, with underscores for dashes inside, as they come."""
    return [_underscored(word).partition("=")[0] for word in words if word.startswith("--")]


def without_effect(words: Sequence[str], options: Sequence[str], where: str) -> None:
    """Raise `ArgumentError` if one of the options is typed, as it does nothing where it is."""
    for option in options:
        if f"--{option}" in typed(words):
            raise ArgumentError(f"--{option.replace('_', '-')} has no effect {where}; leave it away.")


def recipe_path(name: str) -> Path:
    """Return the file of a shipped recipe; raise `ArgumentError` if there is none of that name."""
    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise ArgumentError(f"there is no recipe {name!r}; the recipes are {known}. --config takes a file of your own.")
    return path


def _underscored(word: str) -> str:
    option, equals, value = word.partition("=")
    return option.replace("-", "_").replace("__", "--", 1) + equals + value if option.startswith("--") else word


def _dashed(text: str) -> str:
    return _OPTION.sub(lambda match: match[0].replace("_", "-"), text)
