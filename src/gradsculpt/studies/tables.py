"""A study's table, ours beside what was published, in Markdown and CSV."""

import csv
import io
from collections.abc import Iterator

from gradsculpt.studies.figures.base import Measured
from gradsculpt.studies.results import StoredResults
from gradsculpt.studies.study import Column

NOT_RUN = "not run"
_TINY = 0.001


def markdown(results: StoredResults) -> str:
    """Return the table: each score as `ours [interval]`, and the published number behind it where there is one."""
    study = results.plan.study
    columns = study.columns
    head = [
        "",
        *(
            heading
            for column, heading in zip(columns.values(), columns, strict=True)
            for heading in _headings(heading, column)
        ),
    ]
    lines = [head, ["---"] * len(head)]
    for row in study.rows:
        cells = [_escaped(row)]
        for column in columns.values():
            cells.append(_ours(results, row, column))
            if column.published:
                cells.append(_published(column, row))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def table_csv(results: StoredResults) -> str:
    """Return the table with a row a number: row, column, mean, low, high, seeds, published."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "mean", "low", "high", "seeds", "published"])
    for row in results.plan.study.rows:
        for heading, column in results.plan.study.columns.items():
            ours = _measured(results, row, column)
            numbers = ["", "", "", ""] if ours is None else [*map(_number, _scaled(ours, column)), ours.seeds]
            writer.writerow([row, heading, *numbers, column.published.get(row, "")])
    return text.getvalue()


def _headings(heading: str, column: Column) -> Iterator[str]:
    yield _escaped(heading)
    if column.published:
        yield f"{_escaped(heading)}, published"


def _measured(results: StoredResults, row: str, column: Column) -> Measured | None:
    return results.measured(row, column.path) if row in results.rows else None


def _scaled(ours: Measured, column: Column) -> tuple[float, float, float]:
    return ours.mean * column.scale, ours.low * column.scale, ours.high * column.scale


def _ours(results: StoredResults, row: str, column: Column) -> str:
    ours = _measured(results, row, column)
    if ours is None:
        return NOT_RUN if row not in results.rows else ""
    mean, low, high = map(_number, _scaled(ours, column))
    return mean if low == high == mean else f"{mean} [{low}, {high}]"


def _published(column: Column, row: str) -> str:
    value = column.published.get(row)
    return "" if value is None else _escaped(str(value))


def _number(value: float) -> str:
    """Return a number with four digits, as far as they tell something.

    Example:
        >>> _number(8.40123), _number(0.12345), _number(12345.6), _number(3.14e-16)
        ('8.40', '0.1235', '12346', '3.1e-16')
    """
    if 0 < abs(value) < _TINY:
        return f"{value:.2g}"
    return f"{value:.2f}" if 1 <= abs(value) < 1000 else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4f}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
