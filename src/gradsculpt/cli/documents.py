"""Files of settings, read with the line that each key stands on."""

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradsculpt.cli.known import RECIPES
from gradsculpt.errors import ArgumentError
from gradsculpt.reading import (
    SETTINGS,
    DocumentError,
    NotTextError,
    composed,
    constructed,
    is_stream,
    parsed_yaml,
    read_bytes,
    read_stream,
    text_of,
)
from gradsculpt.seals import UNSEALED, check_content

Keys = tuple[str, ...]

_BETWEEN = ("init_args", "class_path")
"""Keys that only say how a part is written down; a command line does without them."""


@dataclass(frozen=True)
class Place:
    """Where a value stands, for messages: an option, or the keys that lead to it in a file."""

    source: str
    keys: Keys = ()
    lines: "dict[Keys, int] | None" = None

    def at(self, key: str) -> "Place":
        """Return the place of a key in what stands here."""
        return replace(self, keys=(*self.keys, key))

    @property
    def name(self) -> str:
        """The keys as one name, as a command line has it."""
        return ".".join(key for key in self.keys if key not in _BETWEEN)

    def __str__(self) -> str:
        if self.lines is None:
            return self.source
        line = self.lines.get(self.keys) or self.lines.get(self.keys[:-1], 0)
        place = f"{self.source}, line {line}" if line else self.source
        return f"{place}: {self.name}" if self.name else place


def read(path: Path, said: str = "--config") -> tuple[dict[str, Any], Place]:
    """Return what a file of settings holds, and the place of it all; `ArgumentError` if it is none.

    The option that named it is for messages.
    """
    place, lines = f"{said} {path}", dict[Keys, int]()
    try:
        content = read_stream(path) if is_stream(path) else read_bytes(path, SETTINGS)
        mend = f"Copy it again from where it was made, or, if it was changed on purpose, {UNSEALED}."
        check_content(content, path, mend)
        node = composed(text_of(content))
        _walk(node, (), lines, str(path))
        settings = constructed(node)
    except OSError as error:
        raise ArgumentError(f"{place} cannot be read ({error.strerror}); {_instead(path)}") from error
    except NotTextError as error:
        raise ArgumentError(f"{place} is no text, so it holds no settings; pass a YAML file of settings.") from error
    except DocumentError as error:
        where = f"{path}, line {error.line}" if error.line else str(path)
        raise ArgumentError(
            f"{where} is not valid YAML: {error.problem}; write `key: value`, indented by spaces."
        ) from error
    if not isinstance(settings, dict):
        fact = "is empty, so it holds" if settings is None else f"holds {_kind(settings)}, and"
        raise ArgumentError(f"{place} {fact} no settings; write them as `key: value`, such as `epochs: 20`.")
    return settings, Place(str(path), (), lines)


def flow(text: str, said: str) -> Any:
    """Return what is typed as `{key: value}`; raise `ArgumentError` if it is no such thing."""
    try:
        return parsed_yaml(text)
    except ValueError as error:
        raise ArgumentError(f"{said} cannot be used, as it is not closed or no YAML; write {{key: value}}.") from error


def _walk(node: Any, keys: Keys, lines: dict[Keys, int], file: str) -> None:
    """Note the line of each key; raise `ArgumentError` if one stands twice, as only the last would count."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*keys, str(key.value))
            if inner in lines:
                raise ArgumentError(
                    f"{file}, line {key.start_mark.line + 1}: {key.value} stands here again after line {lines[inner]}, "
                    "and one of the two would be ignored; leave one away."
                )
            lines[inner] = key.start_mark.line + 1
            _walk(value, inner, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*keys, f"[{i}]")] = item.start_mark.line + 1
            _walk(item, (*keys, f"[{i}]"), lines, file)


def _instead(path: Path) -> str:
    """Return what to pass instead of a path that is no file."""
    if os.path.isdir(path):
        inside = sorted(file.name for file in path.glob("*.y*ml"))
        return (
            f"it is a folder; pass {path / inside[0]}." if inside else "it is a folder; pass a YAML file of settings."
        )
    if os.path.isfile(RECIPES / f"{path.stem}.yaml"):
        return f"{path.stem} is a recipe; pass --recipe {path.stem}."
    there = [file.name for file in path.parent.glob("*") if os.path.isfile(file)]
    near = difflib.get_close_matches(path.name, there, n=1)
    return f"pass a YAML file of settings.{f' Did you mean {path.with_name(near[0])}?' if near else ''}"


def _kind(content: Any) -> str:
    return "a list" if isinstance(content, list) else "a text" if isinstance(content, str) else "a single value"
