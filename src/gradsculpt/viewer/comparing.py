"""Compare: the scorecards of networks side by side, read where they are, or made quickly for all networks alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.cards import PRINTS
from gradsculpt.cli.parser import Options, command_parser
from gradsculpt.cli.scoring import FILE, add_protocol, check_options, score
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.progress import Reporter
from gradsculpt.report.page import read_curve
from gradsculpt.report.plots import Plot, plots
from gradsculpt.report.summary import sentences, shortage
from gradsculpt.report.table import Group, score_groups
from gradsculpt.viewer.stages import stage
from gradsculpt.viewer.told import sentence, without_paths
from gradsculpt.viewer.work import Done, Step, Ticket, heard
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.cli.networks import NamedNetwork
    from gradsculpt.cli.scored_images import ScoredImages
    from gradsculpt.viewer.subjects import Subject

IMAGES = 64
"""How many images a quick evaluation scores, where the data have as many."""

_BATCH = 8  # few, so that progress shows, and cancelling is heard soon
_SCORES, _CACHE = "scores", "cache"
_STEM, _SUFFIX = Path(FILE).stem, Path(FILE).suffix
_UNSURE = (
    "Whether these scores are of the very same images cannot be told, as they were not scored together; score the "
    "networks quickly here to be sure."
)
_ASKED = ("data", "split", "images", "classes", "left_out", "attribution", "target", "seed", "groups")


@dataclass(frozen=True)
class Comparison:
    """Scorecards side by side.

    Args:
        names: The networks, in the order of the columns; the others are set against the first.
        cards: A scorecard each, of the same images and settings.
        summary: What they say in a few sentences.
        warnings: What has to be known before any score is believed.
        notes: How the scores came about.
        groups: The rows of the table.
        plots: The sanity cascade, robustness and the other curves.
    """

    names: tuple[str, ...]
    cards: tuple[Scorecard, ...]
    summary: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[Group, ...]
    plots: tuple[Plot, ...]


def evaluated(subjects: Sequence[Subject], folder: Path) -> dict[str, str]:
    """Return for each network, by its key, whether there are scores of it, in words."""
    told, folder = dict[str, str](), folder / _SCORES
    for subject in subjects:
        try:
            card = _cards(subject, folder)[0]
            told[subject.key] = f"{counted(card.settings['images'], 'images')} scored"
        except RunError as error:
            told[subject.key] = sentence(error) if _files(subject, folder) else "not scored yet"
    return told


class Compare:
    """The work of putting scorecards side by side.

    Args:
        subjects: The networks; one at least, and no two of them the same.
        folder: Where the page keeps scores, which is temporary.
        most: How many networks may be compared at once.

    Raises: ArgumentError if there are none, or too many.
    """

    def __init__(self, subjects: Sequence[Subject], folder: Path, most: int) -> None:
        if not 0 < len(subjects) <= most:
            raise ArgumentError(
                f"{counted(len(subjects), 'networks')} were chosen, and from 1 to {most} are compared at once; choose "
                "some of them."
            )
        self._subjects, self._folder = list(subjects), folder / _SCORES

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Comparison]]:
        """Yield steps, then the comparison of the scores that there are."""
        yield Step("reading scores")
        there = {subject.title: _cards(subject, self._folder) for subject in self._subjects}
        ticket.check()
        cards, warnings = _alike(there)
        yield Step("drawing")
        yield Done(compared(self._subjects, cards, warnings))


class Evaluate(Compare):
    """The work of scoring networks quickly, all on the same images and in the same way, and of comparing them.

    It is what `gradsculpt compare --quick` does; nothing is written into runs. Scores that there are already, of the
    same weights, images and settings, are used again.

    Args:
        subjects: The networks; one at least.
        folder: Where the page keeps scores, which is temporary.
        most: How many networks may be scored at once.
        asked: `data`, and `data_dir`: those that the page was opened with, or None for the first run's own.
        limit: How many images are scored at most.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        folder: Path,
        most: int,
        asked: Mapping[str, Any] | None = None,
        limit: int = IMAGES,
    ) -> None:
        super().__init__(subjects, folder, most)
        # Runs that keep their images have these read again, and no others have any written into them.
        kept = all(subject.run is not None and (subject.run / _CACHE).is_dir() for subject in subjects)
        place = None if kept else folder / _CACHE
        settings = {"cache_dir": place, "limit": limit, "batch_size": _BATCH}
        self._options = {**quick_options(), **(asked or {}), **settings}

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Comparison]]:
        """Yield steps, then the comparison."""
        networks = []
        for subject in self._subjects:
            network = yield from subject.opening(ticket)
            # Runs may share their last name, by which their classes are told apart.
            networks.append(replace(network, name=subject.title))
        images = yield from heard(ticket, partial(self._images, networks))
        cards = list[Scorecard]()
        for subject, network, its in zip(self._subjects, networks, images, strict=True):
            scored = heard(ticket, partial(self._scored, subject, network, its))
            cards.append((yield from stage(scored, len(cards), len(networks))))
        yield Step("drawing")
        yield Done(compared(self._subjects, cards))

    def _images(self, networks: Sequence[NamedNetwork], reporter: Reporter) -> list[ScoredImages]:
        """Return the images that all networks are scored on, at the size of each."""
        from gradsculpt.cli.scored_images import scored_images

        self._folder.mkdir(parents=True, exist_ok=True)
        check = partial(check_options, self._options, networks)
        check(True)
        return scored_images(networks, self._options, reporter, self._folder, check)

    def _scored(self, subject: Subject, network: NamedNetwork, images: ScoredImages, reporter: Reporter) -> Scorecard:
        """Score a network into a folder of its own, or take what is there already."""
        others = sorted(path for path in self._folder.glob("*-*") if path.is_dir())
        place = Path(mkdtemp(prefix=f"{subject.key}-", dir=self._folder))
        return score(network, images, self._options, reporter, place, others)


