"""What a study leaves to be looked at: table, figures, and a page that says how they came about."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradsculpt.errors import ArgumentError, RunError, did_you_mean
from gradsculpt.files import whole
from gradsculpt.studies import tables
from gradsculpt.studies.claims import Tested, judged
from gradsculpt.studies.engine.task import Task
from gradsculpt.studies.figures import FIGURES, Figure
from gradsculpt.studies.results import StoredResults
from gradsculpt.studies.schema import START
from gradsculpt.studies.study import Study
from gradsculpt.wording import counted

PAGE, TABLE, NUMBERS = "README.md", "table.md", "table.csv"

_LEAST_DOTS = 60
_BYTES = 300_000
"""A figure is to be no larger, as results are kept beside code."""


def write(results: StoredResults, folder: Path, command: str, say: Callable[[str], object]) -> list[Path]:
    """Write the table, the figures and the page of a study into a folder, and return what was written.

    A figure of which nothing was run is left out, and said so.

    Raises: RunError if the folder cannot be written to, or a result is damaged.
    """
    try:
        return _written(results, folder, command, say)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written to ({error.strerror or error}), so the study has no page; what was run is "
            "kept. Make room there, or pass another --out."
        ) from error


def _written(results: StoredResults, folder: Path, command: str, say: Callable[[str], object]) -> list[Path]:
    study, written = results.plan.study, list[Path]()
    drawn: dict[str, Path] = {}
    for name, content in study.figures.items():
        figure = figure_of(name, content)
        try:
            drawing = figure.draw(results)
        except ArgumentError as error:
            say(f"figure {name}: left out, as {error}")
            continue
        path = folder / f"{name}.png"
        # At its own dots an inch, as pictures are laid out in pixels.
        for dots in range(max(int(drawing.dpi), _LEAST_DOTS), _LEAST_DOTS - 1, -10):
            with whole(path) as draft:
                drawing.savefig(draft, dpi=dots)
            if path.stat().st_size <= _BYTES:
                break
        drawn[name] = path
    if study.columns:
        written += [_text(folder / TABLE, tables.markdown(results)), _text(folder / NUMBERS, tables.table_csv(results))]
    for sentence in results.unmeasured():
        say(f"{study.name}: {sentence}")
    claims = [judged(claim, results, list(study.rows)) for claim in study.claims]
    page = _page(results, drawn, claims, command)
    return [*written, *drawn.values(), _text(folder / PAGE, page)]


def check_figures(study: Study) -> None:
    """Raise `ArgumentError` if a figure of a study cannot be made, or draws a measure that the study does not have."""
    for name, content in study.figures.items():
        for measure in figure_of(name, content).measures:
            if measure not in study.measures:
                hint = did_you_mean(measure, list(study.measures))
                raise ArgumentError(
                    f"figures.{name} draws the measure {measure!r}, which the study does not have.{hint} It has "
                    f"{', '.join(study.measures) or 'none'}."
                )


def figure_of(name: str, content: Mapping[str, Any]) -> Figure:
    """Return a figure from what a study's file says of it; raise `ArgumentError` if it is none."""
    from gradsculpt.extensions import imported

    if not isinstance(content, Mapping) or len(content) != 1:
        raise ArgumentError(f"figures.{name} is to name one figure with its settings, as `bars: {{scores: [...]}}`.")
    ((kind, settings),) = content.items()
    known = {cls.__name__.lower(): cls for cls in FIGURES}
    if kind in known:
        cls: Any = known[kind]
    elif "." in kind:
        module, _, last = kind.rpartition(".")
        cls = imported(module, last, kind, ArgumentError)
    else:
        raise ArgumentError(
            f"there is no figure {kind!r}.{did_you_mean(kind, list(known))} There are {', '.join(known)}."
        )
    try:
        made = cls(**(settings or {}))
    except ArgumentError as error:
        raise ArgumentError(f"figures.{name}: {kind}: {error}") from error
    except TypeError as error:
        raise ArgumentError(
            f"figures.{name}: {kind} cannot be made from {settings} ({error}); mend the study."
        ) from error
    if not isinstance(made, Figure):
        raise ArgumentError(f"{kind} is no Figure; derive it from gradsculpt.studies.figures.Figure.")
    return made


