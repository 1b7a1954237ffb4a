"""The objects that a training is made of, from words and files that are known to be right (see `settings`)."""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gradsculpt.cli.grammar import alternatives
from gradsculpt.cli.parser import underscored
from gradsculpt.cli.parts import spelled_out
from gradsculpt.errors import ArgumentError, GradsculptError, first_line

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from jsonargparse import ArgumentParser
    from jsonargparse._typehints import ActionTypeHint

if TYPE_CHECKING:
    from gradsculpt.training import TrainSettings

# Names and paths: YAML would read `a: b`, `[x]` or `1e3` otherwise, and no bytes that are not UTF-8.
_AS_TYPED: dict[Any, Callable[[str], Any]] = {
    **{str: str, str | None: str, Path: Path},
    Path | None: lambda text: None if text == "null" else Path(text),
}


class _Setting(ActionTypeHint):
    """A setting of a command, of a file or of a class, which takes parts as they are typed (see `parts`)."""

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        if (make := _AS_TYPED.get(self._typehint)) is not None and isinstance(value, str) and value:
            return make(value)
        nothing = isinstance(value, str) and value.lower() == "none" and type(None) in alternatives(self._typehint)
        value = None if nothing else value
        return super()._check_type(spelled_out(value, self._typehint, self.dest), append, cfg, mode)  # type: ignore[no-untyped-call]


class _Builder(ArgumentParser):
    """jsonargparse, which takes parts as they are typed."""

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        # jsonargparse writes this method into its groups of options too.
        action: argparse.Action = super().add_argument(*args, **kwargs)
        if type(action) is ActionTypeHint:
            action.__class__ = _Setting
        return action


class _Quoted(yaml.SafeDumper):
    """Writes texts in quotes: without, some would be read as numbers."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def build(contents: Sequence[Mapping[str, Any]], flags: Sequence[str]) -> "TrainSettings":
    """Return the settings that files say, each over those before it, and flags over them all.

    Of the files it takes what they hold, so that none is read twice, and by nobody who would follow it everywhere.

    What is still wrong, as only the classes themselves can tell it, is an `ArgumentError`.
    """
    from gradsculpt.training import Optimization, TrainSettings

    builder = _Builder(prog="gradsculpt train", exit_on_error=False, allow_abbrev=False)
    builder.add_argument("--config", action="config")
    builder.add_class_arguments(TrainSettings, skip={"optimization"})
    builder.add_class_arguments(Optimization)
    texts = [yaml.dump(dict(content), Dumper=_Quoted, sort_keys=False) for content in contents]
    words = [word for text in texts for word in ("--config", text)]
    try:
        values = builder.instantiate(builder.parse_args([*words, *_spelled_out(builder, flags)])).as_dict()
    except ValueError as error:
        raise ArgumentError(str(error)) from error
    except argparse.ArgumentError as error:
        told: BaseException = error
        while not isinstance(told, ArgumentError) and (deeper := told.__cause__ or told.__context__):
            told = deeper
        mend = "gradsculpt help NAME tells what a part takes"
        raise told if isinstance(told, ArgumentError) else ArgumentError(_refused(told, mend)) from error
    except GradsculptError:
        raise
    except Exception as error:  # a class of the user's own may raise anything
        raise ArgumentError(_refused(error, "mend the part that raised it")) from error
    values.pop("config", None)
    optimization = Optimization(**{name: values.pop(name) for name in Optimization.__dataclass_fields__})
    return TrainSettings(**values, optimization=optimization)


def _refused(error: BaseException, mend: str) -> str:
    return f"the settings cannot be used: {first_line(error).rstrip('.')}; {mend}."


def _spelled_out(builder: _Builder, flags: Sequence[str]) -> list[str]:
    """Let options have dashes, and a switch stand alone: --strict is --strict=true."""
    words = [underscored(word) for word in flags]
    booleans = (action for action in builder._actions if getattr(action, "_typehint", None) is bool)
    switches = {option for action in booleans for option in action.option_strings}
    return [
        f"{word}=true" if word in switches and after.lower() not in ("true", "false") else word
        for word, after in zip_longest(words, words[1:], fillvalue="")
    ]
