"""The table of a training's epochs, as it is read again: metrics.csv."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradsculpt.errors import RunError, first_line
from gradsculpt.reading import read_text
from gradsculpt.seals import SEAL, check

_EPOCH, _DIGITS = "epoch", 18


def rows(path: Path) -> list[dict[str, str]]:
    r"""Return the rows of a table of epochs, none if there is no table.

    Raises: RunError if it is damaged: no text, without the number of an epoch in a row, or with more or fewer values
        than columns.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.csv"
        ...     _ = path.write_text("epoch,val_accuracy\n1,0.5\n")
        ...     rows(path)
        [{'epoch': '1', 'val_accuracy': '0.5'}]
    """
    try:
        check(path, "Remove it: it is written again from the last checkpoint.")
        table = list(csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True))
        # The checksum stands in the heading of a column, which has no values.
        table = [{name: row[name] for name in row if not str(name).startswith(SEAL)} for row in table]
        check_rows(table)
        if not table:
            raise ValueError("it holds no rows")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path} is no table of epochs ({first_line(error, kind=False)}), so the training cannot go on with it. "
            "Copy it again from where the run was made, or remove it: it is written again from the last checkpoint."
        ) from error
    return table


def check_rows(rows: Any) -> None:
    """Raise `ValueError` unless what is read of a table is rows, each with a value for every column, of an epoch."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it holds no rows")
    for row in rows:
        _check(row)


def reached(row: Mapping[str, str]) -> int:
    """Return the epoch of a row, from 1."""
    return int(row[_EPOCH])


def _check(row: Mapping[Any, Any]) -> None:
    """Raise `ValueError` unless a row has a value in each column, that of the epoch a whole number from 1."""
    lacking = [name for name, value in row.items() if not (isinstance(name, str) and isinstance(value, str))]
    if lacking or _EPOCH not in row:
        raise ValueError("a row has not as many values as there are columns" if lacking else "it has no column epoch")
    number = row[_EPOCH]
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS and int(number)):
        raise ValueError(f"{number[:20]!r} stands where the number of an epoch should")
    for name, value in row.items():
        if value:
            _number(name, value)


def _number(name: str, value: str) -> None:
    try:
        float(value)
    except ValueError:
        raise ValueError(f"{value[:20]!r} stands where a number should, in the column {name[:20]}") from None