def _page(results: StoredResults, drawn: Mapping[str, Path], claims: list[Tested], command: str) -> str:
    study = results.plan.study
    parts = [f"# {study.title}", study.source + (f", at scale {study.scale}." if study.scale else ".")]
    if question := study.content.get("question"):
        parts.append(str(question))
    if study.columns:
        left = [row for row in study.rows if row not in results.rows]
        told = f" Not run at this scale: {', '.join(left)}." if left else ""
        parts += [tables.markdown(results).strip(), f"{_intervals(results)}{told}"]
    parts += [f"![{name}]({path.name})" for name, path in drawn.items()]
    if claims:
        parts.append("## What the source says, and what was found here")
        parts.append("\n".join(f"- **{claim.verdict}**: {_after(claim)}" for claim in claims))
        parts.append(
            "Differences are of the same images, with 95% bootstrap intervals: yes and no where all of the interval is "
            "on one side, open where it is not, and not run where a row or its score is missing."
        )
        parts.append(_verdict(claims))
    if remarks := study.remarks:
        parts.append("## Remarks")
        parts.append(remarks)
    if study.departures:
        parts += ["## Where it departs", "\n".join(f"- {sentence}" for sentence in study.departures)]
    parts += ["## How it was made", f"    {command}", _made(results)]
    if results.plan.trainings:
        parts += ["Each network is trained by `gradsculpt train` with these settings:", _settings(results)]
    return "\n\n".join(parts) + "\n"


def _after(claim: Tested) -> str:
    return str(claim).partition(": ")[2]


def _verdict(claims: list[Tested]) -> str:
    """Return in a sentence how many claims hold."""
    counts = {
        verdict: sum(claim.verdict == verdict for claim in claims) for verdict in ("yes", "no", "open", "not run")
    }
    words = {
        "yes": "hold here",
        "no": "do not",
        "open": "cannot be told from so many images",
        "not run": "were not run",
    }
    told = ", ".join(f"{count} {words[verdict]}" for verdict, count in counts.items() if count)
    return f"Of {counted(len(claims), 'statements')}, {told}."


def _settings(results: StoredResults) -> str:
    """Return the settings of every network: those that all share, and what each has besides."""
    seen: dict[str, dict[str, str]] = {}
    for (name, _), task in results.plan.trainings.items():
        settings = results.plan.study.networks[name]
        words = {key: str(_besides(value, settings) if key == START else value) for key, value in settings.items()}
        seen.setdefault(name, words | {"data": str(task.data) + (" (a copy in a folder)" if _is_copy(task) else "")})
    shared = {key: value for key, value in next(iter(seen.values())).items() if _in_all(key, value, seen)}
    lines = [f"- all: {_told(shared)}"] if len(seen) > 1 else []
    for name, own in seen.items():
        besides = {key: value for key, value in own.items() if len(seen) == 1 or key not in shared}
        lines.append(f"- {name}: {_told(besides)}")
    return "\n".join(lines)


def _besides(start: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a network is trained by first where that is not what it is trained by afterwards."""
    return {
        key: start.get(key) for key in {**start, **settings} if key != START and start.get(key) != settings.get(key)
    }


def _is_copy(task: Task) -> bool:
    return "images" in task.settings


def _in_all(key: str, value: str, seen: Mapping[str, Mapping[str, str]]) -> bool:
    return all(own.get(key) == value for own in seen.values())


def _told(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{key}: {value}`" for key, value in settings.items()) or "nothing else"


def _intervals(results: StoredResults) -> str:
    seeds = results.plan.study.seeds
    if len(seeds) == 1:
        return "In brackets: 95% bootstrap intervals over the test images (or what else was measured) of one seed."
    return f"In brackets: the range of {len(seeds)} seeds."


def _made(results: StoredResults) -> str:
    study = results.plan.study
    machines = "; ".join(
        f"{kind['processor']}, {kind['threads']} thread(s) a task"
        + (f", {kind['gpu']}" if kind.get("gpu") else "")
        + f", Python {kind['python']}, PyTorch {kind['torch']}, gradsculpt {kind['gradsculpt']}"
        for kind in results.machines()
    )
    tasks = results.plan.tasks()
    done = sum(results.store.done(key) is not None for key in tasks)
    seeds = ", ".join(map(str, study.seeds))
    return (
        f"Seeds {seeds}; {done} of {len(tasks)} tasks done, in {results.seconds() / 60:.1f} minutes of one worker in "
        f"all, some of which other studies share. Machine: {machines or 'none yet'}."
    )


def _text(path: Path, text: str) -> Path:
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path
