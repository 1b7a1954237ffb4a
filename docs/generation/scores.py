"""The reference of the scores: what each is called, its range, direction, unit, and what it says."""

from collections.abc import Iterator
from pathlib import Path

from gradsculpt.evaluation import SANITY_SCORES, SCORE_GROUPS, MetricGroup
from gradsculpt.metrics import METRICS, Score
from gradsculpt.report.meaning import called, direction

_HEAD = "| score | in plain words | range | direction | unit | what it says |\n| --- | --- | --- | --- | --- | --- |\n"
_PLACES = {name: f"python/metrics.md#{name.replace('_', '-')}" for name in (metric.name for metric in METRICS)}


def pages(folder: Path) -> dict[str, str]:
    """Return the page of the scores."""
    lead = (
        "# Scores\n\nAfter this page you can say what a number of a scorecard means, and which way is better. The "
        "range is that of the default options. Each metric links to its definition, shape, errors and source.\n\n"
    )
    metrics = "".join(_metric(metric.name, metric.scores) for metric in METRICS)
    sanity = _HEAD + "".join(map(_row, SANITY_SCORES.values()))
    return {
        "scores.md": f"{lead}## Metrics\n\n{_HEAD}{metrics}\n## Sanity\n\n"
        f"How alike maps stay while weights are drawn anew, or labels are.\n\n{sanity}\n## Groups of a scorecard\n\n"
        f"{''.join(_groups())}"
    }


def _metric(name: str, scores: tuple[Score, ...]) -> str:
    return "".join(_row(score, f"[{name}]({_PLACES[name]})" + _key(score.name, name)) for score in scores)


def _key(score: str, metric: str) -> str:
    return "" if score == metric else f": `{score}`"


def _row(score: Score, name: str = "") -> str:
    unit = score.unit or "-"
    cells = (name or f"`{score.name}`", called(score), score.span, direction(score), unit, score.meaning)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def _groups() -> Iterator[str]:
    for cls in SCORE_GROUPS:
        if cls is not MetricGroup:
            group = cls()
            told = (cls.__doc__ or "").partition("\n")[0]
            yield f"- `{group.name}`, {group.label}: {group.question} {told}\n"
