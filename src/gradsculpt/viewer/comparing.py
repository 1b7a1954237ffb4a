"""Compare: the scorecards of networks side by side, read where they are, or made quickly for all networks alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.cards import PRINTS
from gradsculpt.cli.parser import Options, command_parser
from gradsculpt.cli.scoring import add_protocol, check_options, score
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.progress import Reporter
from gradsculpt.report.page import read_curve
from gradsculpt.report.plots import Plot, plots
from gradsculpt.report.summary import sentences, shortage
from gradsculpt.report.table import Group, score_groups
from gradsculpt.viewer.scorecards import alike, cards_of, files_of
from gradsculpt.viewer.stages import stage
from gradsculpt.viewer.told import sentence, without_paths
from gradsculpt.viewer.work import Done, Step, Ticket, heard
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.cli.opened import NamedNetwork
    from gradsculpt.cli.scored_images import ScoredImages
    from gradsculpt.viewer.subjects import Subject

IMAGES = 64
"""How many images a quick evaluation scores, where the data have as many."""

_BATCH = 8  # few, so that progress shows, and cancelling is heard soon
_KEPT = 4  # evaluations of a network
_SCORES, _CACHE = "scores", "cache"


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
            card = cards_of(subject, folder)[0]
            told[subject.key] = f"{counted(card.settings['images'], 'images')} scored"
        except RunError as error:
            told[subject.key] = sentence(error) if files_of(subject, folder) else "not scored yet"
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
        there = {subject.title: cards_of(subject, self._folder) for subject in self._subjects}
        ticket.check()
        cards, warnings = alike(there)
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
        try:
            card = score(network, images, self._options, reporter, place, others)
        except BaseException:  # of a visitor who has cancelled, too
            shutil.rmtree(place, ignore_errors=True)
            raise
        for old in sorted(self._folder.glob(f"{subject.key}-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return card


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


def _twins(names: Sequence[str], cards: Sequence[Scorecard]) -> list[str]:
    """Return which networks are the same, so that nothing that is between them means anything."""
    first, told = dict[str, str](), []
    for name, card in zip(names, cards, strict=True):
        with suppress(KeyError, TypeError):
            twin = first.setdefault(card.settings[PRINTS]["network"], name)
            told += [f"{name} is the same network as {twin}, with the same weights."] if twin != name else []
    return told
