"""The scorecards that there are of networks, and those among them that can be compared with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradsculpt.cli.cards import PRINTS
from gradsculpt.cli.scoring import FILE
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.viewer.subjects import Subject

_STEM, _SUFFIX = Path(FILE).stem, Path(FILE).suffix
_UNSURE = (
    "Whether these scores are of the very same images cannot be told, as they were not scored together; score the "
    "networks quickly here to be sure."
)
_ASKED = ("data", "split", "images", "classes", "left_out", "attribution", "target", "seed", "groups")


def cards_of(subject: Subject, folder: Path) -> list[Scorecard]:
    """Return all scorecards of a network, those that the page made first; raise `RunError` if there are none.

    One that is damaged is an error only where there is no other.
    """
    cards, damaged = list[Scorecard](), list[RunError]()
    for path in files_of(subject, folder):
        try:
            cards.append(_read(path))
        except RunError as error:
            damaged.append(error)
    if not cards:
        missing = f"{subject.title} was not scored yet, so there is nothing to compare; score it quickly here."
        raise damaged[0] if damaged else RunError(missing)
    return cards


def files_of(subject: Subject, folder: Path) -> list[Path]:
    """Return the scorecards of a network: those that the page made, the last one first, then the run's own."""
    made = sorted(folder.glob(f"{subject.key}-*/{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    own = [] if subject.run is None else [subject.run / FILE, *sorted(subject.run.glob(f"{_STEM}-*{_SUFFIX}"))]
    return [path for path in (*made, *own) if path.is_file()]


def _read(path: Path) -> Scorecard:
    """Read a scorecard, and see to it that it says of how many images it is, and that there is a score in it."""
    card = Scorecard.load(path)
    count, notes, told = (card.settings.get(key) for key in ("images", "notes", "told"))
    counted_well = isinstance(count, int) and not isinstance(count, bool) and count > 0
    texts = _are_texts([] if notes is None else notes)
    pairs = told is None or (isinstance(told, Mapping) and all(_are_texts(each, 2) for each in told.values()))
    if not (counted_well and texts and pairs and card.entries):
        raise RunError(f"{path} does not say what was scored, so it cannot be compared; score it anew.")
    return card


def _are_texts(value: object, count: int | None = None) -> bool:
    several = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return several and count in (None, len(value))  # type: ignore[arg-type]


def alike(there: Mapping[str, Sequence[Scorecard]]) -> tuple[list[Scorecard], list[str]]:
    """Return a scorecard of each network, of the same images and settings, and what is to be said of that.

    Where there are several ways, the first scorecard of the first network decides. Raises `ArgumentError` if there is
    no way.
    """
    (_, cards), *others = there.items()
    if not others:
        return [cards[0]], []
    for kind, warnings in ((_prints, []), (_settings, [_UNSURE])):
        for card in cards:
            if (wanted := kind(card)) is None:
                continue
            found = [card, *(next((each for each in its if kind(each) == wanted), None) for _, its in others)]
            if len(whole := [each for each in found if each is not None]) == len(found):
                return whole, warnings
    told = "; ".join(f"{name}: {_of(its[0])}" for name, its in there.items())
    raise ArgumentError(
        f"these networks were not scored on the same images in the same way ({told}), so their scores say nothing of "
        "each other; score them quickly here, all alike, or choose others."
    )


def _prints(card: Scorecard) -> object:
    """Return the digests of images and protocol, which are alike only where both are the same."""
    digests = card.settings.get(PRINTS)
    if not isinstance(digests, Mapping):
        return None
    found = [digests.get(part) for part in ("images", "protocol")]
    return found if all(isinstance(each, str) for each in found) else None


def _settings(card: Scorecard) -> object:
    """Return what a scorecard notes of images and protocol, which is all there is where networks take other sizes."""
    if not card.settings.get("data"):
        return None
    return {key: card.settings.get(key) for key in _ASKED}


def _of(card: Scorecard) -> str:
    settings = card.settings
    data = " ".join(str(settings[key]) for key in ("data", "split") if settings.get(key))
    return f"{counted(settings['images'], 'images')}{f' of {data}' if data else ''}, {settings.get('attribution', '')}"
