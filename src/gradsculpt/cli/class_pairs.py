"""How a user says which of a network's classes the classes of data stand for: typed, or in a file of pairs."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradsculpt.cli.parser import Options, Parser
from gradsculpt.errors import ArgumentError, first_line
from gradsculpt.reading import parsed_json, parsed_yaml, read_text

Asked = Mapping[str, tuple[str, ...]]
"""What was asked for: the network's classes, by name or number, that a class of the data stands for."""

_HEADINGS = {"folder", "data", "class", "classes", "label", "name", "network"}


def add_class_options(parser: Parser) -> None:
    """Add the options that say which of a network's classes the data's classes stand for."""
    pairs = (
        "Which classes of a network a folder of photos stands for, where the names differ: cat=tabby, or several, "
        "cat=tabby,'tiger cat',Persian_cat, of which any counts as right, by name, WordNet number (n02123045) or "
        "number of the output (cat=281-285); cat= leaves the folder out."
    )
    parser.add_argument("--classes", type=str, nargs="+", default=[], group="images", help=pairs)
    file = "The same from a file: .csv or .tsv with a pair a line, .yaml or .json with a mapping."
    parser.add_argument("--class_map", type=Path | None, group="images", rare=True, help=file)
    left = "Leave out photos of classes that the network does not know, and say how many, instead of refusing them."
    parser.add_argument("--skip_unknown", action="store_true", group="images", rare=True, help=left)


def asked_classes(options: Options) -> tuple[Asked, Asked]:
    """Return what the options of `add_class_options` ask for: as typed, and from the file."""
    typed: dict[str, tuple[str, ...]] = {}
    for word in options["classes"]:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ArgumentError(f"--classes {word} is no pair; write FOLDER=CLASS, as in --classes cat=tabby.")
        typed[name] = (*typed.get(name, ()), *([value] if value else ()))
    path: Path | None = options["class_map"]
    return typed, {} if path is None else _from_file(path)


def _from_file(path: Path) -> Asked:
    kinds = {".csv": ",", ".tsv": "\t", ".yaml": "", ".yml": "", ".json": ""}
    if (separator := kinds.get(path.suffix.lower())) is None:
        raise ArgumentError(f"--class-map {path} is of no known kind; pass a {', '.join(kinds)} file.")
    try:
        text = read_text(path)
        if separator:
            first = text.partition("\n")[0]
            separator = ";" if separator == "," and ";" in first and "," not in first else separator
            rows: Any = list(csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True, strict=True))
        else:
            # Without types: no, 1e3 and 0123 are names.
            content = parsed_json(text) if path.suffix.lower() == ".json" else parsed_yaml(text, typed=False)
            rows = content.items() if isinstance(content, dict) else content
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error, kind=False)
        raise ArgumentError(f"--class-map {path} cannot be read ({reason}); pass a file of pairs.") from error
    return _pairs(path, rows)


def _pairs(path: Path, rows: Any) -> Asked:
    """Return the pairs of a file, from rows of which each has a name and then one class, several, or a list of them."""
    mend = "Give each folder its class, or several: folder,class in a line, or {folder: [class, class]}."
    if rows is None or isinstance(rows, str) or not hasattr(rows, "__iter__"):
        raise ArgumentError(f"--class-map {path} holds no pairs. {mend}")
    pairs: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) == 1:
            raise ArgumentError(f"--class-map {path} has {row!r} where a pair should stand. {mend}")
        if not row:
            continue
        name, *values = row
        if len(values) == 1 and isinstance(values[0], list):
            values = values[0]
        if not all(isinstance(each, str | int | None) for each in (name, *values)):
            raise ArgumentError(f"--class-map {path} has {row!r}, which is no pair of names. {mend}")
        if number == 0 and {str(each).strip().casefold() for each in row} <= _HEADINGS:
            continue
        wanted = (str(value).strip() for value in values if value is not None)
        pairs[str(name).strip()] = (*pairs.get(str(name).strip(), ()), *(value for value in wanted if value))
    if not pairs:
        raise ArgumentError(f"--class-map {path} holds no pairs. {mend}")
    return pairs
