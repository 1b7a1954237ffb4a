"""The table of a training's epochs, as it is read again: metrics.csv."""

import csv
from pathlib import Path

from gradsculpt.errors import RunError, first_line

METRICS = "metrics.csv"

_EPOCH, _DIGITS = "epoch", 18


def rows(path: Path) -> list[dict[str, str]]:
    r"""Return the rows of a table of epochs, none if there is no table.

    Raises: RunError if it is damaged: no text, without the number of an epoch in a row, or with more or fewer values
        than columns.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / METRICS
        ...     _ = path.write_text("epoch,val_accuracy\n1,0.5\n")
        ...     rows(path)
        [{'epoch': '1', 'val_accuracy': '0.5'}]
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file, strict=True))
        if not table:
            raise ValueError("it holds no rows")
        for row in table:
            _check(row)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path} is no table of epochs ({first_line(error, kind=False)}), so the training cannot go on with it. "
            "Copy it again from where the run was made, or remove it, and go on without the rows of earlier epochs."
        ) from error
    return table


def reached(row: dict[str, str]) -> int:
    """Return the epoch of a row, from 1."""
    return int(row[_EPOCH])


def _check(row: dict[str, str]) -> None:
    """Raise `ValueError` unless a row has a value in each column, that of the epoch a whole number from 1."""
    lacking = [str(name) for name, value in row.items() if name is None or value is None]
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
