"""One self-contained HTML page: scorecards, maps and plots, with no outside links."""

import csv
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

from gradsculpt.errors import RunError, first_line
from gradsculpt.evaluation import Scorecard
from gradsculpt.evaluation.results import COLOURS
from gradsculpt.reading import read_text
from gradsculpt.report.pictures import colour_bar, data_uri, fitted
from gradsculpt.report.plots import check_epochs, plots
from gradsculpt.report.samples import Maps, Sample, batch, grey
from gradsculpt.report.summary import sentences, shortage
from gradsculpt.report.table import score_groups
from gradsculpt.seals import check
from gradsculpt.visualize import contact_sheet, plain
from gradsculpt.visualize.render import Picture

_PAIRS, _UNLIKELY = 20, 0.005
_OVERLAID = 2  # networks on a sheet that has room for their overlays too

_SHAPES = "●■▲◆▼✚✖★"
"""A mark a run, told apart without colour."""


@dataclass(frozen=True)
class RunView:
    """What the page tells of one run: what it is, rows of its metrics.csv, and maps of the samples."""

    name: str
    about: str
    card: Scorecard
    curve: list[dict[str, str]]
    maps: Maps


def read_curve(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv, or none if it has none; raise `RunError` if it is damaged."""
    path = run / "metrics.csv"
    if not path.is_file():
        return []
    check(path, "Copy it again from where the run was made, or remove it, and nothing is drawn of the training.")
    try:
        rows = list(csv.DictReader(read_text(path).splitlines()))
        if not rows or "epoch" not in rows[0]:
            raise ValueError("it holds no epochs")
        check_epochs(rows)
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise RunError(
            f"{path} is no table of epochs ({first_line(error)}), so nothing can be drawn of the training; remove the "
            "file, or take the run from where it was trained."
        ) from error
    return rows


def render(views: Sequence[RunView], samples: Sequence[Sample], note: str = "") -> str:
    """Return the page as HTML, every picture inside it; the first run is what the others are compared with.

    The samples are the images whose maps each view holds; the page opens with the note.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names, cards = _unique([view.name for view in views]), [view.card for view in views]
    groups = score_groups(cards)
    looks = zip(range(len(views)), names, views, strict=True)
    return environment.get_template("page.html").render(
        runs=[
            {
                "name": name,
                "about": view.about,
                "shape": _SHAPES[i % len(_SHAPES)],
                "colour": COLOURS[i % len(COLOURS)],
            }
            for i, name, view in looks
        ],
        summary=sentences(names, cards, groups),
        warnings=[
            *(f"{name}: {card.warning}" for name, card in zip(names, cards, strict=True) if card.warning),
            *shortage(cards),
        ],
        groups=groups,
        samples=_samples(views, samples),
        maps=views[0].maps,
        plots=[
            {**vars(plot), "uri": data_uri(plot.svg, "svg+xml")}
            for plot in plots(names, cards, [view.curve for view in views])
        ],
        note=note,
        bar=colour_bar(),
        settings=cards[0].settings,
        how=_how(cards[0].settings),
    )


def sheet(views: Sequence[RunView], samples: Sequence[Sample]) -> bytes:
    """Return the samples and their clean maps in every run as one PNG."""
    images = plain(batch(samples))
    truths = [grey(sample.truth) for sample in samples if sample.truth is not None]
    truth = {"truth": truths} if len(truths) == len(samples) else {}
    shown = [[view.maps.clean] for view in views]
    headings = ["image", *truth, *(view.name for view in views)]
    if len(views) <= _OVERLAID:
        shown = [[view.maps.clean, view.maps.overlays] for view in views]
        headings = ["image", *truth, *(heading for view in views for heading in (view.name, f"{view.name} on image"))]
    columns = [images, *truth.values(), *(pictures for each in shown for pictures in each)]
    blank = [""] * len(samples)
    says = [
        texts
        for view, pictures in zip(views, shown, strict=True)
        for texts in (_told(view.maps), *(blank for _ in pictures[1:]))
    ]
    captions = list(zip([sample.name for sample in samples], *(blank for _ in truth), *says, strict=True))
    rows, labels = list(zip(*columns, strict=True)), [sample.caption for sample in samples]
    return contact_sheet(rows, headings, labels, captions=captions, bar="absolute")


def _told(maps: Maps) -> list[str]:
    """Return what a network says of each sample, and the class that the map is of, where it is another one."""
    says = zip(maps.predicted, maps.probability, maps.explained, maps.share, strict=True)
    return [
        f"{said} ({_percent(share)})" + (f"; map: {looked_at} ({_percent(its)})" if looked_at != said else "")
        for said, share, looked_at, its in says
    ]


def _percent(share: float) -> str:
    """Return a probability in words; what is unlikely is not called impossible."""
    return f"{share:.0%}" if share == 0 or share >= _UNLIKELY else "under 1%"


def _samples(views: Sequence[RunView], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return the samples with their pictures: each run's clean map and its overlay, then maps of changed images."""
    maps, images = [view.maps for view in views], plain(batch(samples))
    kinds = [
        ("noisy", maps[0].noisy_images, [each.disturbed for each in maps]),
        ("attacked", maps[0].attacked_images, [each.attacked for each in maps]),
    ]

    def drawn(uri: Callable[[Picture], str]) -> list[dict[str, Any]]:
        """Return what the page needs of each sample, with its pictures written in one way."""
        return [
            {
                "name": sample.name,
                "caption": sample.caption,
                "image": uri(images[i]),
                "truth": None if sample.truth is None else uri(grey(sample.truth)),
                "runs": [
                    {
                        "map": uri(each.clean[i]),
                        "overlay": uri(each.overlays[i]),
                        "says": each.predicted[i],
                        "probability": _percent(each.probability[i]),
                        "correct": each.correct[i],
                        "explained": each.explained[i],
                        "share": _percent(each.share[i]),
                    }
                    for each in maps
                ],
                "changed": [
                    {"kind": kind, "image": uri(changed[i]), "maps": [uri(each[i]) for each in pictures]}
                    for kind, changed, pictures in kinds
                    if changed
                ],
            }
            for i, sample in enumerate(samples)
        ]

    found: list[dict[str, Any]] = fitted(drawn)
    return found


def _how(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the scores came about, by what: when, with which versions, and every setting."""
    parts = [f"{part} {version(part)}" for part in ("gradsculpt", "torch", "torchvision")]
    versions = ", ".join([*parts, f"Python {platform.python_version()}"])
    told = [("Page made on", date.today().isoformat()), ("Versions", versions)]
    hidden = ("told", "notes", "groups", "trained")
    told += [(key.replace("_", " ").capitalize(), _put(value)) for key, value in settings.items() if key not in hidden]
    groups = settings.get("groups", {})
    if isinstance(groups, Mapping):
        for name, values in groups.items():
            told += [(f"Scores: {name}", ", ".join(f"{key}={value}" for key, value in values.items()) or "no settings")]
    return told


def _put(value: Any) -> str:
    """Return a setting in words: pairs of a mapping one after the other, the first of very many."""
    if not isinstance(value, Mapping):
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    pairs = [f"{key} = {_put(each)}" for key, each in list(value.items())[:_PAIRS]]
    return "; ".join([*pairs, *([f"and {len(value) - _PAIRS} more"] if len(value) > _PAIRS else [])])


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where several runs share one."""
    unique: list[str] = []
    for name in names:
        candidates = chain([name], (f"{name} ({number})" for number in count(2)))
        unique.append(next(each for each in candidates if each not in unique))
    return unique