def quick_options() -> Options:
    """Return what `gradsculpt evaluate --quick` asks for, of the data of a run."""
    words = ["--quick"]
    parser = command_parser("view", "Score networks quickly.")
    add_protocol(parser, words)
    return parser.read(words)


def compared(subjects: Sequence[Subject], cards: Sequence[Scorecard], warnings: Sequence[str] = ()) -> Comparison:
    """Return scorecards of the same images side by side, in the words and plots of a report, warnings before all."""
    names = [subject.title for subject in subjects]
    groups = score_groups(cards)
    blank = [f"{name}: {card.warning}." for name, card in zip(names, cards, strict=True) if card.warning]
    warnings = [*warnings, *blank, *shortage(cards), *_twins(names, cards)]
    notes = dict.fromkeys(note for card in cards for note in card.settings.get("notes", ()))
    epochs = []
    for subject in subjects:
        try:
            epochs.append([] if subject.run is None else read_curve(subject.run))
        except RunError as error:
            epochs.append([])
            warnings.append(sentence(error))
    drawn = plots(names, cards, epochs)
    clean = partial(map, without_paths)
    return Comparison(
        tuple(names),
        tuple(cards),
        tuple(clean(sentences(names, cards, groups))),
        tuple(clean(warnings)),
        tuple(clean(notes)),
        tuple(groups),
        tuple(drawn),
    )


def _cards(subject: Subject, folder: Path) -> list[Scorecard]:
    """Return all scorecards of a network, those that the page made first; raise `RunError` if there are none.

    One that is damaged is an error only where there is no other.
    """
    cards, damaged = list[Scorecard](), list[RunError]()
    for path in _files(subject, folder):
        try:
            cards.append(_read(path))
        except RunError as error:
            damaged.append(error)
    if not cards:
        missing = f"{subject.title} was not scored yet, so there is nothing to compare; score it quickly here."
        raise damaged[0] if damaged else RunError(missing)
    return cards


def _files(subject: Subject, folder: Path) -> list[Path]:
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


def _alike(there: Mapping[str, Sequence[Scorecard]]) -> tuple[list[Scorecard], list[str]]:
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


def _twins(names: Sequence[str], cards: Sequence[Scorecard]) -> list[str]:
    """Return which networks are the same, so that nothing that is between them means anything."""
    first, told = dict[str, str](), []
    for name, card in zip(names, cards, strict=True):
        with suppress(KeyError, TypeError):
            twin = first.setdefault(card.settings[PRINTS]["network"], name)
            told += [f"{name} is the same network as {twin}, with the same weights."] if twin != name else []
    return told
